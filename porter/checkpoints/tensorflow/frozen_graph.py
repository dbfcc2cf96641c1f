"""Frozen graphs (``.pb``): a GraphDef in which constants have taken the place of variables.

Source of the field numbers: tensorflow/core/framework/{graph,node_def,attr_value,tensor}.proto. Freezing
leaves an Identity behind every variable: ``<name>/read`` in TensorFlow 1, ``.../ReadVariableOp`` in 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from porter.checkpoints.tensorflow.frozen_layers import with_layers
from porter.checkpoints.tensorflow.frozen_network import frozen_network
from porter.checkpoints.tensorflow.input_shapes import axis_lengths, image_size
from porter.checkpoints.tensorflow.messages import parse_shape
from porter.checkpoints.tensorflow.tensor_protos import parse_values, value_field
from porter.checkpoints.tensorflow.trackable_graph import graph_from_names, text
from porter.core.checkpoint import Array, Checkpoint, TensorSpec, contiguous
from porter.core.dtypes import BY_NUMBER
from porter.core.object_graph import ObjectGraph
from porter.core.stored_network import StoredNetwork
from porter.core.stored_preprocessing import StoredInput
from porter.errors import printable
from porter.formats.blocks import part_of, resolve_block
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed, naming
from porter.formats.protobuf import signed
from porter.formats.protobuf_file import Place, places
from porter.formats.region import Region

_NODE, _SHAPE, _TENSOR = 0x0A, 0x3A, 0x42
_KNOWN = {_NODE, 0x12, 0x18, 0x22, 0x2A}
_CONTENT = 4 << 3 | 2
_MOST_NODES = 1_000_000
_LONGEST_TEXT = 1 << 16
_NO_CHECKSUM = 0


@dataclass(slots=True)
class _Node:
    name: str = ""
    op: str = ""
    inputs: list[str] = field(default_factory=list)
    tensor: Place | None = None
    shape: Place | None = None


@dataclass(frozen=True, slots=True)
class _Constant:
    """A constant's spec, its message, and where its elements lie where they are stored one by one."""

    spec: TensorSpec
    message: Place
    elements: Place | None


