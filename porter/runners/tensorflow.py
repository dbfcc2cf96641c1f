"""The TensorFlow side: build the source network, restore its weights TensorFlow's own way, record it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from safetensors.numpy import save_file

from porter.checkpoints.keras.file import KerasFile
from porter.core.checkpoint import Array, Checkpoint
from porter.errors import ParityError
from porter.planning.expected_input import takes_pixels
from porter.planning.ledger import moving_averages
from porter.planning.plan import Plan
from porter.recordings.activation import Activation
from porter.recordings.recording import Provenance, Recording, Run
from porter.runners.as_ported import kept_classes, source_order, stored_length
from porter.runners.builders import Keras, Preparation, build, source_of
from porter.runners.decoding import decoded_image
from porter.runners.file_witness import FileWitness
from porter.runners.job import Job, planned_stages, serve
from porter.runners.restoring import index_of, objects, restore
from porter.runners.source_network import open_source_network
from porter.runners.substitute import carry, network_of, stages_of
from porter.runners.watched_layers import watched_layers
from porter.tables.variants import Stage

Weights = Mapping[str, Array]  # by object path


def _record(job: Job) -> None:
    pin(job.threads)
    inputs = job.load_inputs()
    with job.open_weights() as checkpoint:
        port_plan = job.plan(checkpoint)
        witness, notes = open_source_network(job, port_plan, checkpoint, inputs)
        notes = (*notes, *_of_cut(port_plan, checkpoint, builds=witness is None))
        if witness is not None:
            runs_in, provenance = witness.runs, _of_network(job, port_plan, witness, notes)
        else:
            provenance = _of_builder(job, port_plan, notes)
            values = (
                _stored(port_plan, checkpoint, inputs[0], notes)
                if job.checkpoint
                else _random(port_plan, checkpoint)
            )
            runs_in = partial(_runs, port_plan, values, inputs)
        runs: list[Run] = []
        for dtype in job.dtypes:
            runs.extend(runs_in(dtype))
            # Saved anew with every precision: the other side runs local stages on the first one meanwhile.
            if runs:
                Recording(provenance, tuple(runs)).save(job.out)
        if job.images:
            restored = witness is None and job.checkpoint is not None
            _prepare_images(job, port_plan, checkpoint, inputs[0], restored=restored)


def _of_cut(port_plan: Plan, checkpoint: Checkpoint, *, builds: bool) -> Iterator[str]:
    """Say of a network that ends early what is compared of it."""
    if port_plan.cut is None:
        return
    stages = [stage.name for stage in port_plan.variant.stages]
    yield f"the network ends {port_plan.cut.words}: compared up to {stages[-1]}"
    if port_plan.cut.steps:
        yield f"{', '.join(step.module for step in port_plan.cut.steps)} were not compared"
    if builds and isinstance(checkpoint, KerasFile):
        yield "porter read the weights that TensorFlow ran: Keras loads whole networks alone"


def _prepare_images(
    job: Job, port_plan: Plan, checkpoint: Checkpoint, given: Array, *, restored: bool
) -> None:
    """Prepare the images with the source's own code if it has any; write nothing if it has none."""
    prepare = source_preparation(job, port_plan, checkpoint, given, restored=restored)
    if prepare is None:
        return
    prepared = [prepare(decoded_image(Path(path).read_bytes())) for path in job.images]
    save_file({"prepared": source_order(port_plan, np.stack(prepared))}, job.images_out)


def source_preparation(
    job: Job, port_plan: Plan, checkpoint: Checkpoint, given: Array, *, restored: bool
) -> Callable[[Any], Array] | None:
    """Return the source's own code that prepares a decoded image, None if it has none.

    Args:
        job: What is run.
        port_plan: The plan of the port.
        checkpoint: The source.
        given: Images as the network takes them, (N, H, W, C).
        restored: Whether the table's network has the source's weights.
    """
    if port_plan.variant.has_stand_in:
        return None  # another network stands in, and its source may prepare images in another way
    if job.source is not None or not port_plan.variant.has_builder:
        return None
    if takes_pixels(checkpoint, port_plan.variant, port_plan.variant.input):
        return None  # the source's code prepares images for another state of these weights
    prepare = source_of(port_plan.variant.source.name).prepare
    if prepare is None:
        return None
    preparation = Preparation(
        size=given.shape[1],
        arguments=port_plan.variant.source.arguments,
        network=_build(port_plan, "float32", given),
        images=port_plan.input_spec,
        checkpoint=checkpoint,
        restored=restored,
    )
    return partial(_prepared, prepare, preparation)


