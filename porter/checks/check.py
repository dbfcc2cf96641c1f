"""A parity check of one variant: both frameworks run in parallel, then the recordings are compared."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.numpy import load_file, save_file

from porter.checks.framework_pair import FrameworkPair
from porter.checks.image_check import image_results, label_source, prepared_batch
from porter.checks.ported_file_check import with_tensors
from porter.core.named_function import is_function_name
from porter.errors import ParityError
from porter.parity.compare import compare
from porter.parity.outcome import ImageResult, ParityReport
from porter.parity.tolerances import Tolerances
from porter.planning.ledger import Bucket
from porter.planning.plan import Plan
from porter.planning.port_options import DEFAULTS, PortOptions
from porter.recordings.random_weights import image_input
from porter.recordings.recording import Recording
from porter.runners.job import Job
from porter.runners.process import Child, default_threads, wait_for
from porter.tables.table_records import InputSpec
from porter.tables.trust import require_trust
from porter.tables.variants import Variant

Size = tuple[int, int]
DTYPES = ("float64", "float32")


@dataclass(frozen=True, slots=True)
class Check:
    """What to check.

    Attributes:
        variant: The network.
        sizes: Input sizes (H, W); if empty the table's, or with images the source's.
        dtypes: Element types to compute in. float64 decides and must be among them.
        batch: Images per input.
        seed: Seed of the inputs, and of the weights if there is no checkpoint.
        checkpoint: Stored weights: TensorFlow restores them itself, PyTorch gets them ported.
        options: What is chosen about the port that is checked.
        threads: Threads per framework; as many as there are cores, at most four, if None.
        timeout: Seconds after which a framework that has not answered is ended.
        images: Real images to use as the input, prepared as the source's evaluation prepares them.
        labels: File with the names of the classes, one a line, to show with images; ImageNet's if None.
        ported: The file that PyTorch loads as it is; a fresh port if None.
        target: The library under whose names `ported` was written.
        source: A person's function that builds TensorFlow's network; what the table says if None.
        trust_table: Whether functions that the table names may be run.
    """

    variant: Variant
    sizes: tuple[Size, ...] = ()
    dtypes: tuple[str, ...] = DTYPES
    batch: int = 1
    seed: int = 0
    checkpoint: Path | None = None
    options: PortOptions = DEFAULTS
    threads: int | None = None
    timeout: float = 1800.0
    images: tuple[Path, ...] = ()
    labels: Path | None = None
    ported: Path | None = None
    target: str = "timm"
    source: str | None = None
    trust_table: bool = False

    @property
    def effective_sizes(self) -> tuple[Size, ...]:
        """The sizes that are run.

        Raises:
            ParityError: TensorFlow's network takes square inputs only and one is not.
        """
        usual = (self.variant.input.size,) if self.images else self.variant.input.check_sizes
        sizes = self.sizes or tuple((size, size) for size in usual)
        if self.images and (len(sizes) > 1 or sizes[0][0] != sizes[0][1]):
            raise ParityError("check/picture-size", "images are checked at one square size at a time")
        oblong = [size for size in sizes if size[0] != size[1]]
        if oblong and self.variant.input.square:
            height, width = oblong[0]
            raise ParityError(
                "check/not-square",
                f"TensorFlow's {self.variant.name} takes square inputs only",
                found=f"{height}x{width}",
            )
        return sizes

    def job(self, inputs: Path, out: Path, *, local: bool) -> Job:
        """Return what one framework has to do."""
        return Job(
            table=str(self.variant.table),
            variant=self.variant.name,
            inputs=str(inputs),
            names=tuple(_input_name(size) for size in self.effective_sizes),
            dtypes=self.dtypes,
            out=str(out),
            threads=self.threads or default_threads(),
            seed=self.seed,
            checkpoint=None if self.checkpoint is None else str(self.checkpoint.absolute()),
            options=replace(self.options, variant=self.variant.name),
            local=local,
            images=tuple(str(path.absolute()) for path in self.images),
            labels=None if self.labels is None else str(self.labels.absolute()),
            ported=None if self.ported is None else str(self.ported.absolute()),
            target=self.target,
            source=self.source,
            trust_table=self.trust_table,
        )

    def require_trust(self, *, runs_tensorflow: bool = True) -> None:
        """Refuse to run code that the table names and the person does not trust.

        Args:
            runs_tensorflow: Whether the source's network is run too.

        Raises:
            TableError: ``table/not-trusted``.
        """
        names = [self.variant.target.name]
        if runs_tensorflow:
            names.append(self.source or self.variant.source.name)
        require_trust(
            [name for name in names if is_function_name(name)],
            self.variant.table,
            trust_table=self.trust_table,
            chosen=[self.source] if self.source else [],
        )

    def planned(self) -> Plan:
        """Open the weights, plan their port and close them."""
        job = self.job(Path(), Path(), local=False)
        with job.open_weights() as weights:
            return job.plan(weights)


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome, with the recordings that it rests on."""

    report: ParityReport
    expected: Recording
    actual: Recording


