"""What a SavedModel says of its images: Keras's config beside it, or else the shape in its signature.

Source of the field numbers: tensorflow/core/protobuf/{saved_model,meta_graph}.proto and
tf_keras/protobuf/saved_metadata.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from porter.checkpoints.keras.config import LayerConfig, parse_config, parse_layer
from porter.checkpoints.keras.layers import Layer, Variable
from porter.checkpoints.keras.network_calls import UNREADABLE, parse_sources
from porter.checkpoints.keras.stored_input import stored_input
from porter.checkpoints.keras.wrappers import unwrapped
from porter.checkpoints.tensorflow.input_shapes import axis_lengths, image_size
from porter.core.checkpoint import Checkpoint
from porter.core.object_graph import ObjectGraph
from porter.core.stored_preprocessing import StoredInput
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed, naming
from porter.formats.protobuf import fields
from porter.formats.protobuf_file import Place, places

_METADATA = "keras_metadata.pb"
_MOST_BYTES = 64 << 20
_PATH, _IDENTIFIER, _JSON = 0x1A, 0x22, 0x2A
_MODELS = (b"_tf_keras_network", b"_tf_keras_sequential", b"_tf_keras_model")
_ROOT = "root"


class _Object(NamedTuple):
    """What Keras wrote of one object: its path from the root, whether it is a model, its config as JSON."""

    path: str
    is_model: bool
    config: bytes


def saved_model_input(description: Path, checkpoint: Checkpoint) -> StoredInput:
    """Return what a SavedModel tells of its images.

    Args:
        description: Its ``saved_model.pb``; a text description tells nothing here.
        checkpoint: Its variables.

    Raises:
        CheckpointError: one of its files is damaged.
    """
    model = stored_model(description, checkpoint)
    found = StoredInput() if model is None else stored_input(*model)
    if found.size is None and description.suffix == ".pb":
        with naming(description):
            size = _of_signature(description)
        found = found._replace(size=size, size_source="the source's signature")
    return found


def stored_model(description: Path, checkpoint: Checkpoint) -> tuple[LayerConfig, Layer] | None:
    """Return the config that Keras wrote beside a SavedModel, and its model with the variables of its layers.

    Args:
        description: Its ``saved_model.pb``.
        checkpoint: Its variables; those of a layer are found by the path that Keras gives it.

    Returns:
        None if there is none, or if it tells no layers.

    Raises:
        CheckpointError: the metadata are damaged.
    """
    with naming(description.with_name(_METADATA)):
        return _stored_model(_objects(description), checkpoint.graph)


def config_of_root(description: Path) -> str | None:
    """Return the JSON that Keras wrote of the model beside a SavedModel, or None if there is none.

    Raises:
        CheckpointError: the metadata are damaged.
    """
    with naming(description.with_name(_METADATA)):
        roots = (each for each in _objects(description) if each.path == _ROOT and each.is_model)
        return next((root.config.decode("utf-8", "replace") for root in roots), None)


def output_layers(description: Path) -> tuple[str, ...]:
    """Return the layers whose outputs a SavedModel's Keras model returns, in order; nothing if it tells none.

    Raises:
        CheckpointError: the metadata are damaged.
    """
    document = config_of_root(description)
    if document is None:
        return ()
    with naming(description.with_name(_METADATA)):
        outputs = parse_config(document).values.get("output_layers")
    try:
        return tuple(source.layer for source in parse_sources(outputs))
    except UNREADABLE:
        return ()


def _stored_model(objects: Iterable[_Object], graph: ObjectGraph) -> tuple[LayerConfig, Layer] | None:
    config, model = None, Layer("")
    for each in objects:
        if each.path == _ROOT and each.is_model:
            config = parse_config(each.config)
        elif each.path.startswith(f"{_ROOT}.") and not each.is_model:
            node = graph.resolve(each.path.removeprefix(f"{_ROOT}.").replace(".", "/"))
            variables = [] if node is None else list(_variables(graph, node))
            if variables:
                name = parse_config(each.config).name
                model.layers.append(Layer(name, variables))
    return None if config is None or config.layers is None else (unwrapped(config, parse_layer), model)


def _variables(graph: ObjectGraph, node: int) -> Iterator[Variable]:
    for edge, child in graph.nodes[node].children.items():
        if (key := graph.nodes[child].key) is not None:
            yield Variable((edge,), key, edge)


def _objects(description: Path) -> Iterator[_Object]:
    """Yield what Keras wrote beside a SavedModel; nothing if it wrote nothing."""
    metadata = description.with_name(_METADATA)
    if not metadata.is_file():
        return
    file = RegularFile(metadata)
    try:
        if file.size > _MOST_BYTES:
            raise Malformed(
                "saved-model/huge-metadata", "Keras's metadata is implausibly long", found=file.size
            )
        data = file.read(0, file.size)
    finally:
        file.close()
    for tag, value in fields(data):
        if tag == 0x0A:
            found = {
                inner: bytes(text) for inner, text in fields(value) if inner in (_PATH, _IDENTIFIER, _JSON)
            }
            path = found.get(_PATH, b"").decode("utf-8", "replace")
            yield _Object(path, found.get(_IDENTIFIER) in _MODELS, found.get(_JSON, b""))


def _of_signature(path: Path) -> tuple[int, int] | None:
    """Return height and width, if the inputs of all signatures agree on one."""
    file = RegularFile(path)
    try:
        return image_size(
            axis_lengths(file, shape)
            for graph in _inner(file, Place(0, file.size), 0x12)
            for entry in _inner(file, graph, 0x2A)
            for signature in _inner(file, entry, 0x12)
            for named in _inner(file, signature, 0x0A)
            for info in _inner(file, named, 0x12)
            for shape in _inner(file, info, 0x1A)
        )
    finally:
        file.close()


def _inner(file: RegularFile, message: Place, wanted: int) -> Iterator[Place]:
    return (place for tag, place, _ in places(file, message) if tag == wanted)
