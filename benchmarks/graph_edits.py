"""Ways in which the graph of a SavedModel, or a frozen graph, can describe another network than its weights.

An edit changes the nodes of the written graph; the weights stay as they are. TensorFlow's own messages are
used for it, and nothing is run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
from tensorflow import make_ndarray, make_tensor_proto
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

Nodes = list[Any]
Edit = Callable[[Nodes], bool]
# What operations call their outputs. Source: tensorflow/core/ops/{nn,math}_ops.cc.
_OUTPUTS = {
    **dict.fromkeys(("Relu", "Relu6", "LeakyRelu"), "activations"),
    **dict.fromkeys(("Tanh", "Sigmoid"), "y"),
    **dict.fromkeys(("MaxPool", "AvgPool", "Mean", "Max"), "output"),
    "Softmax": "softmax",
}


def graph_edited(source: Path, target: Path, edit: Edit) -> bool:
    """Write `source` with a changed graph to `target`; return False where it has nothing to change."""
    if source.is_file():
        graph = graph_pb2.GraphDef.FromString(source.read_bytes())
        changed = _applied(edit, graph.node)
        target.write_bytes(graph.SerializeToString())
        return changed
    message = saved_model_pb2.SavedModel.FromString((source / "saved_model.pb").read_bytes())
    graph = message.meta_graphs[0].graph_def
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    changed = [_applied(edit, body) for body in bodies]  # every copy of the network
    if target.exists():
        shutil.rmtree(target)
    target.mkdir()
    (target / "variables").symlink_to((source / "variables").absolute())
    (target / "saved_model.pb").write_bytes(message.SerializeToString())
    return any(changed)


def _applied(edit: Edit, body: Iterable[Any]) -> bool:
    """Edit nodes; let what told the shape or the name of an output follow what it is now."""
    nodes = list(body)
    changed = edit(nodes)
    names = {node.name: _OUTPUTS[node.op] for node in nodes if changed and node.op in _OUTPUTS}
    for node in nodes if changed else ():
        node.attr.pop("_output_shapes", None)
        for place, spelt in enumerate(node.input):
            name, *rest = spelt.split(":")
            if len(rest) == 2 and name in names:  # as in functions
                node.input[place] = f"{name}:{names[name]}:{rest[1]}"
    return changed


def _of(nodes: Nodes, *ops: str) -> Iterator[Any]:
    return (node for node in nodes if node.op in ops)


def _first(change: Callable[[Any], Any], *ops: str, where: Callable[[Any], bool] | None = None) -> Edit:
    def edit(nodes: Nodes) -> bool:
        found = next((node for node in _of(nodes, *ops) if where is None or where(node)), None)
        if found is not None:
            change(found)
        return found is not None

    return edit


def _last(change: Callable[[Any], Any], *ops: str) -> Edit:
    def edit(nodes: Nodes) -> bool:
        found = list(_of(nodes, *ops))
        for node in found[-1:]:
            change(node)
        return bool(found)

    return edit


def _integers(name: str, *values: int) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        node.attr[name].list.i[:] = values

    return change


def _text(name: str, value: bytes) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        node.attr[name].s = value

    return change


def _op(name: str) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        node.op = name

    return change


def _strides(node: Any) -> list[int]:
    return list(node.attr["strides"].list.i)


def _is_strided(node: Any) -> bool:
    return _strides(node) == [1, 2, 2, 1]


def _is_plain(node: Any) -> bool:
    return _strides(node) == [1, 1, 1, 1] and node.attr["padding"].s == b"SAME"


def _bypass(*ops: str, inside: str = "") -> Edit:
    """Return an edit that takes the first such node of a layer out: what follows takes its first input."""

    def edit(nodes: Nodes) -> bool:
        found = next((node for node in _of(nodes, *ops) if inside in node.name), None)
        if found is None:
            return False
        _redirect(nodes, found, found.input[0])
        return True

    return edit


def _redirect(nodes: Nodes, old: Any, new: str, *, but: str = "") -> None:
    for node in nodes:
        for place, spelt in enumerate(node.input):
            if spelt.partition(":")[0] == old.name and node.name not in (old.name, but):
                node.input[place] = new


def _swapped(nodes: Nodes) -> bool:
    """Put an activation behind an addition into one of what is added."""
    by_name = {node.name: node for node in nodes}
    for relu in _of(nodes, "Relu", "Relu6"):
        add = by_name.get(relu.input[0].partition(":")[0])
        if add is None or add.op not in ("Add", "AddV2"):
            continue
        inner, whole = add.input[0], relu.input[0]
        _redirect(nodes, relu, whole)
        add.input[0], relu.input[0] = _spelt(relu, whole), inner
        return True
    return False


def _spelt(node: Any, like: str) -> str:
    """Return how a node's output is spelt: in a function with its name, in a graph without."""
    return f"{node.name}:activations:0" if ":" in like else node.name


