"""`porter.port_many`: many checkpoints in one call, in as many processes as there are cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from porter.core.child_process import cores
from porter.errors import OutputError
from porter.outputs.forms import chosen_output
from porter.outputs.many.names import output_names
from porter.outputs.many.processes import port_all
from porter.outputs.many.records import ManyPorts, PortedSource, Task
from porter.outputs.output import SUFFIX
from porter.outputs.output_options import OutputOptions
from porter.planning.port_options import DEFAULTS, PortOptions
from porter.transfer.atomic_file import output_error

PathLike = str | os.PathLike[str]


def _silent(_port: PortedSource) -> None:
    """Say nothing of a port that is done."""


def port_many(  # noqa: PLR0913  (a person gives what differs from the defaults, by name)
    sources: Sequence[PathLike],
    out_dir: PathLike,
    *,
    jobs: int | None = None,
    keep_going: bool = False,
    parents: int = 0,
    table: PathLike | None = None,
    options: PortOptions = DEFAULTS,
    target: str = "timm",
    fold_bn: bool = False,
    max_shard_size: int | str | None = None,
    dry_run: bool = False,
    done: Callable[[PortedSource], None] = _silent,
    **choices: Any,
) -> ManyPorts:
    """Port many sources into one folder, in parallel; what is there and unchanged is left as it is.

    Each output is called after its source. A file that differs from what a port would write now (by digests,
    choices, versions) is replaced; a folder that differs is a failure: it may hold more than porter wrote.

    Args:
        sources: As for `port`, each.
        out_dir: The folder; made if it is not there.
        jobs: Processes at a time; as many as there are cores if None.
        keep_going: Begin further sources after one has failed. Those that have begun always go on.
        parents: How many folders above a source are put in front of its output's name.
        table: A mapping table in place of those that come with porter.
        options: What was chosen about every port.
        target: As for `port`, like `fold_bn` and `max_shard_size`.
        fold_bn: See there.
        max_shard_size: See there.
        dry_run: Plan every port, and write nothing.
        done: Called with what became of each source, as it is done.
        **choices: Single attributes of `PortOptions`, by name, in place of those of `options`.

    Returns:
        What became of every source. A source that fails is listed there and raises nothing.

    Raises:
        PorterError: two outputs share a name, the folder cannot be written, or choices do not go together.

    Example:
        >>> result = porter.port_many(["ckpt-1", "no-such-file"], "ported", keep_going=True)
        >>> [(port.source.name, port.status) for port in result.ports]
        [('ckpt-1', 'ported'), ('no-such-file', 'failed')]
        >>> print(result.failed[0].error.code)
        checkpoint/not-found
    """
    started = time.perf_counter()
    form = OutputOptions(target=target, fold_bn=fold_bn, max_shard_size=max_shard_size)
    options = options.merged(choices)
    tasks = tasks_of(sources, out_dir, options, form, parents=parents, table=table, dry_run=dry_run)
    jobs = cores() if jobs is None else jobs
    if jobs < 1:
        raise OutputError("output/jobs", "at least one process has to work", found=jobs)
    if not dry_run:
        _make(Path(out_dir))
    ports = _ported(tasks, jobs, done, keep_going=keep_going)
    return ManyPorts(ports, time.perf_counter() - started)


def _ported(
    tasks: Sequence[Task], jobs: int, done: Callable[[PortedSource], None], *, keep_going: bool
) -> tuple[PortedSource, ...]:
    found: dict[int, PortedSource] = {}
    with closing(port_all(tasks, jobs=jobs, keep_going=keep_going)) as ports:
        for number, port in ports:
            found[number] = port
            done(port)
    return tuple(found[number] for number in range(len(tasks)))


def tasks_of(
    sources: Sequence[PathLike],
    out_dir: PathLike,
    options: PortOptions,
    form: OutputOptions,
    *,
    parents: int,
    table: PathLike | None,
    dry_run: bool,
) -> list[Task]:
    """Return a task for each source.

    Raises:
        OutputError: there is no source, two outputs would have one name, or choices do not go together.
    """
    if not sources:
        raise OutputError("output/no-source", "no source was given", hint="Name at least one checkpoint.")
    kind = chosen_output(form)
    suffix = SUFFIX if kind.is_file(form) else ""
    paths, file = [Path(source) for source in sources], None if table is None else Path(table)
    names = output_names(paths, suffix=suffix, parents=parents)
    return [
        Task(source, Path(out_dir) / name, options, form, file, dry_run)
        for source, name in zip(paths, names, strict=True)
    ]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError("output/not-a-folder", "is there and is no folder", file=folder) from None
    except (OSError, ValueError) as error:
        raise output_error(error if isinstance(error, OSError) else OSError(str(error)), folder) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise output_error(PermissionError(13, "Permission denied"), folder)
