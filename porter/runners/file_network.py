"""The network that a file itself carries, as one frozen graph: what TensorFlow runs in a check of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from porter.checkpoints.carried import Carried
from porter.checkpoints.tensorflow.saved_model_input import config_of_root
from porter.core.checkpoint import Checkpoint
from porter.errors import ParityError
from porter.planning.plan import Plan
from porter.runners import keras_files, tflite_network
from porter.runners.graph_stages import WITH_CHANNELS
from porter.runners.restoring import index_of
from porter.runners.tflite_interpreter import agreement

# Operations that reach outside the graph: files, other processes, Python. A stored graph is data, not a
# program to be trusted, and none of them is part of a network.
_REFUSED = ("PyFunc", "ReadFile", "WriteFile", "MatchingFiles", "SaveV2", "Save", "SaveSlices", "LoadLibrary")
_TENSORFLOW = ("tensorflow", "numpy")
_AXES = 4  # of images (N, H, W, C)
_CHANNELS = (1, 3, 4)
_RESTORING = {"SaveV2", "MergeV2Checkpoints", "ShardedFilename", "RestoreV2"}
_SIGNATURES = ("serving_default", "default", "serve", "image_classification")


class FileNetwork(NamedTuple):
    """A network as a file holds it.

    Attributes:
        graph: GraphDef without variables; weights are constants.
        source: Operation that gives the images.
        shape: Shape of the images (N, H, W, C); None for an axis that is open, and as a whole where it is not
            known.
        outputs: Operations that the network returns.
        words: What was loaded, for people.
        packages: Distributions that ran it.
    """

    graph: Any
    source: str
    shape: tuple[int | None, ...] | None
    outputs: tuple[str, ...]
    words: str
    packages: tuple[str, ...]


def load(checkpoint: Checkpoint, carried: Carried) -> FileNetwork:
    """Load the network that the file carries.

    Raises:
        ParityError: the file asks for code (``runner/code-in-file``), or its network takes something other
            than one image (``runner/no-image-input``).
        Exception: whatever TensorFlow raises where it cannot load the file.
    """
    loaders: dict[Carried, Callable[[Checkpoint], FileNetwork]] = {
        Carried.KERAS: _of_keras,
        Carried.SAVED_MODEL: _of_saved_model,
        Carried.GRAPH: _of_graph,
        Carried.TFLITE: _of_tflite,
    }
    return loaders[carried](checkpoint)


def _of_keras(checkpoint: Checkpoint) -> FileNetwork:
    file = checkpoint.files[0]
    in_front = {layer.rpartition(" (")[0] for layer in checkpoint.stored_input.unread}
    model, words, packages = keras_files.load(file, in_front)
    return _of_model(model, words, packages, file)


def _of_model(model: Any, words: str, packages: tuple[str, ...], file: Path) -> FileNetwork:
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) not in (_AXES, _AXES - 1):
        raise _no_image(file, shape)

    @tf.function  # type: ignore[untyped-decorator]
    def call(images: Any) -> Any:
        return model(images, training=False)

    concrete = call.get_concrete_function(tf.TensorSpec((None, *shape[1:]), tf.float32))
    return frozen(concrete, _own(words), packages, file)


def _of_saved_model(checkpoint: Checkpoint) -> FileNetwork:
    description = checkpoint.files[0]
    _refuse_saved_code(description)
    loaded = tf.saved_model.load(str(description.parent))
    signatures = dict(loaded.signatures)
    name = next((name for name in _SIGNATURES if name in signatures), next(iter(signatures), None))
    if name is None:
        return _of_config(description, checkpoint)
    return frozen(signatures[name], _own(f"signature {name}"), _TENSORFLOW, description)


def _of_config(description: Path, checkpoint: Checkpoint) -> FileNetwork:
    """Build the model that Keras described beside a SavedModel without traces, with the weights restored."""
    document = config_of_root(description)
    if document is None:
        raise ParityError("runner/no-signature", "the SavedModel has no signature to call", file=description)
    model = keras_files.from_config(document, description)
    prefix = index_of(checkpoint).with_suffix("")
    tf.train.Checkpoint(root=model).read(str(prefix)).expect_partial().assert_existing_objects_matched()
    return _of_model(model, "the config beside the SavedModel", (*_TENSORFLOW, "tf-keras"), description)


def _refuse_saved_code(description: Path) -> None:
    if description.suffix != ".pb":
        raise ParityError("runner/text-graph", "a SavedModel in text is not run", file=description)
    saved = saved_model_pb2.SavedModel.FromString(description.read_bytes())
    for meta in saved.meta_graphs:
        functions = (node for function in meta.graph_def.library.function for node in function.node_def)
        _refuse_code((*meta.graph_def.node, *functions), description, _RESTORING)


def _of_graph(checkpoint: Checkpoint) -> FileNetwork:
    file = checkpoint.files[0]
    graph = graph_pb2.GraphDef.FromString(file.read_bytes())
    _refuse_code(graph.node, file)
    used = {name.lstrip("^").partition(":")[0] for node in graph.node for name in node.input}
    outputs = tuple(node.name for node in graph.node if node.name not in used)
    source = _source([node.name for node in graph.node if node.op == "Placeholder"], graph, file)
    images = _with_channels(graph, source)
    return FileNetwork(graph, images, _shape(graph, images), outputs, _own("frozen graph"), _TENSORFLOW)


def of_settings(checkpoint: Checkpoint, plan: Plan) -> FileNetwork:
    """Let the Model Garden build the network of a training's settings, with the checkpoint's weights.

    Raises:
        ParityError: the settings ask for what the Garden does not know, or the weights are not the network's.
        Exception: whatever TensorFlow raises where it cannot build it.
    """
    from porter.runners import garden_task

    settings = checkpoint.training
    assert settings is not None  # noqa: S101  (a source without settings has no such network)
    concrete = garden_task.restored(checkpoint, settings, plan)
    words = f"the network of {settings.file.name}, built by the Model Garden's task"
    return frozen(concrete, words, (*_TENSORFLOW, "tf-keras", "tf-models-official"), settings.file)


def _own(words: str) -> str:
    return f"the file's own network ({words})"


def _of_tflite(checkpoint: Checkpoint) -> FileNetwork:
    file = checkpoint.files[0]
    data, graph = tflite_network.read_network(file)
    shapes = [graph.model.tensors[number].shape for number in graph.model.inputs]
    if len(shapes) != 1 or len(shapes[0]) not in (_AXES, _AXES - 1):
        raise _no_image(file, f"{len(graph.model.inputs)} inputs")
    definition = tflite_network.as_graph(file, data, graph)
    words = _own(f"TensorFlow Lite; {agreement(file, data, graph, definition)}")
    source = _with_channels(definition, f"op{graph.of_tensor[graph.model.inputs[0]]}")
    outputs = tuple(f"op{graph.of_tensor[number]}" for number in graph.model.outputs)
    return FileNetwork(definition, source, _shape(definition, source), outputs, words, _TENSORFLOW)


def frozen(concrete: Any, words: str, packages: tuple[str, ...], file: Path) -> FileNetwork:
    """Return a function of TensorFlow's as a graph whose variables are constants.

    Raises:
        ParityError: it reaches outside itself, or takes something other than one image.
    """
    frozen = convert_variables_to_constants_v2(concrete)
    graph = frozen.graph.as_graph_def()
    _refuse_code(graph.node, file)
    source = _source([tensor.op.name for tensor in frozen.inputs], graph, file)
    outputs = tuple(tensor.op.name for tensor in frozen.outputs)
    images = _with_channels(graph, source)
    return FileNetwork(graph, images, _shape(graph, images), outputs, words, packages)


def _source(names: Sequence[str], graph: Any, file: Path) -> str:
    """Return the one placeholder that holds images."""
    images = [name for name in names if _shape(graph, name)] or list(names)
    if len(images) != 1:
        raise _no_image(file, ", ".join(names) or "no placeholder")
    return images[0]


def _with_channels(graph: Any, name: str) -> str:
    """Return the placeholder of images (N, H, W, C), added in front of one that takes (N, H, W)."""
    node = next(node for node in graph.node if node.name == name)
    dims = [*node.attr["shape"].shape.dim] if "shape" in node.attr else []
    if len(dims) != _AXES - 1 or dims[-1].size in _CHANNELS:  # one image (H, W, C) without a batch
        return name
    images = graph.node.add(name=name + WITH_CHANNELS, op="Placeholder")
    images.attr["dtype"].CopyFrom(node.attr["dtype"])
    images.attr["shape"].shape.dim.extend([*dims, type(dims[0])(size=1)])
    squeezed = type(node)(name=name, op="Squeeze", input=[images.name])
    squeezed.attr["T"].CopyFrom(node.attr["dtype"])
    squeezed.attr["squeeze_dims"].list.i.append(_AXES - 1)
    node.CopyFrom(squeezed)
    return str(images.name)


def _shape(graph: Any, name: str) -> tuple[int | None, ...] | None:
    node = next(node for node in graph.node if node.name == name)
    if "shape" not in node.attr:
        return None
    shape = node.attr["shape"].shape
    if shape.unknown_rank or len(shape.dim) != _AXES:
        return None
    return tuple(dim.size if dim.size > 0 else None for dim in shape.dim)


def _refuse_code(nodes: Iterable[Any], file: Path, allowed: Iterable[str] = ()) -> None:
    refused = {node.op for node in nodes if any(word in node.op for word in _REFUSED)} - set(allowed)
    if refused:
        raise ParityError(
            "runner/code-in-file",
            "the file's graph reaches outside itself, and porter does not run it",
            file=file,
            found=", ".join(sorted(refused)),
        )


def _no_image(file: Path, found: object) -> ParityError:
    return ParityError(
        "runner/no-image-input",
        "the file's network does not take one batch of images",
        file=file,
        found=found,
    )