def _epsilon(value: float, *, every: bool) -> Edit:
    """Return an edit of the epsilon of norms: an attribute, or a constant where a norm is written out."""

    def edit(nodes: Nodes) -> bool:
        by_name = {node.name: node for node in nodes}
        changed = False
        for node in _of(nodes, "FusedBatchNormV3", "Rsqrt"):
            if node.op == "FusedBatchNormV3":
                node.attr["epsilon"].f = value
            elif not _set_addend(by_name, node, value):
                continue
            changed = True
            if not every:
                break
        return changed

    return edit


def _set_addend(by_name: dict[str, Any], root: Any, value: float) -> bool:
    """Change the constant that is added to what a node takes."""
    added = by_name.get(root.input[0].partition(":")[0])
    for spelt in added.input if added is not None and added.op in ("Add", "AddV2") else ():
        constant = by_name.get(spelt.partition(":")[0])
        if constant is not None and constant.op == "Const":
            known = make_ndarray(constant.attr["value"].tensor)
            if known.size == 1:
                constant.attr["value"].tensor.CopyFrom(make_tensor_proto(np.full_like(known, value)))
                return True
    return False


def _doubled(nodes: Nodes) -> bool:
    """Double the statistics that images are normalised with, where they are constants of a few numbers."""
    by_name = {node.name: node for node in nodes}
    for node in _of(nodes, "Sub", "Mul", "RealDiv"):
        if any(word in node.name for word in _TRAINING):
            continue
        for spelt in node.input:
            constant = by_name.get(spelt.partition(":")[0])
            if constant is None or constant.op != "Const":
                continue
            value = make_ndarray(constant.attr["value"].tensor)
            if value.dtype == np.float32 and value.size in (1, 3) and abs(value).max() != 1:
                constant.attr["value"].tensor.CopyFrom(make_tensor_proto(value * 2))
                return True
    return False


# Parts of names of what SavedModels compute in training alone.
_TRAINING = ("AssignMovingAvg", "dropout")
# What the port does with each: "adopted" or "refused". An edit may find nothing to change in a family.
GRAPH_EDITS: dict[str, tuple[Edit, str]] = {
    "epsilon of all": (_epsilon(1e-2, every=True), "adopted"),
    "epsilon of one": (_epsilon(1e-1, every=False), "adopted"),
    "stride of the stem": (
        _first(_integers("strides", 1, 1, 1, 1), "Conv2D", where=_is_strided),
        "refused",
    ),
    "stride of a depthwise": (
        _first(_integers("strides", 1, 1, 1, 1), "DepthwiseConv2dNative", where=_is_strided),
        "refused",
    ),
    "padding mode": (
        _first(_text("padding", b"VALID"), "DepthwiseConv2dNative", where=_is_plain),
        "refused",
    ),
    "dilation": (
        _first(_integers("dilations", 1, 2, 2, 1), "DepthwiseConv2dNative", where=_is_plain),
        "refused",
    ),
    "kernel of a pool": (_first(_integers("ksize", 1, 2, 2, 1), "MaxPool"), "refused"),
    "kind of a pool": (_first(_op("AvgPool"), "MaxPool"), "refused"),
    "kind of the global pool": (_last(_op("Max"), "Mean"), "adopted"),
    "kind of an activation": (_first(_op("Tanh"), "Relu", "Relu6", "Sigmoid"), "refused"),
    "cap": (_first(_op("Relu6"), "Relu"), "refused"),
    "no cap": (_first(_op("Relu"), "Relu6"), "refused"),
    "slope": (_first(_op("LeakyRelu"), "Relu"), "refused"),
    "order of activation and add": (_swapped, "refused"),
    "no activation": (_bypass("Relu", "Relu6"), "refused"),
    "activation of the classifier": (_first(_op("Sigmoid"), "Softmax"), "adopted"),
    "no norm": (_bypass("FusedBatchNormV3"), "refused"),
    "a norm as in training": (
        _first(lambda node: node.attr["is_training"].__setattr__("b", True), "FusedBatchNormV3"),
        "refused",
    ),
    "no preparation": (_bypass("Mul", inside="rescaling"), "adopted"),
    "statistics of the preparation": (_doubled, "adopted"),
    "channels first": (
        _first(_text("data_format", b"NCHW"), "DepthwiseConv2dNative", "MaxPool"),
        "refused",
    ),
}
