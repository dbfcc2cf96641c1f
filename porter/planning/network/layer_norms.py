"""Layer normalisations of a head, which TensorFlow's graphs hold as their single operations.

Source: `LayerNormalization.call` and `tf.nn.batch_normalization` of tf_keras 2.20, and
`keras.ops.layer_normalization` of Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from porter.core.stored_network import Operation, StoredNetwork, needed_numbers

JOINED = "joined"
"""The kind of what is part of another operation and no more an operation itself."""

_LAST_OF_A_MAP = 3


class _Norm(NamedTuple):
    end: int
    taken: int
    axis: int
    epsilon: object
    gamma: str | None
    beta: str | None


def with_layer_norms(network: StoredNetwork) -> StoredNetwork:
    """Return a network with each layer normalisation over the last axis as one operation.

    Args:
        network: In its canonical form; its operations keep their numbers.
    """
    operations = list(network.operations)
    for number in range(len(operations)):
        found = _of_moments(operations, number) or _fused(operations, number)
        if found is not None:
            roles = {"gamma": found.gamma, "beta": found.beta}
            operations[found.end] = Operation(
                "layer_norm",
                operations[found.end].name,
                (found.taken,),
                {"epsilon": found.epsilon, "axes": (found.axis,)},
                {role: key for role, key in roles.items() if key is not None},
            )
    return network._replace(operations=tuple(without_joined(operations, network)))


def of_vectors(operation: Operation) -> Operation:
    """Call the last of two axes -1, as the last of four is called."""
    listed: Any = operation.attributes["axes"]
    axes = tuple(-1 if axis == 1 else axis for axis in listed)
    return operation._replace(attributes={**operation.attributes, "axes": axes})


def _of_moments(operations: Sequence[Operation], mean: int) -> _Norm | None:
    """Read x * r + (beta - mean * r), where r is gamma / sqrt(variance + epsilon)."""
    axis = _axis_of_mean(operations[mean])
    if axis is None:
        return None
    taken = operations[mean].inputs[0]
    deviation = _user(operations, (taken, mean), "SquaredDifference")
    variance = None if deviation is None else _user(operations, (deviation,), "Mean")
    if variance is None or _axis_of_mean(operations[variance]) != axis:
        return None
    shifted = _next(operations, variance)
    if shifted is None or operations[shifted].kind != "scale":
        return None
    epsilon = operations[shifted].attributes
    root = _user(operations, (shifted,), "Rsqrt")
    if root is None or epsilon.get("scale") != 1.0:
        return None
    scaled = _user(operations, (root,), "Mul", takes="iw")
    factor = root if scaled is None else scaled
    weighed = _taking(operations, "multiply", {taken, factor})
    moved = _moved(operations, mean, factor)
    if weighed is None or moved is None:
        return None
    offset, beta = moved
    end = _taking(operations, "add", {weighed, offset})
    gamma = None if scaled is None else _variable(operations[scaled])
    return None if end is None else _Norm(end, taken, axis, epsilon.get("offset"), gamma, beta)


def _moved(operations: Sequence[Operation], mean: int, factor: int) -> tuple[int, str | None] | None:
    """Return the operation that gives beta - mean * r, and the key of beta."""
    product = _taking(operations, "multiply", {mean, factor})
    if product is not None:
        taken = _user(operations, (product,), "Sub", takes="wi")
        return None if taken is None else (taken, _variable(operations[taken]))
    negative = _user(operations, (mean,), "Neg")
    product = None if negative is None else _taking(operations, "multiply", {negative, factor})
    if product is None:
        return None
    taken = _user(operations, (product,), "AddV2", takes="iw")
    return (product, None) if taken is None else (taken, _variable(operations[taken]))


def _fused(operations: Sequence[Operation], number: int) -> _Norm | None:
    """Read tf_keras's form for vectors: a batch normalisation in training, of which each is a channel."""
    operation = operations[number]
    stated = operation.attributes
    is_one = stated.get("class_name") == "FusedBatchNormV3" and stated.get("takes") == "icccc"
    if not is_one or stated.get("data_format") != "NCHW" or operation.variables:
        return None
    taken = operation.inputs[0]
    taken = operations[taken].inputs[0] if operations[taken].kind == "reshape" else taken
    end = _next(operations, number)
    if end is None or operations[end].kind != "reshape":
        return None
    keys: list[str | None] = []
    for op in ("Mul", "AddV2"):
        following = _user(operations, (end,), op, takes="iw")
        is_own = following is not None and operations[following].name == operation.name
        keys.append(_variable(operations[following]) if following is not None and is_own else None)
        end = following if following is not None and is_own else end
    return _Norm(end, taken, -1, stated.get("epsilon"), *keys)


def _axis_of_mean(operation: Operation) -> int | None:
    stated = operation.attributes
    axes = stated.get("axes")
    if stated.get("class_name") != "Mean" or stated.get("keep_dims") is not True:
        return None
    if not isinstance(axes, list | tuple) or len(axes) != 1 or type(axes[0]) is not int:
        return None
    return -1 if axes[0] == _LAST_OF_A_MAP else axes[0]


def _users(operations: Sequence[Operation], number: int) -> Iterator[int]:
    return (n for n, operation in enumerate(operations) if number in operation.inputs)


def _next(operations: Sequence[Operation], number: int) -> int | None:
    users = list(_users(operations, number))
    return users[0] if len(users) == 1 else None


def _user(
    operations: Sequence[Operation], taken: tuple[int, ...], class_name: str, takes: str | None = None
) -> int | None:
    """Return the one operation of a class that takes exactly some others."""
    found = [
        n
        for n in _users(operations, taken[0])
        if operations[n].attributes.get("class_name") == class_name
        and {*operations[n].inputs} == {*taken}
        and takes in (None, operations[n].attributes.get("takes"))
    ]
    return found[0] if len(found) == 1 else None


def _taking(operations: Sequence[Operation], kind: str, taken: set[int]) -> int | None:
    found = [n for n, o in enumerate(operations) if o.kind == kind and {*o.inputs} == taken]
    return found[0] if len(found) == 1 else None


def _variable(operation: Operation) -> str | None:
    keys = list(operation.variables.values())
    return keys[0] if len(keys) == 1 else None


def without_joined(operations: Sequence[Operation], network: StoredNetwork) -> Iterator[Operation]:
    """Yield every operation under its number, those that were needed and are no more as nothing.

    Args:
        operations: The network's, some of them joined.
        network: As it was.
    """
    before, after = ({*needed_numbers(each, network.outputs)} for each in (network.operations, operations))
    for number, operation in enumerate(operations):
        is_joined = number in before and number not in after
        yield Operation(JOINED, operation.name, (), {}, {}) if is_joined else operation