def silent(_phase: str) -> None:
    """Say nothing of a phase that begins."""


def check_against_tensorflow(
    check: Check,
    tolerances: Tolerances | None = None,
    *,
    port_plan: Plan | None = None,
    phase: Callable[[str], None] = silent,
    pair: FrameworkPair | None = None,
) -> Checked:
    """Run TensorFlow and PyTorch in parallel and compare every stage, propagated and local.

    Args:
        check: What to check.
        tolerances: The defaults if None.
        port_plan: The plan of the port that is checked, if the caller has it.
        phase: Called with each phase, in words, as it begins.
        pair: Processes that serve more than this check; a pair of its own if None.

    Raises:
        MissingDependencyError: TensorFlow or torch is not installed.
        ParityError: a framework failed, crashed or hung.
        PorterError: a framework's process refused its job; the error is that process's own.
    """
    if pair is not None:
        with tempfile.TemporaryDirectory(prefix="porter-") as name:
            prepared = _Prepared(check, port_plan or check.planned(), Path(name), 0)
            phase("running TensorFlow and PyTorch")
            pair.run(*prepared.jobs, check.timeout)
            return prepared.outcome(tolerances)
    return next(_all_against_tensorflow([(check, port_plan or check.planned())], tolerances, phase))


def check_all_against_tensorflow(
    checks: Sequence[Check], tolerances: Tolerances | None = None
) -> Iterator[Checked]:
    """Check several networks with one process per framework; each outcome is read when it is asked for.

    Raises:
        MissingDependencyError: TensorFlow or torch is not installed.
        ParityError: a framework failed, crashed or hung.
        PorterError: a framework's process refused its job; the error is that process's own.
    """
    return _all_against_tensorflow([(check, check.planned()) for check in checks], tolerances, silent)


def _all_against_tensorflow(
    planned: Sequence[tuple[Check, Plan]], tolerances: Tolerances | None, phase: Callable[[str], None]
) -> Iterator[Checked]:
    timeout = sum(check.timeout for check, _ in planned)
    with tempfile.TemporaryDirectory(prefix="porter-") as name:
        prepared = [_Prepared(*each, Path(name), number) for number, each in enumerate(planned)]
        phase("running TensorFlow and PyTorch")
        source_jobs, target_jobs = zip(*(each.jobs for each in prepared), strict=True)
        with Child("tensorflow", *source_jobs) as source, Child("torch", *target_jobs) as target:
            handover = Handover(target, [each.reference for each in prepared])
            wait_for(source, [target], timeout, handover.name_written)
            handover.name_rest()
            phase("TensorFlow is done; waiting for PyTorch")
            wait_for(target, [], timeout)
        phase("comparing every stage")
        for each in prepared:
            yield each.outcome(tolerances)


class Handover:
    """Names the source's recordings to the target while the source still works on them.

    The source writes them in order, each anew with every element type. The target runs local stages on what
    there is, so that few are left to run when the source has ended.

    Args:
        target: Told of the recordings.
        recordings: Files, in the order in which they are written.
    """

    def __init__(self, target: Child, recordings: Sequence[Path]) -> None:
        self._target = target
        self._left = list(recordings)
        self._begun: Path | None = None

    def name_written(self) -> None:
        """Name every recording that is whole, because the next one is there, and the one that is begun."""
        while len(self._left) > 1 and self._left[1].exists():
            self._target.name_reference(self._left.pop(0))
        if self._left and self._left[0] != self._begun and self._left[0].exists():
            self._begun = self._left[0]
            self._target.name_reference(self._begun, whole=False)

    def name_rest(self) -> None:
        """Name what is left, once the source has ended well."""
        while self._left:
            self._target.name_reference(self._left.pop(0))