def _prepared(prepare: Callable[[Any, Preparation], Array], preparation: Preparation, decoded: Any) -> Array:
    return prepare(decoded, preparation)


def table_logits(
    port_plan: Plan, checkpoint: Checkpoint, image: Array, notes: Sequence[str]
) -> Callable[[Array], Array]:
    """Return what computes the logits of images (N, H, W, C) float32 with the table's network.

    TensorFlow restores the weights.
    """
    other = network_of(port_plan.variant)
    values = carry(_stored(port_plan, checkpoint, image, notes), port_plan.variant, other)
    network = _build(port_plan, "float32", image)
    _assign(network, port_plan, values)
    stages = stages_of(planned_stages(port_plan), other)[-1:]

    def logits(images: Array) -> Array:
        found: Array = _run(network, port_plan, stages, images).stages[stages[0].name].values
        return found

    return logits


def pin(threads: int) -> None:
    """Compute on the processor, with so many threads and the same digits every time."""
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    tf.random.set_seed(0)
    tf_keras.backend.set_floatx("float32")  # another job may have left it at what it computed in
    tf.config.experimental.enable_op_determinism()


def _random(port_plan: Plan, checkpoint: Checkpoint) -> Weights:
    return {part.path: checkpoint.read(part.key) for part in _parts(port_plan)}


def _stored(port_plan: Plan, checkpoint: Checkpoint, image: Array, notes: Sequence[str]) -> Weights:
    """Restore the weights into float32: TensorFlow restores into variables of the stored type only."""
    is_another = port_plan.cut is not None or network_of(port_plan.variant) is not port_plan.variant
    if is_another and isinstance(checkpoint, KerasFile):  # Keras loads whole networks of its own alone
        return {part.path: checkpoint.read(part.key) for part in _parts(port_plan)}
    if is_another or not checkpoint.graph.stored:
        reader = tf.train.load_checkpoint(str(index_of(checkpoint).with_suffix("")))
        return {part.path: reader.get_tensor(part.key) for part in _parts(port_plan)}
    network = _build(port_plan, "float32", image)
    _spoil(network)
    variables = objects(network, [part.path for part in _parts(port_plan)])
    averages = {part.key for part in _parts(port_plan)} & set(moving_averages(checkpoint).values())
    if isinstance(checkpoint, KerasFile):
        _load_with_keras(network, checkpoint, notes)
        values = {path: variable.numpy() for path, variable in variables.items()}
        return values | {p.path: checkpoint.read(p.key) for p in _parts(port_plan) if p.key in averages}
    prefix = restore(network, port_plan, checkpoint, notes)
    reader = tf.train.load_checkpoint(prefix)
    values = {path: variable.numpy() for path, variable in variables.items()}
    averaged = {p.path: reader.get_tensor(p.key) for p in _parts(port_plan) if p.key in averages}
    return values | averaged


def _spoil(network: Keras) -> None:
    """Leave nothing of what an earlier job restored: what this one does not restore is then seen."""
    for variable in network.variables:
        if variable.dtype.is_floating:
            variable.assign(tf.fill(variable.shape, tf.cast(np.nan, variable.dtype)))


