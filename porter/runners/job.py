"""What a framework's child process is told, and how it answers."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from porter.core.checkpoint import Array, Checkpoint
from porter.core.parent_process import end_with_parent
from porter.errors import PorterError
from porter.formats.hdf5.reader import one_reader
from porter.planning.plan import Plan, plan
from porter.planning.port_options import DEFAULTS, PortOptions, Weights
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.tables.variants import Stage, Variant

STAY = '"stay"\n'  # the first line to a child that gets its jobs one by one
REFUSED = 3  # exit code of a child that answered with a PorterError


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to make.

    Attributes:
        table: The mapping table's file.
        variant: Full name of the variant.
        inputs: safetensors file with one float32 array (N, H, W, C) per input.
        names: Names of the inputs in that file, in the order in which they are run.
        dtypes: Element types to compute in, each with every input.
        out: Recording to write.
        threads: Threads that the framework may use.
        seed: Seed of random weights; ignored if `checkpoint` is given.
        checkpoint: Stored weights, or None for random ones.
        options: What is chosen about the port.
        local: Whether to wait for a reference recording and run every stage on its activations too.
        images: Image files to prepare as well, each side with its own code, see `images_out`.
        labels: File with the names of the classes, one a line; ImageNet's if None.
        ported: The file that PyTorch loads as it is; a fresh port if None.
        target: The library under whose names `ported` was written.
        golden: The golden of somebody's own weights that `ported` is run for; table and options are not used.
        source: The function that builds TensorFlow's network, ``"package.module:function"``, as the person
            named it; what the table says if None.
        trust_table: Whether functions that the table, or `ported`, names may be run.
    """

    table: str
    variant: str
    inputs: str
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    out: str
    threads: int
    seed: int = 0
    checkpoint: str | None = None
    options: PortOptions = DEFAULTS
    local: bool = False
    images: tuple[str, ...] = ()
    labels: str | None = None
    ported: str | None = None
    target: str = "timm"
    golden: str | None = None
    source: str | None = None
    trust_table: bool = False

    @property
    def images_out(self) -> str:
        """Safetensors file with ``prepared`` (N, H, W, C) and, if the side ran them, ``logits`` (N, K)."""
        return f"{self.out}.images"

    @property
    def optimised_out(self) -> str:
        """Second recording of the onnx runner, its graph optimised."""
        return f"{self.out}.optimised"

    @property
    def ported_out(self) -> str:
        """JSON list of the tensors of `ported` that differ from a fresh port, or from the golden's."""
        return f"{self.out}.tensors"

    @property
    def recording(self) -> Path:
        """The recording, as a path."""
        return Path(self.out)

    @property
    def answer(self) -> Path:
        """JSON document that a process which stays writes last: null, or the refusal of this job."""
        return Path(f"{self.out}.answer")

    @property
    def disturbed_out(self) -> str:
        """Second recording of a golden's check: what rounding of the weights does to every stage."""
        return f"{self.out}.disturbed"

    def with_weights(self, weights: Weights) -> Job:
        """Return the job with other weights of the checkpoint."""
        return replace(self, options=replace(self.options, weights=weights))

    def load_variant(self) -> Variant:
        """Read the table and return the variant."""
        return load_tables(Path(self.table)).variant(self.variant)

    def open_weights(self) -> Checkpoint:
        """Open the stored weights, or make the random ones."""
        if self.checkpoint is None:
            return RandomCheckpoint(self.load_variant(), self.seed)
        from porter.checkpoints import open_checkpoint

        return open_checkpoint(self.checkpoint)

    def plan(self, checkpoint: Checkpoint) -> Plan:
        """Plan the port of `checkpoint` with this job's table and choices."""
        return plan(checkpoint, load_tables(Path(self.table)), self.options, variant=self.variant)

    def load_inputs(self) -> list[Array]:
        """Read the inputs, (N, H, W, C) float32, in order."""
        stored = load_file(self.inputs)
        return [stored[name] for name in self.names]

    @property
    def weights_in_words(self) -> str:
        """Where the weights come from, for a recording's provenance."""
        if self.checkpoint is None:
            return f"random weights, seed {self.seed}"
        return f"checkpoint {Path(self.checkpoint).name}"


def jobs_to_line(jobs: Sequence[Job]) -> str:
    """Return the jobs as one line of JSON."""
    return json.dumps([asdict(job) for job in jobs]) + "\n"


def jobs_from_line(line: str) -> list[Job]:
    """Read what `jobs_to_line` wrote."""
    described = json.loads(line)
    return [_job(job) for job in described]


def _job(described: dict[str, Any]) -> Job:
    lists = {name: tuple(described[name]) for name in ("names", "dtypes", "images")}
    return Job(**{**described, **lists, "options": PortOptions(**described["options"])})


def planned_stages(port_plan: Plan) -> tuple[Stage, ...]:
    """Return the stages that the checkpoint's weights lead to; one of the backbone alone has no logits.

    A stage without weights of its own (a pooling) is there if a later one is; one whose module passes its
    input on, for the source has none, is not.
    """
    planned = {assignment.target for assignment in port_plan.assignments}
    missing = {entry.target for entry in port_plan.variant.entries} - planned
    without: Any = port_plan.variant.adjust.get("without", ())
    stages = [stage for stage in port_plan.variant.stages if stage.target[-1] not in without]
    while stages and (_holds(stages[-1], missing) or not _holds(stages[-1], planned)):
        stages.pop()
    return tuple(stages)


def _holds(stage: Stage, targets: Iterable[str]) -> bool:
    return any(target == m or target.startswith(f"{m}.") for target in targets for m in stage.target)


def serve(work: Callable[[Job], None]) -> None:
    """Be the child: read a line of jobs from stdin, do them in order, answer a refusal on stdout in JSON.

    Where the first line is `STAY`, each line is one job, answered in a file, until there are no more.
    Frameworks print to stdout as they please, so theirs is turned into stderr first.
    """
    end_with_parent(signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        line = sys.stdin.readline()
        if line == STAY:
            with one_reader():
                _stay(work)
            return
        for job in jobs_from_line(line):
            work(job)
    except PorterError as error:
        answers.write(json.dumps(error.to_json()) + "\n")
        answers.flush()
        sys.exit(REFUSED)
    except Exception:  # noqa: BLE001 (reported in full, and the process ends)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # at once: what a framework says while it is torn down would hide the traceback's end


def _stay(work: Callable[[Job], None]) -> None:
    while line := sys.stdin.readline():
        if not line.startswith("["):  # names a reference of a job that was refused before it asked for it
            continue
        (job,) = jobs_from_line(line)
        refusal = None
        try:
            work(job)
        except PorterError as error:
            refusal = error.to_json()
        hidden = job.answer.with_suffix(".tmp")
        hidden.write_text(json.dumps(refusal), encoding="utf-8")
        hidden.replace(job.answer)


def reference_to_line(path: Path | None, *, whole: bool) -> str:
    """Return where a reference recording is, if there is one, and whether it is whole, as a line of JSON."""
    return json.dumps({"path": None if path is None else str(path), "whole": whole}) + "\n"


def references() -> Iterator[Path]:
    """Wait for the lines that name the reference recording: while it grows, and when it is whole.

    Nothing comes if the parent has none.
    """
    while line := sys.stdin.readline().strip():
        named = json.loads(line)
        if named["path"] is None:
            return
        yield Path(named["path"])
        if named["whole"]:
            return
