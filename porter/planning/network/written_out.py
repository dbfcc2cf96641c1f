"""PReLU and vectors of unit length, which TensorFlow's graphs hold as their single operations.

Source: `PReLU.call` of tf_keras 2.20 and Keras 3.15, `tf.math.l2_normalize`, and `keras.ops.normalize`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.layer_norms import without_joined

_RELU: Mapping[str, object] = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}


def in_one_operation(network: StoredNetwork) -> StoredNetwork:
    """Return a network with each of these layers as one operation.

    Args:
        network: In its canonical form; its operations keep their numbers.
    """
    operations = list(network.operations)
    for number, operation in enumerate(operations):
        found = next(filter(None, (read(operations, operation) for read in _READERS)), None)
        if found is not None:
            operations[number] = found
    return network._replace(operations=tuple(without_joined(operations, network)))


def _prelu(operations: Sequence[Operation], end: Operation) -> Operation | None:
    """Read relu(x) + (-alpha) * relu(-x)."""
    for positive, negative in _ordered_pairs(end, "add"):
        product, plain = operations[negative], operations[positive]
        if not _is(product, "Mul", takes="iw", weights=["Neg(v)"]) or not _is_relu(plain):
            continue
        turned = _before(operations, product)
        inner = _before(operations, turned)
        keys = list(product.variables.values())
        if _is_relu(turned) and _is(inner, "Neg") and inner.inputs == plain.inputs and len(keys) == 1:
            return Operation("prelu", end.name, plain.inputs, {}, {"alpha": keys[0]})
    return None


def _unit_norm(operations: Sequence[Operation], end: Operation) -> Operation | None:
    """Read x * rsqrt(max(sum(x * x), least)), or x * min(rsqrt(sum(x * x)), most)."""
    for taken, factor in _ordered_pairs(end, "multiply"):
        last = operations[factor]
        before = _before(operations, last)
        if _is(last, "Rsqrt") and _is(before, "Maximum"):
            shortest = math.sqrt(_limit(before))
        elif _is(last, "Minimum") and _is(before, "Rsqrt"):
            shortest = 1 / _limit(last)
        else:
            continue
        axes = _axes_of_squares(operations, before, taken)
        if axes is not None:
            return Operation("unit_norm", end.name, (taken,), {"axes": axes, "shortest": shortest}, {})
    return None


def _axes_of_squares(operations: Sequence[Operation], limited: Operation, taken: int) -> object:
    """Return the axes of the sum of squares of a tensor that is limited, or None if that is none."""
    total = _before(operations, limited)
    if not _is(total, "Sum", keep_dims=True, takes="ic"):
        return None
    square = _before(operations, total)
    constants = total.attributes.get("constants")
    is_square = _is(square, "Square") and square.inputs == (taken,)
    if not is_square or not isinstance(constants, list) or not constants:
        return None
    return tuple(constants[0]) if isinstance(constants[0], list) else None


def _before(operations: Sequence[Operation], operation: Operation) -> Operation:
    """Return what an operation takes first; itself if it takes nothing."""
    return operations[operation.inputs[0]] if operation.inputs else operation


def _ordered_pairs(operation: Operation, kind: str) -> Iterator[tuple[int, int]]:
    if operation.kind == kind and len(operation.inputs) == 2:
        first, second = operation.inputs
        yield from ((first, second), (second, first))


def _is(operation: Operation, class_name: str, **attributes: object) -> bool:
    wanted = {"class_name": class_name, **attributes}
    return all(operation.attributes.get(name) == value for name, value in wanted.items())


def _is_relu(operation: Operation) -> bool:
    return operation.kind == "relu" and dict(operation.attributes) == dict(_RELU)


def _limit(operation: Operation) -> float:
    limit = operation.attributes.get("limit")
    return float(limit) if isinstance(limit, int | float) and limit > 0 else math.inf


_READERS: tuple[Callable[[Sequence[Operation], Operation], Operation | None], ...] = (_prelu, _unit_norm)