def _load_with_keras(network: Keras, checkpoint: KerasFile, notes: Sequence[str]) -> None:
    """Let Keras itself load one of its own files: what porter reads is held against that.

    Raises:
        ParityError: Keras cannot load it into this network.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="porter-") as folder:
            # Keras goes by a file's name, porter by what is in it.
            named = Path(folder) / f"model{_suffix(checkpoint)}"
            named.symlink_to(checkpoint.files[0].absolute())
            network.load_weights(str(named))
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ParityError(
            "runner/keras-refuses",
            f"{'; '.join(notes)}; Keras cannot load these weights into that ({str(error).splitlines()[0]})",
            file=checkpoint.path,
            hint="A SavedModel or checkpoint can be checked, whatever stands around the network; "
            "without --checkpoint the network is checked on random weights.",
        ) from error


def _suffix(checkpoint: KerasFile) -> str:
    """Return how Keras names a file of this kind."""
    kinds = {"Keras HDF5": ".h5", "Keras .weights.h5": ".weights.h5"}
    return next((suffix for kind, suffix in kinds.items() if checkpoint.format.startswith(kind)), ".keras")


def _parts(port_plan: Plan) -> Iterator[Any]:
    return (part for assignment in port_plan.assignments for part in assignment.sources)


def _build(port_plan: Plan, dtype: str, image: Array) -> Keras:
    """Build the classification model of the variant, computing in `dtype`, for inputs like `image`."""
    variant = network_of(port_plan.variant)
    lengths: dict[str, object] = {name: stored_length(port_plan, free) for name, free in variant.free.items()}
    if source_of(variant.source.name).fixed_size:
        lengths["size"] = image.shape[1:3]
    key = repr((variant.source, dtype, port_plan.bn_eps, lengths))
    if key not in _BUILT:
        while len(_BUILT) >= _KEPT:
            del _BUILT[next(iter(_BUILT))]
        tf_keras.backend.set_floatx(dtype)
        _BUILT[key] = build(variant.source.name, variant.source.arguments, bn_eps=port_plan.bn_eps, **lengths)
    return _BUILT[key]


# Networks of this process by what they were built from. Building takes longer than everything else; a second
# job on the same network assigns every weight anew. The oldest go, for a process may check every network.
_BUILT: dict[str, Keras] = {}
_KEPT = 4


def _assign(network: Keras, port_plan: Plan, values: Mapping[str, Array]) -> None:
    """Give every variable its value (by object path), cast to the variable's own type.

    Raises:
        ParityError: the network has a variable that the table does not name.
    """
    variables = objects(network, values)
    unnamed = (
        {id(v) for v in network.variables}
        - {id(v) for v in variables.values()}
        - _left_out(network, port_plan)
    )
    if unnamed and port_plan.cut is None:  # what a cut network does without is built, and changes nothing
        names = ", ".join(v.name for v in network.variables if id(v) in unnamed)
        raise ParityError(
            "runner/unnamed-variable",
            f"no rule of {port_plan.variant.name} names {names}",
            file=port_plan.variant.table,
        )
    for path, variable in variables.items():
        variable.assign(values[path].astype(variable.dtype.as_numpy_dtype))


def _left_out(network: Keras, port_plan: Plan) -> set[int]:
    """Return the identity of every variable below an object that the table leaves out."""
    variant = network_of(port_plan.variant)
    first = variant.parts[0].path
    paths = ["/".join(filter(None, (first, path))) for path, _ in variant.left_out]
    return {id(variable) for layer in objects(network, paths).values() for variable in layer.variables}


def _runs(port_plan: Plan, values: Weights, inputs: Sequence[Array], dtype: str) -> Iterator[Run]:
    assigned, other = None, network_of(port_plan.variant)
    values, stages = carry(values, port_plan.variant, other), stages_of(planned_stages(port_plan), other)
    for image in inputs:
        network = _build(port_plan, dtype, image)
        if network is not assigned:
            _assign(network, port_plan, values)
            assigned = network
        yield _run(network, port_plan, stages, image.astype(dtype))


def _run(network: Keras, port_plan: Plan, stages: tuple[Stage, ...], x: Array) -> Run:
    found = objects(network, [stage.source for stage in stages])
    layers = {stage.name: found[stage.source] for stage in stages}
    with watched_layers(layers) as seen:
        network(tf.constant(source_order(port_plan, x)), training=False)
    # Dictionaries keep the order of execution; the table's order is the order of comparison.
    ordered = {name: Activation.full(kept_classes(port_plan, name, seen[name]), "NHWC") for name in layers}
    return Run(x.dtype.name, Activation.full(x, "NHWC"), ordered)


def _of_network(job: Job, port_plan: Plan, witness: FileWitness, notes: tuple[str, ...]) -> Provenance:
    """Return the provenance of a run of the file's own network, or of a person's."""
    source = f"{witness.words}, {job.weights_in_words}"
    found = _provenance(job, port_plan, source, witness.packages, (*witness.notes, *notes))
    return replace(found, lacks_float64=witness.lacks_float64)


def _of_builder(job: Job, port_plan: Plan, notes: tuple[str, ...]) -> Provenance:
    variant = port_plan.variant
    arguments = ", ".join(f"{name}={value!r}" for name, value in variant.source.arguments.items())
    source = source_of(network_of(variant).source.name)
    note = source.notes.get(variant.source.name.partition(".")[2]) if "float64" in job.dtypes else None
    words = f"{variant.source.name}({arguments}), {job.weights_in_words}"
    return _provenance(job, port_plan, words, source.packages, (*((note,) if note else ()), *notes))


def _provenance(
    job: Job, port_plan: Plan, source: str, packages: Sequence[str], notes: tuple[str, ...]
) -> Provenance:
    return Provenance(
        framework="tensorflow",
        source=source,
        versions={name: version(name) for name in packages},
        variant=port_plan.variant.name,
        table_digest=port_plan.variant.digest,
        seed=job.seed if job.checkpoint is None else None,
        threads=job.threads,
        created=datetime.now(UTC).date().isoformat(),
        notes=notes,
    )


if __name__ == "__main__":
    serve(_record)
