"""Goldens of a person's own weights: recorded once with TensorFlow, checked anywhere without it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.numpy import save_file

from porter.checks.check import Check, channels_of, silent
from porter.checks.goldens import golden_sizes, kept_per_stage, sampled_run
from porter.checks.report import CheckReport
from porter.core.checkpoint import Checkpoint
from porter.core.data_files import inside_package
from porter.errors import OutputError, ParityError
from porter.outputs.metadata import describe
from porter.parity.compare import compare
from porter.planning.plan import Plan, plan
from porter.planning.port_options import DEFAULTS, PortOptions
from porter.recordings.golden_images import GoldenImage
from porter.recordings.own_golden import LARGEST, Inputs, OwnGolden, is_own_golden
from porter.recordings.recording import Recording
from porter.recordings.tensor_digests import TensorDigests, Values
from porter.runners.job import planned_stages
from porter.runners.process import Child, require, wait_for
from porter.tables.known_tables import Tables
from porter.tables.shipped import load_tables
from porter.transfer.atomic_file import require_writable, write_whole
from porter.transfer.source_hashes import SourceFile
from porter.transfer.transfer import refuse_source, transfer

# What images may take of `LARGEST`; the rest is for stages and digests.
_FOR_IMAGES = 200_000
_FEWEST_KEPT = 16
Phase = Callable[[str], None]


def record_golden(  # noqa: PLR0913  (as for `check`)
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    seed: int = 0,
    tables: Tables | None = None,
    options: PortOptions = DEFAULTS,
    source: str | None = None,
    trust_table: bool = False,
    phase: Phase = silent,
    **choices: Any,
) -> CheckReport:
    """Keep what TensorFlow says of these weights, so that their port can be checked without it.

    The port is checked first, and a golden is written only if it is in parity.

    Args:
        checkpoint: The weights. TensorFlow runs the network that the file carries, or else the one that the
            table names; the report and the golden say which.
        out: The file to write, at most 400 KB; it appears whole or not at all. A golden of that name is
            replaced, any other file is not.
        images: Image files to keep beside a seeded input, as pixels of the network's size or less.
        seed: Seed of the seeded images and of the samples.
        tables: Known networks; those that come with porter if None.
        options: What was chosen about the port.
        source: As for `check`.
        trust_table: As for `check`.
        phase: Called with each phase, in words, as it begins.
        **choices: Single attributes of `PortOptions`, by name, in place of those of `options`.

    Returns:
        The check behind the golden.

    Raises:
        MissingDependencyError: a framework that is needed is not installed.
        OutputError: `out` cannot be written, or is another file.
        ParityError: the port is not in parity (``golden/no-parity``), or the images take too much room.
        PorterError: the checkpoint, the table or an option is refused.

    Example:
        >>> try:
        ...     porter.record_golden("ckpt-1", "ckpt-1.index")
        ... except porter.PorterError as error:
        ...     print(error.code)
        output/is-source
    """
    request = _Request(Path(checkpoint), Path(out), tuple(map(Path, images)), seed, source, trust_table)
    return request.run(tables or load_tables(), options.merged(choices), phase)


class _Request(NamedTuple):
    """A golden that was asked for."""

    checkpoint: Path
    out: Path
    images: tuple[Path, ...]
    seed: int
    source: str | None
    trust_table: bool

    def run(self, tables: Tables, options: PortOptions, phase: Phase) -> CheckReport:
        from porter.checkpoints import open_checkpoint  # noqa: PLC0415  (see porter.runners.job)

        phase("reading the weights")
        with (
            open_checkpoint(self.checkpoint) as opened,
            tempfile.TemporaryDirectory(prefix="porter-") as folder,
        ):
            _require_place(self.out, opened)
            require("tensorflow")
            require("torch")
            port_plan = plan(opened, tables, options)
            check = Check(
                port_plan.variant,
                dtypes=("float64",),
                checkpoint=self.checkpoint,
                options=replace(options, dtype=None),
                source=self.source,
                trust_table=self.trust_table,
            )
            check.require_trust()
            inputs = _inputs(port_plan, self.images, self.seed)
            recorder = _Recorder(opened, port_plan, check, options.dtype, Path(folder))
            return recorder.record(self.out, inputs, phase)


def _require_place(out: Path, source: Checkpoint) -> None:
    """Refuse what must not be written to, before any work is done."""
    if inside_package(out):
        raise OutputError(
            "golden/installed-package",
            "goldens are not written into the installed package, where the next installation replaces them",
            file=out,
            hint="Name a file of your own.",
        )
    refuse_source(out, source)
    if out.is_file() and not is_own_golden(out):
        raise OutputError(
            "golden/other-file",
            "is there already and is no golden of somebody's own weights: it is not replaced",
            file=out,
            hint="Give another name for the golden.",
        )
    require_writable(out)


def _inputs(port_plan: Plan, images: tuple[Path, ...], seed: int) -> Inputs:
    channels, fixed = channels_of(port_plan), port_plan.fixed_size
    if images and (channels != 3 or (fixed is not None and fixed[0] != fixed[1])):
        raise ParityError(
            "golden/images",
            "images are square and have three colours, and the network takes others",
            found=f"{channels} channels, " + ("any size" if fixed is None else size_name(fixed)),
        )
    size = port_plan.input_spec.size if port_plan.fixed_size is None else port_plan.fixed_size[0]
    if port_plan.fixed_size is not None:
        sizes: tuple[tuple[int, int], ...] = (port_plan.fixed_size,)
    else:
        sizes = golden_sizes(port_plan.variant) if size == port_plan.variant.input.size else ((size, size),)
    room = _FOR_IMAGES // max(1, len(images))
    return Inputs(
        seed=seed,
        channels=channels,
        sizes=sizes,
        images=tuple(GoldenImage.read(path, port_plan.input_spec, size, room) for path in images),
        side=size,
    )


class _Recorder:
    """Makes a golden of an open checkpoint.

    Args:
        source: The checkpoint.
        port_plan: The plan of its port.
        check: What is run, but for the sizes.
        dtype: The element type that was chosen for the port.
        folder: For files that are needed meanwhile.
    """

    def __init__(
        self, source: Checkpoint, port_plan: Plan, check: Check, dtype: str | None, folder: Path
    ) -> None:
        self._source, self._plan, self._folder = source, port_plan, folder
        self._check, self._dtype = check, dtype

    def record(self, out: Path, inputs: Inputs, phase: Phase) -> CheckReport:
        """Write the golden; return the check that it was made of.

        Raises:
            ParityError: the port is not in parity, or the golden would be too large.
        """
        phase("running TensorFlow and PyTorch")
        report = self.run(inputs)
        if not report.passed:
            raise ParityError(
                "golden/no-parity",
                "the port does not compute what TensorFlow does: there is nothing to keep",
                file=self._check.checkpoint,
                found=f"first bad stage {report.first_bad_stage}",
                hint="parity-check --checkpoint with the same options says why.",
            )
        phase("writing the golden")
        write_whole(out, _fitting(self.golden(report.expected, inputs), inputs.seed))
        return report

    def run(self, inputs: Inputs) -> CheckReport:
        """Run both frameworks on the inputs, in float64, and compare every stage."""
        spec = self._plan.input_spec._replace(channel_order=self._plan.channel_order)
        batches = inputs.arrays(spec)
        given = self._folder / "inputs"
        save_file({size_name(size): values for size, values in batches.items()}, given)
        check = replace(self._check, sizes=tuple(batches))
        sides = {name: self._folder / name for name in ("tensorflow", "torch")}
        jobs = {name: check.job(given, out, local=False) for name, out in sides.items()}
        with Child("tensorflow", jobs["tensorflow"]) as one, Child("torch", jobs["torch"]) as other:
            wait_for(one, [other], check.timeout)
            wait_for(other, [], check.timeout)
        expected, actual = (Recording.load(out) for out in sides.values())
        stages = list(expected.runs[0].stages)
        title = f"{self._plan.variant.name}: torch against tensorflow"
        return CheckReport(compare(expected, actual, stages=stages, title=title), expected, actual)

    def golden(self, expected: Recording, inputs: Inputs) -> OwnGolden:
        """Return what is to be kept, its stages not yet sampled."""
        port_plan = self._plan
        metadata = describe(port_plan, self._source.format, self._dtype)
        ported = self._folder / "port.safetensors"
        report = transfer(self._source, port_plan.assignments, ported, dtype="float64", metadata=metadata)
        metadata["porter.source_files"] = _sources(report.sources)
        there = expected.runs[0].stages
        stages = {s.name: s.target for s in planned_stages(port_plan) if s.name in there}
        counters = tuple(each.target for each in port_plan.assignments if each.constant is not None)
        return OwnGolden(
            recording=expected,
            port=metadata,
            tensors=TensorDigests.of(_floating(ported, set(counters))),
            counters=counters,
            stages=stages,
            inputs=inputs,
            float64_activation=port_plan.variant.float64_activation,
        )


def size_name(size: tuple[int, int]) -> str:
    """Return what an input of a size (H, W) is called."""
    return f"{size[0]}x{size[1]}"


def _sources(files: Sequence[SourceFile]) -> str:
    return json.dumps([file._asdict() for file in files])


def _floating(ported: Path, counters: set[str]) -> Iterator[tuple[str, Values]]:
    """Yield the tensors of a port in float64, one at a time: a network may be large."""
    with safe_open(ported, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118  (a file is no dictionary)
            if name not in counters:
                yield name, file.get_tensor(name)


def _fitting(golden: OwnGolden, seed: int) -> bytes:
    """Return the file, with as many elements of each stage as there is room for.

    Raises:
        ParityError: digests and images alone take more room than a golden has.
    """
    kept = kept_per_stage(len(golden.stages))
    while kept >= _FEWEST_KEPT:
        content = replace(golden, recording=_sampled(golden.recording, seed, kept)).content()
        if len(content) <= LARGEST:
            return content
        kept //= 2
    raise ParityError(
        "golden/no-room",
        "the network has too many stages and tensors for a golden",
        expected=f"at most {LARGEST:,} bytes",
        hint="Give fewer images.",
    )


def _sampled(recording: Recording, seed: int, kept: int) -> Recording:
    return Recording(recording.provenance, tuple(sampled_run(run, seed, kept) for run in recording.runs))