class _Prepared:
    """A check, its files in a folder, and what each framework has to do."""

    def __init__(self, check: Check, port_plan: Plan, folder: Path, number: int) -> None:
        self._inputs = folder / f"{number}.inputs.safetensors"
        self._check = check = settle(check, port_plan, self._inputs)
        self._plan = port_plan
        self.reference, self._other = (
            folder / f"{number}.{name}.safetensors" for name in ("tensorflow", "torch")
        )
        self.jobs = (
            check.job(self._inputs, self.reference, local=False),
            check.job(self._inputs, self._other, local=True),
        )

    def outcome(self, tolerances: Tolerances | None) -> Checked:
        expected, actual = Recording.load(self.reference), Recording.load(self._other)
        images = image_results_of(self._check, self._inputs, expected, actual, self.jobs)
        title = f"{self._check.variant.name}: torch against tensorflow"
        # A file's own network may lack stages; its notes name them.
        stages = list(expected.runs[0].stages) if self._check.checkpoint else None
        report = compare(expected, actual, tolerances=tolerances, stages=stages, title=title)
        notes = (*report.notes, *_notes(self._check, self._plan, images, self.jobs))
        report = replace(report, ledger=count_ledger(self._plan), images=images, notes=notes)
        if self._check.ported is not None:
            found = Path(self.jobs[1].ported_out)
            modules = {stage.name: stage.target for stage in self._check.variant.stages}
            report = with_tensors(report, modules, self._check.ported, found)
        return Checked(report, expected, actual)


def settle(check: Check, port_plan: Plan, inputs: Path) -> Check:
    """Write what the networks are given, as the port takes it; return the check with its sizes.

    Images have the size that the source takes, unless the check says otherwise; so has every input of a
    source that carries its network with one size. A size that was chosen for the port is the one that is
    checked.
    """
    if not check.sizes and (check.images or check.options.input_size is not None):
        size = port_plan.input_spec.size
        check = replace(check, sizes=((size, size),))
    elif not check.sizes and port_plan.fixed_size is not None:
        check = replace(check, sizes=(port_plan.fixed_size,))
    spec = port_plan.input_spec._replace(channel_order=port_plan.channel_order)
    write_inputs(check, inputs, spec=spec, channels=channels_of(port_plan))
    return check


def write_inputs(check: Check, path: Path, *, spec: InputSpec | None = None, channels: int = 0) -> Path:
    """Write what the networks are given at every size, (N, H, W, C) float32; return the path.

    Args:
        check: Images, or seed and batch.
        path: The file to write.
        spec: How images are prepared; as the table says if None.
        channels: Channels of random inputs; as many as the table says if 0.
    """
    spec = spec or check.variant.input
    inputs = {
        _input_name(size): prepared_batch(check.images, spec, size[0])
        if check.images
        else image_input(check.seed, size, check.batch, channels or check.variant.channels)
        for size in check.effective_sizes
    }
    save_file(inputs, path)
    return path


def _notes(check: Check, port_plan: Plan, images: Sequence[ImageResult], jobs: tuple[Job, Job]) -> list[str]:
    """Return what a reader should know: what of the checkpoint was not compared, whose names are shown."""
    outside = sum(line.bucket is Bucket.LEFT_OUT for line in port_plan.ledger)
    notes = [
        f"{outside} variables of the checkpoint lie outside the compared network, see porter inspect"
    ] * bool(outside and check.checkpoint)
    named = any(image.expected for image in images)
    return [*notes, f"names of classes: {label_source(jobs[1])}"] if named else notes


def image_results_of(
    check: Check, inputs: Path, expected: Recording, actual: Recording, jobs: tuple[Job, Job]
) -> tuple[ImageResult, ...]:
    """Return what both networks see in the check's images; see `image_results`."""
    if not check.images:
        return ()
    (given,) = load_file(inputs).values()
    return image_results(check.images, given, expected, actual, jobs)


def _input_name(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def count_ledger(port_plan: Plan) -> Mapping[str, int]:
    """Return how many source variables ended up in which bucket, and how many target tensors were made."""
    buckets = Counter(line.bucket.value for line in port_plan.ledger)
    return {"target tensors": len(port_plan.assignments), **buckets}


def channels_of(port_plan: Plan) -> int:
    """Return how many channels the network's images have; a checkpoint may decide that, or else the table."""
    free, usual = port_plan.variant.free.get("channels"), port_plan.variant.channels
    return int(str(port_plan.arguments.get(free.argument, usual))) if free else usual
