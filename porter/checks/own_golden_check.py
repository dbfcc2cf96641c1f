"""A ported file against the golden of the weights that it was ported from: torch alone, no checkpoint."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from porter.checks.check import Checked, silent
from porter.checks.explanation import explained
from porter.checks.own_goldens import Phase, size_name
from porter.checks.ported_file_check import read_differences, stage_of, with_tensors
from porter.checks.report import CheckReport
from porter.core.checkpoint import Array
from porter.core.named_function import is_function_name
from porter.errors import OutputError
from porter.loading.ported_file import Ported, description, ported_files
from porter.parity.compare import compare
from porter.parity.comparison import relative_difference
from porter.parity.outcome import Cause, ParityReport
from porter.parity.tolerances import NOISE_FACTOR, StageTolerance, Tolerances
from porter.recordings.own_golden import OwnGolden, spec_of
from porter.recordings.recording import Recording
from porter.runners.job import Job
from porter.runners.process import Child, default_threads, require, wait_for
from porter.tables.shipped import load_tables
from porter.tables.table_records import InputSpec
from porter.tables.trust import require_trust
from porter.tables.variants import Variant

_TIMEOUT = 1800.0
_NETWORK = ("porter.model", "porter.arguments", "porter.network", "porter.library", "porter.adjust")
_REASON = "what rounding the weights once more changes"


def check_against_own_golden(
    ported: Path,
    path: Path,
    *,
    target: str = "timm",
    trust_table: bool = False,
    tolerances: Tolerances | None = None,
    phase: Phase = silent,
) -> CheckReport:
    """Run a ported file on the golden's inputs and hold every stage, and every tensor, against the golden.

    Stages may differ by rounding only as far as tensors are proved to be roundings of the golden's port.

    Args:
        ported: A file or folder that porter wrote, or a ``.pth``.
        path: The golden.
        target: The library under whose names `ported` was written.
        trust_table: Whether a function that the file or the golden names may be run.
        tolerances: The defaults if None.
        phase: Called with each phase, in words, as it begins.

    Raises:
        MissingDependencyError: torch or timm is not installed.
        ParityError: the golden cannot be read, or is of a port by other options.
        OutputError: the file cannot be read, or is no port to the golden's network.
    """
    (report,) = check_all_against_own_golden(
        {ported: target}, path, trust_table=trust_table, tolerances=tolerances, phase=phase
    )
    return report


def check_all_against_own_golden(
    ported: Mapping[Path, str],
    path: Path,
    *,
    trust_table: bool = False,
    tolerances: Tolerances | None = None,
    phase: Phase = silent,
) -> list[CheckReport]:
    """Check several files in one process of PyTorch; see `check_against_own_golden`.

    Args:
        ported: The files, each with the library under whose names it was written.
        path: The golden.
        trust_table: As for `check_against_own_golden`.
        tolerances: The defaults if None.
        phase: Called with each phase, in words, as it begins.
    """
    require("torch")
    golden = OwnGolden.load(path)
    names = filter(is_function_name, [golden.port["porter.model"]])
    require_trust(tuple(names), path, trust_table=trust_table)
    with tempfile.TemporaryDirectory(prefix="porter-") as name:
        held = [
            _Held(golden, path, file, target, Path(name) / str(number))
            for number, (file, target) in enumerate(ported.items())
        ]
        for each in held:
            each.job = replace(each.job, trust_table=trust_table)
        phase("running PyTorch against the golden")
        with Child("torch", *(each.job for each in held)) as child:
            wait_for(child, [], _TIMEOUT)
        phase("comparing every stage")
        return [each.report(tolerances or Tolerances()) for each in held]


class _Held:
    """A file that is held against a golden, and what PyTorch's process has to do for it.

    Args:
        golden: What it is held against.
        path: Where the golden is.
        ported: The file.
        target: The library under whose names it was written.
        out: Where the recording goes; other files have longer names.
    """

    def __init__(self, golden: OwnGolden, path: Path, ported: Path, target: str, out: Path) -> None:
        self._golden, self._ported = golden, ported
        self._says = None if target not in ("timm", "hub-folder") else description(ported)
        self._title = f"{ported.name}: torch against the golden {path.name}"
        batches = _as_prepared(golden, self._says)
        inputs = out.with_suffix(".inputs")
        save_file({size_name(size): values for size, values in batches.items()}, inputs)
        self.job = Job(
            table="",
            variant="",
            inputs=str(inputs),
            names=tuple(map(size_name, batches)),
            dtypes=("float64",),
            out=str(out),
            threads=default_threads(),
            ported=str(ported.absolute()),
            target=target,
            golden=str(path.absolute()),
        )

    def report(self, usual: Tolerances) -> CheckReport:
        """Return what the process found, compared and explained."""
        golden, says = self._golden, self._says
        actual = Recording.load(self.job.out)
        disturbed, found = Path(self.job.disturbed_out), Path(self.job.ported_out)
        rounded = Recording.load(disturbed) if disturbed.is_file() else None
        allowed = _tolerances(usual, golden, actual, rounded, _first_wrong(golden, says, found))
        stages = list(golden.stages)
        report = compare(golden.recording, actual, tolerances=allowed, stages=stages, title=self._title)
        report = with_tensors(report, golden.stages, self._ported, found)
        report = _told(report, golden, says, len(read_differences(found)))
        if not report.passed and not report.findings and says is not None and not says.folded:
            # The tensors are those of the golden's port, so the file's own do for recomputing its stages.
            checked = Checked(report, golden.recording, actual)
            report = explained(checked, _variant(golden), _weights(self._ported))
        return CheckReport(report, golden.recording, actual)


def _variant(golden: OwnGolden) -> Variant | None:
    """Return the golden's network, if it is in a table that comes with porter."""
    return load_tables().variants.get(golden.port["porter.variant"])


