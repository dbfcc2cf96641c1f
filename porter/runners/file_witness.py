"""TensorFlow's side of a check where the file carries its network: runs that network, stage by stage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from porter.checkpoints.carried import Carried
from porter.core.checkpoint import Array, Checkpoint
from porter.errors import ParityError, PorterError
from porter.parity.tolerances import DEFAULT_RTOL
from porter.planning.ledger import moving_averages
from porter.planning.plan import Plan
from porter.recordings.activation import Activation
from porter.recordings.recording import Run
from porter.runners import file_network, float32_agreement
from porter.runners.as_ported import kept_classes, source_order
from porter.runners.exact_constants import with_exact_constants
from porter.runners.file_network import FileNetwork
from porter.runners.graph_lifting import computed_types, lifted, without_float64
from porter.runners.graph_part import between
from porter.runners.graph_stages import Found, GraphStages
from porter.runners.head_end import end_of_head
from porter.runners.image_scale import ImageScale, measured_scale, scale_note
from porter.runners.job import Job
from porter.tables.variants import Stage

_V1 = tf.compat.v1


class UnfitError(Exception):
    """Why TensorFlow cannot run the file's own network here, in words."""


class _Weights(NamedTuple):
    """The plan's weights in a graph: place of the stage by name of the constant, and values to put there."""

    stages: Mapping[str, int]
    averages: Mapping[str, Array]
    weightless: frozenset[int]


