"""The network in the graph of a SavedModel: its signature's outputs, its variables by checkpoint key.

Source of the field numbers: tensorflow/core/protobuf/{saved_model,meta_graph,saver}.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from porter.checkpoints.tensorflow.graph_def import parse_graph_def
from porter.checkpoints.tensorflow.graph_inlining import Frame, InlinedGraph
from porter.checkpoints.tensorflow.graph_network import network_of_graph
from porter.checkpoints.tensorflow.saved_model_input import output_layers
from porter.checkpoints.tensorflow.trackable_graph import text
from porter.core.checkpoint import Checkpoint
from porter.core.stored_network import StoredNetwork
from porter.formats.files import RegularFile
from porter.formats.malformed import naming
from porter.formats.protobuf import Buffer, fields

_MOST_BYTES = 256 << 20
_META_GRAPH, _INFO, _GRAPH, _SAVER, _SIGNATURE = 0x12, 0x0A, 0x12, 0x1A, 0x2A
_TAG, _RESTORE, _OUTPUT = 0x22, 0x1A, 0x12
_SERVING = ("serving_default", "serve", "default")
_EXPORTED = "_all_variables/"
_DIGITS = 9
_ASSIGNS = ("AssignVariableOp", "Assign")


class _MetaGraph(NamedTuple):
    tags: frozenset[bytes]
    graph: Buffer
    signatures: Mapping[str, Mapping[str, str]]
    restore: str


def saved_model_network(description: Path, checkpoint: Checkpoint) -> StoredNetwork | str | None:
    """Return the network that a SavedModel serves.

    Args:
        description: Its ``saved_model.pb``; a text description is not read.
        checkpoint: Its variables.

    Returns:
        None if it has no signature, or one that is no network; in words what is not understood.

    Raises:
        CheckpointError: the description is damaged.
    """
    if description.suffix != ".pb":
        return None
    with naming(description):
        file = RegularFile(description)
        try:
            data = file.read(0, file.size) if file.size <= _MOST_BYTES else b""
        finally:
            file.close()
        found = [_meta_graph(value) for tag, value in fields(memoryview(data)) if tag == _META_GRAPH]
        if not found:
            return None
        chosen = min(found, key=lambda each: (b"serve" not in each.tags, b"train" in each.tags))
        named = next(iter(_outputs(chosen)), None)
        if named is None:
            return None
        outputs = _in_order(named, output_layers(description))
        graph = InlinedGraph(parse_graph_def(chosen.graph))
        specs = checkpoint.specs
        twins = _twins(checkpoint)
        keys = {name: twins.get(key, key) for name, key in _restored(graph, chosen.restore) if key in specs}
        return network_of_graph(graph, outputs, keys, lambda key: specs[key].shape if key in specs else None)


def _meta_graph(data: Buffer) -> _MetaGraph:
    tags: set[bytes] = set()
    graph, restore = b"", ""
    signatures = {}
    for tag, value in fields(data):
        if tag == _INFO:
            tags |= {bytes(inner) for kind, inner in fields(value) if kind == _TAG}
        elif tag == _GRAPH:
            graph = value
        elif tag == _SAVER:
            restore = next((text(inner) for kind, inner in fields(value) if kind == _RESTORE), "")
        elif tag == _SIGNATURE:
            name, signature = _entry(value)
            signatures[name] = _tensors(signature)
    return _MetaGraph(frozenset(tags), graph, signatures, restore)


def _tensors(signature: Buffer) -> Mapping[str, str]:
    """Return the tensor that a signature returns under each name."""
    named = [_entry(entry) for tag, entry in fields(signature) if tag == _OUTPUT]
    found = {name: [text(value) for kind, value in fields(info) if kind == 0x0A] for name, info in named}
    return {name: tensors[-1] for name, tensors in found.items() if tensors}


def _in_order(named: Mapping[str, str], layers: Sequence[str]) -> tuple[str, ...]:
    """Return the tensors of a signature in the order in which the model returns them.

    They are stored in no order. tf_keras calls them as the layers that give them, others ``output_0``,
    ``output_1``.
    """
    if sorted(layers) == sorted(named):
        return tuple(named[layer] for layer in layers)
    return tuple(named[name] for name in sorted(named, key=_numbered))


def _numbered(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return (stem.rstrip("_"), int(digits[:_DIGITS])) if digits else (name, -1)


def _outputs(meta_graph: _MetaGraph) -> Iterator[Mapping[str, str]]:
    """Yield what each signature returns, the one that serves first."""
    signatures = meta_graph.signatures
    for name in sorted(signatures, key=lambda name: (name not in _SERVING, name)):
        if signatures[name] and not name.startswith("__saved_model"):
            yield signatures[name]


def _restored(graph: InlinedGraph, restore: str) -> Iterator[tuple[str, str]]:
    """Yield each variable's node and its key, as the operation that restores them tells."""
    frame = graph.main
    node = frame.nodes.get(restore.partition(":")[0])
    if node is not None and (called := graph.called(frame, node)) is not None:
        frame = called
    names: dict[str, list[str]] = {}
    for assign in frame.nodes.values():
        if assign.op not in _ASSIGNS or len(assign.inputs) < 2:
            continue
        stored = graph.source(frame, assign.inputs[1])
        if stored.node.op != "RestoreV2" or len(stored.node.inputs) < 2:
            continue
        if stored.node.name not in names:
            names[stored.node.name] = _keys(graph, stored.frame, stored.node.inputs[1])
        known = names[stored.node.name]
        variable = graph.source(frame, assign.inputs[0])
        if stored.number < len(known) and variable.frame is graph.main:
            yield variable.node.name, known[stored.number]


def _twins(checkpoint: Checkpoint) -> dict[str, str]:
    """Return, by key, the model's own variable for each that Keras 3's export stores a second time."""
    nodes = [node for node in checkpoint.graph.nodes if node.key is not None]
    own = {node.full_name: node.key for node in nodes if node.key and not node.key.startswith(_EXPORTED)}
    return {
        node.key: own[node.full_name]
        for node in nodes
        if node.key and node.key.startswith(_EXPORTED) and node.full_name in own
    }


def _keys(graph: InlinedGraph, frame: Frame, spelt: str) -> list[str]:
    constant = graph.source(frame, spelt).node.constant()
    return [] if constant is None or constant.dtype != object else [text(key) for key in constant.ravel()]


def _entry(data: Buffer) -> tuple[str, Buffer]:
    key, value = "", b""
    for tag, found in fields(data):
        if tag == 0x0A:
            key = text(found)
        elif tag == 0x12:
            value = found
    return key, value