def _weights(ported: Path) -> dict[str, Array] | None:
    """Return the file's tensors by name, or None if numpy has not their type."""
    try:
        return {name: values for file in ported_files(ported) for name, values in load_file(file).items()}
    except (TypeError, KeyError):  # bfloat16
        return None


def _as_prepared(golden: OwnGolden, says: Ported | None) -> dict[tuple[int, int], Array]:
    """Return the golden's images as the file has them prepared, in the golden's order of colours.

    A file that says another mean or standard deviation is given other numbers, as it would be in use.
    """
    spec = golden.spec
    own = spec if says is None else _spec(says)
    own = spec._replace(mean=own.mean, std=own.std)
    batches = golden.inputs.arrays(spec)
    if (own.mean, own.std) == (spec.mean, spec.std):
        return batches
    return {size: _renormalised(values, spec, own) for size, values in batches.items()}


def _spec(says: Ported) -> InputSpec:
    try:
        return spec_of(says.input)
    except (TypeError, ValueError) as error:
        raise OutputError(
            "load/not-ported", f"the metadata's porter.input cannot be read ({error})"
        ) from None


def _renormalised(values: Array, given: InputSpec, wanted: InputSpec) -> Array:
    step = -1 if given.channel_order == "bgr" else 1
    mean, std, other_mean, other_std = (
        np.asarray(each[::step], np.float32) for each in (given.mean, given.std, wanted.mean, wanted.std)
    )
    return np.asarray((values * std + mean - other_mean) / other_std, np.float32)


def _first_wrong(golden: OwnGolden, says: Ported | None, found: Path) -> str | None:
    """Return the first stage that more than rounding makes another one, or None.

    That is where a tensor is not the golden's, and the very first one if the network is not.
    """
    stages = list(golden.stages)
    if says is not None and any(says.metadata.get(key) != golden.port.get(key) for key in _NETWORK):
        return stages[0]
    wrong = {stage_of(golden.stages, each.tensor) for each in read_differences(found)}
    return min(wrong, key=stages.index, default=None)


def _tolerances(
    usual: Tolerances,
    golden: OwnGolden,
    actual: Recording,
    disturbed: Recording | None,
    first_wrong: str | None,
) -> Tolerances:
    """Widen the tolerance of each stage by the measured effect of rounding, up to the first wrong tensor."""
    if disturbed is None:
        return usual
    stages: dict[str, StageTolerance] = {}
    for name in golden.stages:
        if name == first_wrong:
            break
        noise = max(
            relative_difference(run.stages[name], other.stages[name]) or 0.0
            for run, other in zip(actual.runs, disturbed.runs, strict=True)
        )
        allowed = max(usual.of(name, "float64", None), NOISE_FACTOR * noise)
        stages[name] = StageTolerance(allowed, _REASON)
    return replace(usual, stages={**stages, **usual.stages})


def _told(report: ParityReport, golden: OwnGolden, says: Ported | None, differing: int) -> ParityReport:
    """Say first what makes the file another port altogether."""
    if report.passed:
        return report
    first, tensors = next(iter(golden.stages)), len(golden.tensors.shapes)
    if differing > tensors // 2:
        evidence = (
            f"{differing} of {tensors} tensors do not hold what the golden was recorded with: the file is a "
            "port of other weights"
        )
        return replace(report, findings=(Cause("other-weights", first, evidence, "the file"),))
    findings = [] if says is None else list(_other_words(says, golden, first))
    return replace(report, findings=(*findings, *report.findings))


def _other_words(says: Ported, golden: OwnGolden, first: str) -> Iterator[Cause]:
    """Yield what the file says otherwise of its network and its images than the golden's port does."""
    recorded = json.loads(golden.port["porter.arguments"])
    for name in sorted({*says.arguments, *recorded}):
        own, other = says.arguments.get(name), recorded.get(name)
        if own != other:
            evidence = f"the file's metadata say {name}={own!r}, the golden's port {other!r}"
            yield Cause("other-arguments", first, evidence, "the file's porter.arguments")
    spec, own_spec = golden.spec, _spec(says)
    for name in ("mean", "std"):
        own, other = getattr(own_spec, name), getattr(spec, name)
        if own != other:
            evidence = f"the file's metadata say that images have {name} {own}, the golden's port {other}"
            yield Cause("preprocessing", "input", evidence, "the file's porter.input")