class FrozenGraph(Checkpoint):
    """An open GraphDef whose constants are read as variables. A GraphDef stores no checksums."""

    specs: Mapping[str, TensorSpec]

    def __init__(self, path: Path, file: Path) -> None:
        """Open a GraphDef.

        Args:
            path: What the user named.
            file: The file itself.

        Raises:
            CheckpointError: it is damaged, or holds no weights.
        """
        self.path = path
        self.files = (file,)
        self._file = RegularFile(file)
        try:
            with naming(file):
                self._nodes = _read_nodes(self._file)
                self._constants = _variables(self._file, self._nodes)
                shapes = [axis_lengths(self._file, node.shape) for node in self._nodes if node.shape]
        except BaseException:
            self.close()
            raise
        self.stored_input = StoredInput(image_size(shapes), "the shape of the source's placeholder")
        self.specs = {name: constant.spec for name, constant in sorted(self._constants.items())}
        self.format = f"frozen GraphDef ({len(self._nodes)} nodes)"

    @cached_property
    def graph(self) -> ObjectGraph:  # type: ignore[override]  # lazy, as in Bundle
        """A tree of the names; a GraphDef knows no objects. Layers of Keras are found by what reads them."""
        with naming(self.files[0]):
            return with_layers(graph_from_names(self.specs), self._nodes)

    @cached_property
    def stored_network(self) -> StoredNetwork | None:
        """The network that the graph computes; see `Checkpoint.stored_network`."""
        with naming(self.files[0]):
            return frozen_network(self._file, self.specs)

    def read(self, key: str) -> Array:
        """Return the whole tensor; see `Checkpoint.read`. There is no checksum to verify."""
        return self.read_block(key, (slice(None),) * len(self.specs[key].shape))

    def verify(self, key: str) -> None:
        """Read the last byte: a GraphDef has no checksums, but the file may have become shorter."""
        with naming(self._file.path, key):
            self._file.read(self._constants[key].message.stop - 1, 1)

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part; see `Checkpoint.read_block`."""
        constant = self._constants[key]
        wanted = resolve_block(block, constant.spec.shape)
        with naming(self._file.path, key):
            if constant.elements is not None:
                start = constant.elements.start
                region = Region(self._file, start, constant.spec, _NO_CHECKSUM, key, swapped=False)
                return region.read_block(wanted)
            data = self._file.read(constant.message.start, constant.message.size)
            values = parse_values(memoryview(data), constant.spec.dtype, constant.spec.size, repeat=True)
            return contiguous(part_of(values.reshape(constant.spec.shape), block))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_graph(file: RegularFile) -> bool:
    """Whether `file` is a GraphDef: its first field is a node with a name and an operation."""
    try:
        tag, place, _ = next(places(file, Place(0, file.size)))
        node = _node(file, place) if tag == _NODE else _Node()
    except (Malformed, StopIteration):
        return False
    return bool(node.name and node.op)


def _read_nodes(file: RegularFile) -> list[_Node]:
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


def _node(file: RegularFile, message: Place) -> _Node:
    node = _Node()
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


def _variables(file: RegularFile, nodes: list[_Node]) -> dict[str, _Constant]:
    """Return the constants that were variables; all that hold numbers if nothing tells them apart."""
    read = {
        name for node in nodes if node.op == "Identity" for name in node.inputs[:1] if _is_read(node, name)
    }
    found: dict[str, _Constant] = {}
    for node in nodes:
        if node.op != "Const" or node.tensor is None or (read and node.name not in read):
            continue
        if node.name in found:
            raise Malformed("graphdef/duplicate-node", "two nodes have one name", found=printable(node.name))
        constant = _constant(file, node.tensor, node.name)
        if constant.spec.dtype.storage is not None:
            found[node.name] = constant
    if not found:
        raise Malformed(
            "graphdef/no-weights",
            "this graph holds no weights: it is not frozen",
            hint="Name the checkpoint that belongs to it, or freeze the graph first.",
        )
    return found


def _is_read(node: _Node, source: str) -> bool:
    return node.name == f"{source}/read" or "ReadVariableOp" in node.name


def _constant(file: RegularFile, message: Place, name: str) -> _Constant:
    number = 0
    shape: tuple[int, ...] = ()
    stored: dict[int, list[Place]] = {}
    for tag, place, value in places(file, message):
        if tag == 0x08:
            number = signed(value)
        elif tag == 0x12:
            shape = parse_shape(file.read(place.start, place.size))
        elif tag & 7 == 2:
            stored.setdefault(tag, []).append(place)
    dtype = BY_NUMBER.get(number)
    if dtype is None:
        raise Malformed(
            "graphdef/unknown-dtype",
            f"{printable(name)} has an element type that does not exist",
            found=number,
        )
    spec = TensorSpec(dtype, shape)
    runs = stored.get(_CONTENT) or stored.get(value_field(dtype) << 3 | 2, [])
    if (
        len(runs) == 1
        and runs[0].size == spec.nbytes
        and _is_raw(dtype.name, tag_is_content=_CONTENT in stored)
    ):
        return _Constant(spec, message, runs[0])
    if spec.nbytes > max(message.size, 64) * 1024 and math.prod(shape) > 1 << 24:
        raise Malformed(
            "graphdef/implausible-shape",
            f"{printable(name)} claims far more elements than its message could hold",
            found=shape,
        )
    return _Constant(spec, message, None)


def _is_raw(dtype: str, *, tag_is_content: bool) -> bool:
    """Whether the stored run is little-endian words: any content is, and packed floating-point values."""
    return tag_is_content or dtype in ("float32", "float64", "complex64", "complex128")
