"""The process that ports one source after another: tasks on stdin, answers on stdout, a line of JSON each."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import FrameType

from porter.checkpoints import open_checkpoint
from porter.core.parent_process import end_with_parent
from porter.errors import PorterError
from porter.formats.hdf5.reader import one_reader
from porter.outputs.forms import chosen_output
from porter.outputs.many.already import is_there
from porter.outputs.many.records import PortedSource, Task
from porter.planning.plan import plan
from porter.tables.known_tables import Tables
from porter.tables.shipped import load_tables
from porter.transfer.source_hashes import SourceHashes
from porter.transfer.transfer import Writing


def carry_out(task: Task) -> PortedSource:
    """Make one port, unless it is there.

    Raises:
        PorterError: the source cannot be ported so.
    """
    kind = chosen_output(task.form, task.out)
    started = time.perf_counter()
    with (
        open_checkpoint(task.source) as checkpoint,
        nullcontext() if task.dry_run else SourceHashes(checkpoint.files) as hashes,
    ):
        port_plan = plan(checkpoint, _tables(task.table), task.options)
        output = kind(port_plan, task.options, task.form)
        notes, nbytes = [*port_plan.notes, *output.notes], None
        if hashes is None:
            if task.out.parent.is_dir():  # it is made when something is written
                output.require_place(task.out, checkpoint)
        elif not is_there(output, checkpoint, task.out, hashes):
            report = output.write(checkpoint, task.out, Writing(hashes=hashes))
            nbytes = report.nbytes
            notes += map(str, report.findings)
    return PortedSource(
        task.source,
        task.out,
        "planned" if task.dry_run else "unchanged" if nbytes is None else "ported",
        port_plan.variant.name,
        nbytes,
        time.perf_counter() - started,
        output.loading_line(task.out),
        tuple(notes),
    )


@cache
def _tables(file: Path | None) -> Tables:
    """Return the tables that all tasks share: a variant that one needed is read for the next."""
    return load_tables(*([file] if file else []))


def _end(_signal: int, _frame: FrameType | None) -> None:
    """End in order, so that nothing half-written stays.

    Linux sends the signal again for every thread of a parent that is killed: it must not end the tidying up.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(1)


def serve() -> None:
    """Be the process: answer tasks until there are no more."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and says what is to be done
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is imported and prints
    with one_reader():
        for line in sys.stdin:
            task = Task.from_line(line)
            started = time.perf_counter()
            try:
                done = carry_out(task)
            except PorterError as error:
                seconds = time.perf_counter() - started
                done = PortedSource(task.source, task.out, "failed", seconds=seconds, error=error)
            answers.write(json.dumps(done.to_json()) + "\n")
            answers.flush()


if __name__ == "__main__":
    serve()
