"""Which constants of a frozen graph are weights, what they were called, and what they hold.

Freezing leaves an Identity behind every variable: ``<name>/read`` in TensorFlow 1 and ``.../ReadVariableOp``
in 2.
``optimize_for_inference`` takes these away: then every constant of numbers with an axis may be a weight, and
scalars (an epsilon, a rate) and integers (shapes, axes) are arguments of operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from porter.checkpoints.tensorflow.folded_norms import VARIANCE, FoldedNorm, folded_norms, variable_name
from porter.checkpoints.tensorflow.frozen_nodes import FrozenNode
from porter.checkpoints.tensorflow.graph_constants import (
    FLOAT32,
    Constant,
    Dequantised,
    Filled,
    GraphTensor,
)
from porter.checkpoints.tensorflow.messages import parse_shape
from porter.checkpoints.tensorflow.tensor_protos import value_field
from porter.core.checkpoint import TensorSpec
from porter.core.dtypes import BY_NUMBER
from porter.errors import printable
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed
from porter.formats.protobuf import signed
from porter.formats.protobuf_file import Place, places

_CONTENT = 4 << 3 | 2
# They read a variable that they are given: Keras 3 compiles its grouped convolutions by themselves.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What quantize_graph and quantize_weights put behind a weight's name.
_WORDS = ("_quint8_const", "_qint8_const", "_quantized_const")


class GraphVariables(NamedTuple):
    """The weights of a frozen graph.

    Attributes:
        tensors: What they hold, by key.
        keys: The key of each, by the node that gives it.
        norms: Those that were folded into kernels and biases.
        quantised: How many are stored as 8 or 16 bits with a range.
        are_read: Whether variables are still read through nodes of their own.
    """

    tensors: Mapping[str, GraphTensor]
    keys: Mapping[str, str]
    norms: tuple[FoldedNorm, ...] = ()
    quantised: int = 0
    are_read: bool = False


def graph_variables(file: RegularFile, nodes: Sequence[FrozenNode]) -> GraphVariables:
    """Return the constants that were variables.

    Raises:
        Malformed: the graph is damaged, or holds no weights.
    """
    read = {
        name for node in nodes if node.op == "Identity" for name in node.inputs[:1] if _is_read(node, name)
    }
    given = {name for node in nodes if node.op in _CALLS for name in node.inputs}
    constants = {node.name: node for node in _constants(nodes)}
    found: dict[str, GraphTensor] = {}
    used: set[str] = set()
    for name, (source, *ends), mode in _quantised(nodes, constants):
        found[name] = _dequantised(file, constants, source, ends, mode)
        used |= {source, *ends}
    quantised = len(found)
    for name, node in constants.items():
        if node.tensor is None or name in used or (read and name not in read and name not in given):
            continue
        constant = _constant(file, node.tensor, name)
        if constant.spec.dtype.storage is not None and (name in read or _may_be_weight(constant.spec)):
            found[name] = constant
    if not found:
        raise Malformed(
            "graphdef/no-weights",
            "this graph holds no weights: it is not frozen",
            hint="Name the checkpoint that belongs to it, or freeze the graph first.",
        )
    return _plain(found, quantised)._replace(are_read=True) if read else _named(nodes, found, quantised)


def _is_read(node: FrozenNode, source: str) -> bool:
    return node.name == f"{source}/read" or "ReadVariableOp" in node.name


def _may_be_weight(spec: TensorSpec) -> bool:
    return bool(spec.shape) and (spec.dtype.is_float or spec.dtype.is_quantised)


def _constants(nodes: Sequence[FrozenNode]) -> Iterator[FrozenNode]:
    seen: set[str] = set()
    for node in nodes:
        if node.op == "Const" and node.tensor is not None:
            if node.name in seen:
                raise Malformed(
                    "graphdef/duplicate-node", "two nodes have one name", found=printable(node.name)
                )
            seen.add(node.name)
            yield node


def _quantised(
    nodes: Sequence[FrozenNode], constants: Mapping[str, FrozenNode]
) -> Iterator[tuple[str, list[str], str]]:
    """Yield each quantised weight: the node that gives it, the constants of words and range, the mode."""
    behind = set()
    for node in nodes:
        if node.op == "Dequantize" and len(node.inputs) > 2 and node.inputs[0] in constants:
            behind.add(node.inputs[0])
            yield node.name, node.inputs[:3], node.mode
    for name in constants:
        stem = name.removesuffix("_const")
        ends = [f"{stem}_min", f"{stem}_max"]
        # Where an operation takes the words themselves, MIN_FIRST is what its kernel does.
        if name.endswith(_WORDS) and name not in behind and all(end in constants for end in ends):
            yield name, [name, *ends], "MIN_FIRST"


def _dequantised(
    file: RegularFile, constants: Mapping[str, FrozenNode], source: str, ends: Sequence[str], mode: str
) -> Dequantised:
    node = constants[source]
    assert node.tensor is not None  # noqa: S101  (for the type checker: `_constants` yields no other)
    words = _constant(file, node.tensor, source)
    if not words.spec.dtype.is_quantised:
        raise Malformed(
            "graphdef/bad-quantisation",
            f"{printable(source)} is dequantised and holds no quantised words",
            found=words.spec.dtype.name,
        )
    low, high = (_number(file, constants, end) for end in ends)
    return Dequantised(words, low, high, mode)


def _number(file: RegularFile, constants: Mapping[str, FrozenNode], name: str) -> float:
    node = constants.get(name)
    constant = None if node is None or node.tensor is None else _constant(file, node.tensor, name)
    if constant is None or constant.spec.dtype != FLOAT32 or constant.spec.size != 1:
        raise Malformed(
            "graphdef/bad-quantisation",
            "the range of a quantised weight is not one number",
            found=printable(name),
        )
    value = float(constant.read_block(file, name, (slice(None),) * len(constant.spec.shape)).ravel()[0])
    if not math.isfinite(value):
        raise Malformed(
            "graphdef/bad-quantisation", "the range of a quantised weight is no number", found=value
        )
    return value


def _plain(found: dict[str, GraphTensor], quantised: int) -> GraphVariables:
    return GraphVariables(found, {name: name for name in found}, quantised=quantised)


def _named(nodes: Sequence[FrozenNode], found: dict[str, GraphTensor], quantised: int) -> GraphVariables:
    """Return weights by the names that they had before constants were folded, norms given back."""
    norms = folded_norms(nodes, {name: tensor.spec.shape for name, tensor in found.items()})
    keys = {name: _own_name(name) for name in found}
    tensors: dict[str, GraphTensor] = {}
    for norm in norms:
        keys[norm.kernel] = norm.kernel_name
        keys[norm.shift] = f"{norm.scope}/beta"
        if norm.factor is not None:
            keys[norm.factor] = f"{norm.scope}/gamma"
        tensors |= _identity(norm, found)
    tensors |= {keys[name]: tensor for name, tensor in found.items()}
    if len(set(keys.values())) < len(keys):
        return _plain(found, quantised)
    return GraphVariables(tensors, keys, tuple(norms), quantised)


def _own_name(name: str) -> str:
    for suffix in _WORDS:
        if name.endswith(suffix):
            return variable_name(name.removesuffix(suffix))
    return variable_name(name)


def _identity(norm: FoldedNorm, found: Mapping[str, GraphTensor]) -> dict[str, GraphTensor]:
    """Return what a norm needs so that it does nothing but add what is left of it."""
    spec = TensorSpec(FLOAT32, found[norm.shift].spec.shape)
    return {
        f"{norm.scope}/gamma": Filled(spec, 1.0),
        f"{norm.scope}/moving_mean": Filled(spec, 0.0),
        f"{norm.scope}/moving_variance": Filled(spec, VARIANCE),
    }


def _constant(file: RegularFile, message: Place, name: str) -> Constant:
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
        return Constant(spec, message, runs[0])
    if spec.nbytes > max(message.size, 64) * 1024 and math.prod(shape) > 1 << 24:
        raise Malformed(
            "graphdef/implausible-shape",
            f"{printable(name)} claims far more elements than its message could hold",
            found=shape,
        )
    return Constant(spec, message, None)


def _is_raw(dtype: str, *, tag_is_content: bool) -> bool:
    """Whether the stored run is little-endian words: any content is, and packed floating-point values."""
    return tag_is_content or dtype in ("float32", "float64", "complex64", "complex128")