class FileWitness:
    """The file's own network, ready to run in float32, as it is stored, and in float64.

    Args:
        network: What the file holds.
        port_plan: The plan of the port that is checked.
        stages: Those that are wanted.
        checkpoint: The file.
        inputs: Images as the network takes them normalised, (N, H, W, C).
        threads: Threads that TensorFlow may use.

    Raises:
        UnfitError: the network cannot be run on these inputs, or it is not the weights' own.
        ParityError: the float64 form does not compute what the float32 form computes.
    """

    def __init__(
        self,
        network: FileNetwork,
        port_plan: Plan,
        stages: tuple[Stage, ...],
        checkpoint: Checkpoint,
        inputs: Sequence[Array],
        threads: int,
    ) -> None:
        self._network, self._plan, self._inputs = network, port_plan, inputs
        _require_size(network, inputs)
        weights = _weights(network.graph, port_plan, stages, checkpoint)
        self._found = _found(network, port_plan, stages, weights)
        graph = _with_values(network.graph, weights.averages)
        self._done: dict[tuple[str, int], Run] = {}
        self._moves: dict[str, float] = {}
        try:
            self._scale = self._measured(threads)
            self._sessions = self._opened(graph, threads)
            self.agreement = self._agreement()
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise UnfitError(_first_line(error)) from error
        self._require_agreement(checkpoint)

    def runs(self, dtype: str) -> Iterator[Run]:
        """Run the network on every input; in a type that it cannot compute in, nothing is run."""
        numbers = range(len(self._inputs)) if dtype in self._sessions else ()
        return (self._run(dtype, number) for number in numbers)

    @property
    def lacks_float64(self) -> str:
        """Why the network cannot run in float64, or ""."""
        if not self._lacking:
            return ""
        verb = "has" if len(self._lacking) == 1 else "have"
        return f"{', '.join(self._lacking)} {verb} no float64 kernel in TensorFlow"

    @property
    def scale(self) -> ImageScale:
        """What the network itself does to images before its first weights."""
        return self._scale

    def logits(self, images: Array) -> Array:
        """Return the classes' logits (N, K) of normalised images (N, H, W, C), float32, as it is stored."""
        fed = self._scale.undo(source_order(self._plan, images))
        (value,) = self._fetch("float32", [self._found.stages["logits"]], self._scale.tensor, fed)
        return self._kept("logits", value)

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions that ran the network."""
        return self._network.packages

    @property
    def words(self) -> str:
        """What network ran."""
        return self._network.words

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the network that ran."""
        told = f"TensorFlow ran {self.words}"
        notes = [f"{told}; widened to float64, it agrees with its float32 form within {self.agreement:.1e}"]
        if self._moves:
            notes.append(float32_agreement.rough_note(self._moves))
        if self._lacking:
            why = f"it cannot be run in float64, because {self.lacks_float64}"
            notes = [f"{told}; {why}: float32 decides, by the rounding that PyTorch shows in float32"]
        height, width = (self._network.shape or (None,) * 4)[1:3]
        if height and width:
            notes.append(f"this network takes {height}x{width} pixels only: it is checked at that size")
        if self._found.missing:
            names = ", ".join(self._found.missing)
            notes.append(f"not compared, because not found in the file's network: {names}")
        note = scale_note(self._scale, self._plan)
        return (*notes, *((note,) if note else ()))

    def _run(self, dtype: str, number: int) -> Run:
        if (dtype, number) not in self._done:
            given = self._inputs[number].astype(dtype)
            values = self._stages(dtype, given)
            stages = {name: Activation.full(value, "NHWC") for name, value in values.items()}
            self._done[dtype, number] = Run(dtype, Activation.full(given, "NHWC"), stages)
        return self._done[dtype, number]

    def _stages(self, dtype: str, given: Array) -> dict[str, Array]:
        names = self._found.stages
        fed = self._scale.undo(source_order(self._plan, given))
        values = self._fetch(dtype, list(names.values()), self._scale.tensor, fed)
        return {name: self._kept(name, value) for name, value in zip(names, values, strict=True)}

    def _kept(self, stage: str, value: Array) -> Array:
        return kept_classes(self._plan, stage, _as_classes(value) if stage == "logits" else value)

    def _fetch(self, dtype: str, tensors: list[str], place: str, images: Array) -> list[Array]:
        """Run the graph on images, one by one where its batch is fixed to one."""
        session, batch = self._sessions[dtype], (self._network.shape or (None,))[0]
        pieces = [images] if batch in (None, len(images)) else np.split(images, len(images))
        results = [session.run(tensors, {place: piece.astype(dtype)}) for piece in pieces]
        return [
            np.concatenate(values) if len(pieces) > 1 else values[0] for values in zip(*results, strict=True)
        ]

    def _opened(self, graph: Any, threads: int) -> dict[str, Any]:
        """Return a session for every type that the network can compute in."""
        ends = [self._scale.tensor, *self._found.stages.values()]
        part = between(graph, self._scale.tensor, ends)
        self._lacking = without_float64(part)
        forms = {"float32": part}
        if not self._lacking:
            wide = lifted(part)
            # PyTorch computes with the numbers themselves, unless the table names another activation.
            forms["float64"] = wide if self._plan.variant.float64_activation else with_exact_constants(wide)
        return {dtype: _session(form, threads) for dtype, form in forms.items()}

    def _measured(self, threads: int) -> ImageScale:
        source, image = f"{self._network.source}:0", self._found.image
        if source == image:
            return ImageScale(source)
        node = next(node for node in self._network.graph.node if node.name == self._network.source)
        preparation = between(self._network.graph, source, [source, image])
        if node.attr["dtype"].type != tf.float32.as_datatype_enum or without_float64(preparation):
            return ImageScale(image, note="the images are fed behind the file's own preparation")
        self._sessions = {"float64": _session(lifted(preparation), threads)}

        def prepare(images: Array) -> Array:
            return self._fetch("float64", [image], source, images)[0]

        return measured_scale(prepare, source, image, self._inputs[0].shape)

    def _require_agreement(self, checkpoint: Checkpoint) -> None:
        bound = max(DEFAULT_RTOL[dtype] for dtype in computed_types(self._network.graph))
        if self.agreement <= bound:
            return
        wide, narrow = (self._values(dtype) for dtype in ("float64", "float32"))
        given = float32_agreement.moved_by_rounding(self._inputs[0].astype("float64"))
        self._moves = float32_agreement.differences(wide, self._stages("float64", given))
        stage = float32_agreement.unexplained(float32_agreement.differences(wide, narrow), self._moves, bound)
        if stage:
            raise ParityError(
                "runner/lifting",
                "the file's network computes something else in float64 than in float32",
                file=checkpoint.path,
                expected=f"at most {bound:g}, relative",
                found=f"{self.agreement:.1e}, and more than rounding explains at {stage}",
            )

    def _agreement(self) -> float:
        """Return max|float32 - float64| / max|float64| of the first input, over the worst stage."""
        if self._lacking:
            return 0.0
        found = float32_agreement.differences(self._values("float64"), self._values("float32"))
        return max(found.values(), default=0.0, key=lambda each: (np.isnan(each), each))

    def _values(self, dtype: str) -> dict[str, Array]:
        return {name: stage.values for name, stage in self._run(dtype, 0).stages.items()}


