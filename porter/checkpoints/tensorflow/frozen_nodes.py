"""The nodes of a GraphDef, as far as finding its weights needs them.

Source of the field numbers: tensorflow/core/framework/{graph,node_def,attr_value}.proto.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from porter.checkpoints.tensorflow.trackable_graph import text
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed
from porter.formats.protobuf_file import Place, places

_NODE, _TEXT, _SHAPE, _TENSOR = 0x0A, 0x12, 0x3A, 0x42
_KNOWN = {_NODE, 0x12, 0x18, 0x22, 0x2A}
_MOST_NODES = 1_000_000
_LONGEST_TEXT = 1 << 16


@dataclass(slots=True)
class FrozenNode:
    """One node.

    Attributes:
        name: Its name.
        op: What it computes.
        inputs: Outputs of other nodes, as the graph spells them.
        tensor: Where the value of a constant is.
        shape: Where the shape of a placeholder is.
        mode: How a Dequantize maps words to numbers.
    """

    name: str = ""
    op: str = ""
    inputs: list[str] = field(default_factory=list)
    tensor: Place | None = None
    shape: Place | None = None
    mode: str = "MIN_COMBINED"


def is_graph(file: RegularFile) -> bool:
    """Whether `file` is a GraphDef: its first field is a node with a name and an operation."""
    try:
        tag, place, _ = next(places(file, Place(0, file.size)))
        node = _node(file, place) if tag == _NODE else FrozenNode()
    except (Malformed, StopIteration):
        return False
    return bool(node.name and node.op)


def read_nodes(file: RegularFile) -> list[FrozenNode]:
    """Return the nodes of a GraphDef, in order.

    Raises:
        Malformed: it is damaged.
    """
    nodes = []
    for tag, place, _ in places(file, Place(0, file.size)):
        if tag == _NODE:
            nodes.append(_node(file, place))
        elif tag not in _KNOWN:
            raise Malformed(
                "graphdef/unknown-field", "the graph has a field that GraphDef has not", found=tag >> 3
            )
        if len(nodes) > _MOST_NODES:
            raise Malformed("graphdef/too-many-nodes", f"the graph has more than {_MOST_NODES} nodes")
    return nodes


def _node(file: RegularFile, message: Place) -> FrozenNode:
    node = FrozenNode()
    for tag, place, _ in places(file, message):
        if tag == 0x0A:
            node.name = _text(file, place)
        elif tag == 0x12:
            node.op = _text(file, place)
        elif tag == 0x1A:
            node.inputs.append(_text(file, place))
        elif tag == 0x2A and node.op in ("Const", ""):
            node.tensor = _attribute(file, place, "value", _TENSOR) or node.tensor
        elif tag == 0x2A and node.op == "Placeholder":
            node.shape = _attribute(file, place, "shape", _SHAPE) or node.shape
        elif tag == 0x2A and node.op == "Dequantize":
            told = _attribute(file, place, "mode", _TEXT)
            node.mode = _text(file, told) if told else node.mode
    return node


def _text(file: RegularFile, place: Place) -> str:
    if place.size > _LONGEST_TEXT:
        raise Malformed("graphdef/long-name", "a name is implausibly long", found=place.size)
    return text(file.read(place.start, place.size))


def _attribute(file: RegularFile, entry: Place, wanted: str, kind: int) -> Place | None:
    """Return the value of a node's attribute, if it is the one that is wanted, and of that kind."""
    key, value = "", None
    for tag, place, _ in places(file, entry):
        if tag == 0x0A:
            key = _text(file, place)
        elif tag == 0x12:
            value = place
    if key != wanted or value is None:
        return None
    return next((place for tag, place, _ in places(file, value) if tag == kind), None)
