"""Goldens: committed recordings of TensorFlow, small enough to keep and to check in seconds."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from porter.checks.check import Check, Checked, write_inputs
from porter.core.data_files import inside_package
from porter.errors import OutputError, ParityError
from porter.parity.compare import compare
from porter.parity.golden_files import golden_path
from porter.parity.outcome import ParityReport
from porter.parity.tolerances import Tolerances
from porter.recordings.recording import Provenance, Recording, Run
from porter.recordings.sampling import SampleRule
from porter.runners.process import Child, wait_for
from porter.tables.known_tables import Tables
from porter.tables.shipped import mappings_folder
from porter.tables.variants import Variant

# Every stride-2 layer sees an even input at 96 (96, 48, 24, 12, 6), where SAME padding is lopsided, and an
# odd one at 97 (97, 49, 25, 13, 7), where it is symmetric: a fault that shows at the first only is padding.
# The network runs in a quarter of a second there, and most stages are small enough to be sampled densely.
SIZES = ((96, 96), (97, 97))

# Elements kept of each stage. The second size is there to tell padding from other faults, which its exact
# statistics do, so most room goes to the first. Deep networks keep fewer of each stage: about 80 KB for each
# of a hundred and fifty networks.
_KEPT_AT_FIRST = 8192
_KEPT_AT_MOST = 1024
_KEPT_AT_LEAST = 128
_KEPT_AT_SECOND = 64
_KEPT_OF_INPUT = 256


def record_goldens(
    variants: Sequence[Variant],
    folder: Path,
    *,
    seed: int = 0,
    threads: int | None = None,
    source: str | None = None,
    trust_table: bool = False,
) -> list[Path]:
    """Run TensorFlow on random weights and inputs and write what later checks need, one file per variant.

    Args:
        variants: The networks.
        folder: Where to write.
        seed: Seed of weights, inputs and samples.
        threads: As for `Check`.
        source: As for `Check`.
        trust_table: As for `Check`.

    Returns:
        The files, at most 300 KB each.

    Raises:
        MissingDependencyError: TensorFlow is not installed.
        OutputError: the folder lies in the installed package.
        ParityError: TensorFlow failed, or a stage is not finite.
    """
    _require_outside_package(folder)
    paths = [golden_path(variant, folder) for variant in variants]
    checks = [
        Check(
            variant,
            sizes=golden_sizes(variant),
            dtypes=("float64",),
            seed=seed,
            threads=threads,
            source=source,
            trust_table=trust_table,
        )
        for variant in variants
    ]
    for check in checks:
        check.require_trust()
    with tempfile.TemporaryDirectory(prefix="porter-") as name:
        recorded = [Path(name) / path.name for path in paths]
        jobs = [
            check.job(write_inputs(check, out.with_suffix(".inputs")), out, local=False)
            for check, out in zip(checks, recorded, strict=True)
        ]
        with Child("tensorflow", *jobs) as child:
            wait_for(child, [], sum(check.timeout for check in checks))
        for variant, path, out in zip(variants, paths, recorded, strict=True):
            recording = Recording.load(out)
            path.parent.mkdir(parents=True, exist_ok=True)
            counts = _kept(variant, path), _KEPT_AT_SECOND
            runs = (sampled_run(run, seed, count) for run, count in zip(recording.runs, counts, strict=False))
            Recording(recording.provenance, tuple(runs)).save(path)
    return paths


def _require_outside_package(folder: Path) -> None:
    if inside_package(folder):
        raise OutputError(
            "golden/installed-package",
            "goldens are not written into the installed package, where the next installation replaces them",
            file=folder,
            hint="Name a folder of your own with --folder.",
        )


def golden_sizes(variant: Variant) -> tuple[tuple[int, int], ...]:
    """Return the sizes of a variant's golden: `SIZES`, or its own smallest two if it takes no odd ones."""
    own = variant.input.check_sizes
    if any(size % 2 for size in own):
        return SIZES
    return tuple((size, size) for size in sorted(own)[:2])


def _kept(variant: Variant, replaced: Path) -> int:
    """Return how many elements of each stage to keep: as many as the golden that is replaced, or shipped."""
    for path in (replaced, golden_path(variant)):
        if path.is_file():
            rules = [stage.rule for stage in Recording.load(path).runs[0].stages.values()]
            return max(rule.count for rule in rules if rule is not None)
    return kept_per_stage(len(variant.stages))