def open_witness(
    carried: Carried | None,
    port_plan: Plan,
    stages: tuple[Stage, ...],
    checkpoint: Checkpoint,
    inputs: Sequence[Array],
    job: Job,
) -> FileWitness:
    """Load the network that a source carries, or that its settings describe if None; make it ready to run.

    Raises:
        UnfitError: TensorFlow cannot run it here; the message says why.
        ParityError: its float64 form does not compute what its float32 form computes.
    """
    try:
        if carried is None:
            network = file_network.of_settings(checkpoint, port_plan)
        else:
            network = file_network.load(checkpoint, carried)
    except PorterError as error:
        raise UnfitError(_first_line(error)) from error
    except Exception as error:  # whatever Keras and TensorFlow raise for a file that they cannot load
        raise UnfitError(_first_line(error)) from error
    witness = FileWitness(network, port_plan, stages, checkpoint, inputs, job.threads)
    if witness.lacks_float64 and "float32" not in job.dtypes:
        raise UnfitError(f"{witness.lacks_float64}, and float32 is not to be run")
    return witness


def _require_size(network: FileNetwork, inputs: Sequence[Array]) -> None:
    shape = network.shape or (None,) * 4
    for given in inputs:
        for wanted, found in zip(shape[1:], given.shape[1:], strict=True):
            if wanted not in (None, found):
                size = "x".join("any" if length is None else str(length) for length in shape[1:])
                raise UnfitError(f"it takes images of {size} only")


def _weights(graph: Any, port_plan: Plan, stages: tuple[Stage, ...], checkpoint: Checkpoint) -> _Weights:
    """Find the plan's weights in a graph by their values; equal ones are left out, for they tell nothing."""
    constants: dict[str, list[str]] = {}
    for name, value in _constants(graph):
        constants.setdefault(_digest(value), []).append(name)
    raws = {average: raw for raw, average in moving_averages(checkpoint).items()}
    found: dict[str, int] = {}
    averages: dict[str, Array] = {}
    staged: set[int] = set()
    for assignment in port_plan.assignments:
        stage = _stage_of(assignment.target, stages)
        if stage is None or not assignment.sources:
            continue
        staged.add(stage)
        for part in assignment.sources:
            raw = raws.get(part.key, part.key)
            names = constants.get(_digest(checkpoint.read(raw)), [])
            if not names and len(part.spec.shape) > 1:
                raise UnfitError(f"its graph does not hold {part.path} as it is stored")
            if len(names) == 1:
                found[names[0]] = min(stage, found.get(names[0], stage))
            if raw != part.key:
                if len(names) != 1:
                    raise UnfitError(f"the moving average of {part.path} has no place in its graph")
                averages[names[0]] = checkpoint.read(part.key)
    return _Weights(found, averages, frozenset(range(len(stages))) - staged)


def _stage_of(target: str, stages: tuple[Stage, ...]) -> int | None:
    for number, stage in enumerate(stages):
        if any(target == module or target.startswith(f"{module}.") for module in stage.target):
            return number
    return None


def _constants(graph: Any) -> Iterator[tuple[str, Array]]:
    """Yield the float32 constants with axes; each is a view of the graph's own bytes."""
    for node in graph.node:
        if node.op != "Const":
            continue
        tensor = node.attr["value"].tensor
        if tensor.dtype == tf.float32.as_datatype_enum and tensor.tensor_shape.dim:
            yield node.name, tf.make_ndarray(tensor)


def _digest(values: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, np.float32).tobytes()).hexdigest()


def _with_values(graph: Any, values: Mapping[str, Array]) -> Any:
    if not values:
        return graph
    copy = type(graph).FromString(graph.SerializeToString())
    for node in copy.node:
        if node.name in values:
            shape = tuple(dim.size for dim in node.attr["value"].tensor.tensor_shape.dim)
            value = values[node.name].astype(np.float32).reshape(shape)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return copy


def _found(network: FileNetwork, port_plan: Plan, stages: tuple[Stage, ...], weights: _Weights) -> Found:
    graph = GraphStages(network.graph.node, network.source, network.outputs)
    is_cut = port_plan.cut is not None and not port_plan.head
    found = graph.find(stages, weights.stages, weights.weightless, is_cut=is_cut, end=end_of_head(port_plan))
    if found is None or stages[-1].name in found.missing:
        raise UnfitError(f"no tensor of its graph is the stage {stages[-1].name}")
    return found


def _session(graph: Any, threads: int) -> Any:
    with tf.Graph().as_default() as port_plan:
        tf.import_graph_def(graph, name="")
    settings = _V1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1, device_count={"GPU": 0}
    )
    # The optimiser would fold and reorder what is to be computed as it is stored.
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return _V1.Session(graph=port_plan, config=settings)


def _as_classes(values: Array) -> Array:
    """Return (N, 1, 1, K), which a convolution as the classifier gives, as (N, K)."""
    return values.reshape(len(values), -1) if values.ndim == 4 and values.shape[1:3] == (1, 1) else values


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
