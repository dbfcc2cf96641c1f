"""Layer and group normalisation in a graph, which has no operation for them: what Keras writes out is joined.

Source of both forms: ``tf.nn.moments`` with ``tf.nn.batch_normalization``, and the fused batch norm in
training mode, over one long batch, that tf_keras takes for an epsilon above 1e-5. GroupNormalization is the
first between two reshapes, over pixels and the channels of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from porter.runners.graph_operations import SourceOperation

_SUMS = ("AddV2", "Add")


class _Norm(NamedTuple):
    """A normalisation: what it takes, its last operation, and what it consists of."""

    taken: int
    end: int
    epsilon: float
    gamma: str | None
    beta: str | None
    parts: tuple[int, ...]
    kind: str = "layer_norm"


class _Moments(NamedTuple):
    """Mean and variance: what they are of, the mean, what the variance is raised by, over how many axes."""

    taken: int
    mean: int
    epsilon: float
    axes: int
    parts: tuple[int, ...]


def join_norms(found: list[SourceOperation]) -> None:
    """Turn every layer normalisation over the last axis into one ``layer_norm``, in place.

    Every group normalisation becomes one ``group_norm``.

    Its last operation becomes it; the variables of the others are taken from them.
    """
    consumers: dict[int, list[int]] = {number: [] for number in range(len(found))}
    for number, operation in enumerate(found):
        for taken in operation.inputs:
            consumers[taken].append(number)
    for number in range(len(found)):
        norm = _written_out(found, consumers, number) or _fused(found, consumers, number)
        if norm is not None and norm.kind == "group_norm":
            norm = _of_groups(found, consumers, norm)
        if norm is not None:
            _join(found, norm)


def _join(found: list[SourceOperation], norm: _Norm) -> None:
    for number in norm.parts:
        found[number].variables = {}
    end = found[norm.end]
    end.kind, end.inputs = norm.kind, [norm.taken]
    end.attributes = {"epsilon": norm.epsilon, "axes": (-1,)}
    if norm.kind == "group_norm":
        shape = found[norm.parts[-1]].attributes.get("shape")
        end.attributes = {"epsilon": norm.epsilon, **({"groups": shape[-2]} if shape else {})}
    end.variables = {
        role: key for role, key in (("gamma", norm.gamma), ("beta", norm.beta)) if key is not None
    }


def _written_out(
    found: Sequence[SourceOperation], consumers: Mapping[int, list[int]], number: int
) -> _Norm | None:
    """Return the norm whose rsqrt(variance + epsilon) operation `number` is."""
    moments = _moments(found, number)
    if moments is None:
        return None
    taken, mean, epsilon, axes, parts = moments
    factor, gamma = number, None
    for scaled in consumers[number]:
        if _weighs(found[scaled], ("Mul",)):
            factor, gamma = scaled, next(iter(found[scaled].variables.values()))
    products = [n for n in consumers[factor] if found[n].kind == "multiply"]
    of_input = [n for n in products if taken in found[n].inputs]
    of_mean = [n for n in products if n not in of_input]
    if len(of_input) != 1 or len(of_mean) != 1 or not _is_mean(found, of_mean[0], factor, mean):
        return None
    offset, beta = of_mean[0], None
    for shifted in consumers[offset]:
        if _weighs(found[shifted], (*_SUMS, "Sub")):
            offset, beta = shifted, next(iter(found[shifted].variables.values()))
    ends = set(consumers[of_input[0]]) & set(consumers[offset])
    if len(ends) != 1 or found[end := ends.pop()].kind not in ("add", "subtract"):
        return None
    kind = "layer_norm" if axes == 1 else "group_norm"
    return _Norm(taken, end, epsilon, gamma, beta, (*parts, number, factor, *products, offset), kind)


def _of_groups(
    found: Sequence[SourceOperation], consumers: Mapping[int, list[int]], norm: _Norm
) -> _Norm | None:
    """Return a norm between two reshapes as what it is of the unshaped values."""
    end = _only(consumers[norm.end])
    if found[norm.taken].kind != "reshape" or end is None or found[end].kind != "reshape":
        return None
    parts = (*norm.parts, norm.end, norm.taken)
    return norm._replace(taken=found[norm.taken].inputs[0], end=end, parts=parts)


def _moments(found: Sequence[SourceOperation], number: int) -> _Moments | None:
    """Return what rsqrt(mean((x - mean(x))^2) + epsilon) consists of."""
    shift = (found[number].inputs or [number])[0]
    if (
        not _is(found[number], "Rsqrt")
        or found[shift].kind != "scale"
        or found[shift].attributes["scale"] != 1.0
    ):
        return None
    variance = found[shift].inputs[0]
    squares, axes = _averaged(found, variance)
    if squares is None or not _is(found[squares], "SquaredDifference") or len(found[squares].inputs) != 2:
        return None
    taken, mean = found[squares].inputs
    if axes is None or _averaged(found, mean) != (taken, axes):
        return None
    epsilon = float(found[shift].attributes["offset"])
    return _Moments(taken, mean, epsilon, len(axes), (shift, variance, squares, mean))


def _averaged(found: Sequence[SourceOperation], number: int) -> tuple[int | None, list[int] | None]:
    """Return what an operation is the mean of, and over which axes; which ones those are, values tell.

    GroupNormalization of tf_keras takes a mean in which everything has the weight 1.
    """
    if _is(found[number], "Mean"):
        axes = found[number].attributes.get("axes")
        return found[number].inputs[0], axes if isinstance(axes, list) else None
    if not _is(found[number], "DivNoNan") or not _is(found[total := found[number].inputs[0]], "Sum"):
        return None, None
    product = found[found[total].inputs[0]]
    constants = found[total].attributes.get("constants") or [None]
    if product.kind != "multiply" or len(product.inputs) != 2 or not _are_ones(found, product.inputs[0]):
        return None, None
    return product.inputs[1], constants[0]


def _are_ones(found: Sequence[SourceOperation], number: int) -> bool:
    while found[number].kind == "reshape":
        number = found[number].inputs[0]
    return _is(found[number], "OnesLike")


def _is(operation: SourceOperation, name: str) -> bool:
    return operation.kind == "other" and operation.attributes.get("class_name") == name


def _is_mean(found: Sequence[SourceOperation], product: int, factor: int, mean: int) -> bool:
    """Whether a product is of the factor and the mean, or its opposite."""
    other = next((n for n in found[product].inputs if n != factor), mean)
    return other == mean or (_is(found[other], "Neg") and found[other].inputs == [mean])


def _weighs(operation: SourceOperation, names: Sequence[str]) -> bool:
    """Whether an operation takes one variable as it is."""
    is_named = operation.kind == "other" and operation.attributes.get("class_name") in names
    return is_named and len(operation.variables) == 1 and "weights" not in operation.attributes


def _fused(found: Sequence[SourceOperation], consumers: Mapping[int, list[int]], number: int) -> _Norm | None:
    """Return the norm whose fused batch norm in training mode operation `number` is."""
    operation = found[number]
    if not _is(operation, "FusedBatchNormV3") or operation.attributes.get("data_format") != "NCHW":
        return None
    before, end = operation.inputs[0], _only(consumers[number])
    if found[before].kind != "reshape" or end is None or found[end].kind != "reshape":
        return None
    parts, keys = [number], {}
    for role, names in (("gamma", ("Mul",)), ("beta", _SUMS)):
        following = _only(consumers[end])
        if following is not None and _weighs(found[following], names):
            parts.append(end)
            end, keys[role] = following, next(iter(found[following].variables.values()))
    epsilon = float(operation.attributes["epsilon"])
    taken = found[before].inputs[0]
    return _Norm(taken, end, epsilon, keys.get("gamma"), keys.get("beta"), (*parts, before))


def _only(numbers: Sequence[int]) -> int | None:
    return numbers[0] if len(numbers) == 1 else None