def kept_per_stage(stages: int) -> int:
    """Return how many elements of each of so many stages a golden keeps."""
    return max(_KEPT_AT_LEAST, min(_KEPT_AT_MOST, _KEPT_AT_FIRST // stages))


def verify_goldens(
    paths: Sequence[Path],
    tables: Tables,
    *,
    tolerances: Tolerances | None = None,
    timeout: float = 1800.0,
    trust_table: bool = False,
) -> list[Checked]:
    """Check the ported networks against goldens, with torch alone; one process serves them all.

    A golden that was recorded from another state of its table is not run: its report says that it is stale.

    Args:
        paths: Golden files.
        tables: Known networks.
        tolerances: The defaults if None.
        timeout: Seconds for all of them.
        trust_table: Whether functions that the tables name may be run.

    Returns:
        One outcome per path, in order.

    Raises:
        MissingDependencyError: torch or timm is not installed.
        ParityError: a file is no golden, or torch failed.
        TableError: a golden's variant is in no table.
    """
    goldens = [_Golden(path, tables, trust_table=trust_table) for path in paths]
    for golden in goldens:
        golden.check.require_trust(runs_tensorflow=False)
    fresh = [golden for golden in goldens if not golden.stale]
    with tempfile.TemporaryDirectory(prefix="porter-") as name:
        folder = Path(name)
        jobs = []
        for number, golden in enumerate(fresh):
            inputs = write_inputs(golden.check, folder / f"{number}.inputs")
            golden.out = folder / f"{number}.recording"
            jobs.append(golden.check.job(inputs, golden.out, local=False))
        if jobs:
            with Child("torch", *jobs) as child:
                wait_for(child, [], timeout)
        return [golden.outcome(tolerances) for golden in goldens]


class _Golden:
    """A golden file and the check it asks for."""

    def __init__(self, path: Path, tables: Tables, *, trust_table: bool) -> None:
        self.recording = Recording.load(path)
        provenance = self.recording.provenance
        if provenance.variant is None or provenance.seed is None or not self.recording.runs:
            raise ParityError("golden/not-a-golden", "the recording names no variant or seed", file=path)
        self.variant = tables.variant(provenance.variant)
        self.stale = provenance.table_digest != self.variant.digest
        self.out = self._path = path
        shapes = [run.input.canonical_shape for run in self.recording.runs]
        self.check = Check(
            self.variant,
            sizes=tuple((shape[2], shape[3]) for shape in shapes),
            dtypes=("float64",),
            batch=shapes[0][0],
            seed=provenance.seed,
            trust_table=trust_table,
        )

    def outcome(self, tolerances: Tolerances | None) -> Checked:
        title = f"{self.variant.name}: torch against the golden"
        if self.stale:
            variant = self.variant
            reason = (
                f"the table {variant.table.name} has changed since the golden was recorded "
                f"({self.recording.provenance.created}); record it again: {self._command()}"
            )
            never = Provenance("torch", "not run", variant=variant.name, table_digest=variant.digest)
            report = ParityReport(title, self.recording.provenance, never, (), stale=reason)
            return Checked(report, self.recording, Recording(never, ()))
        actual = Recording.load(self.out)
        report = compare(self.recording, actual, tolerances=tolerances, title=title)
        return Checked(report, self.recording, actual)

    def _command(self) -> str:
        """Return how to record the golden again, ready for a shell."""
        words = ["porter", "golden", "record", self.variant.name]
        if not self.variant.table.is_relative_to(mappings_folder()):
            words += ["--table", str(self.variant.table)]
        folder = self._path.parent
        return shlex.join([*words, "--folder", "golden" if inside_package(folder) else str(folder)])


def sampled_run(run: Run, seed: int, kept: int) -> Run:
    """Return a run with `kept` elements of each stage, and exact statistics of all."""
    stages = {
        name: activation.sampled(SampleRule(seed, f"{run.name}/{name}", kept))
        for name, activation in run.stages.items()
    }
    source = run.input.sampled(SampleRule(seed, f"{run.name}/input", _KEPT_OF_INPUT))
    return Run(run.dtype, source, stages)
