"""What is wrong with the tensors of a ported file: each against what the port of its source holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from porter.recordings.tensor_digests import TensorDigests, digest_of_any_order
from porter.transfer.float_conversion import rounded

Values = NDArray[np.float64]
_NARROWER = ("float32", "float16", "bfloat16")


class StoredTensor(NamedTuple):
    """A floating-point tensor of a file.

    Attributes:
        values: In float64, which holds every stored value exactly.
        dtype: The type it is stored in: float64, float32, float16 or bfloat16.
    """

    values: Values
    dtype: str


class TensorDifference(NamedTuple):
    """A tensor of the file that is not what the port of the source holds.

    Attributes:
        tensor: Its name.
        cause: Stable code, e.g. ``"kernel-layout"``.
        evidence: One sentence.
        timm: timm's name of it, if the file has another.
    """

    tensor: str
    cause: str
    evidence: str
    timm: str = ""


def rounding(planned: Values, stored: StoredTensor) -> str | None:
    """Return the type whose rounding, and nothing else, lies between the port's values and the stored ones.

    ``"float64"`` if nothing does; None if something else does. A value that has become an infinity was
    not rounded.
    """
    if np.array_equal(planned, stored.values, equal_nan=True):
        return "float64"
    if not np.array_equal(np.isfinite(planned), np.isfinite(stored.values)):
        return None
    for before in ((), *((name,) for name in _NARROWER)):
        if np.array_equal(rounded(planned, *before, stored.dtype), stored.values, equal_nan=True):
            return before[0] if before else stored.dtype
    return None


def explain(
    stored: Mapping[str, StoredTensor],
    planned: Mapping[str, Values],
    differing: list[str],
    other_weights: Callable[[], tuple[str, Mapping[str, Values]]],
) -> Iterator[TensorDifference]:
    """Yield the likely cause of each tensor that differs.

    Args:
        stored: The file's tensors by name.
        planned: What the port of the source holds, unrounded, under the same names and in the same shapes.
        differing: Names of the tensors that differ.
        other_weights: Called at most once: the averages if the raw weights are chosen, or the other way
            round, with a code for that mistake. Empty if the source has only one kind.
    """
    if not differing:
        return
    code, others = other_weights()
    owners = _Owners(planned, set(differing))
    for name in differing:
        tensor, wanted = stored[name], planned[name]
        if name in others and rounding(others[name], tensor) is not None:
            held, chosen = code.split("-for-")
            yield TensorDifference(
                name, code, f"holds the {held} values although the {chosen} ones are chosen"
            )
        elif axes := _turned(wanted, tensor):
            yield TensorDifference(
                name, "kernel-layout", f"holds its values with the axes in the order {axes}"
            )
        elif wanted.ndim == 4 and _same(wanted[:, ::-1], tensor):
            yield TensorDifference(name, "channel-order", "holds its values with the input channels reversed")
        elif owner := owners.of(tensor):
            yield _belonging(name, owner, wanted, stored)
        else:
            yield _unknown(name, wanted, tensor)


def _same(values: Values, tensor: StoredTensor) -> bool:
    return np.array_equal(rounded(values, tensor.dtype), tensor.values)


def _turned(wanted: Values, tensor: StoredTensor) -> str | None:
    """Return the order of axes in which the values were stored, also if the shape was then forced."""
    for axes in permutations(range(wanted.ndim)):
        turned = wanted.transpose(axes).reshape(wanted.shape)
        if axes != tuple(range(wanted.ndim)) and _same(turned, tensor):
            return str(axes)
    return None


class _Owners:
    """Whose values a tensor holds; of several candidates one that differs itself."""

    def __init__(self, planned: Mapping[str, Values], differing: set[str]) -> None:
        self._planned = planned
        self._order = sorted(planned, key=lambda name: name not in differing)
        self._names = lru_cache(maxsize=None)(self._digests)

    def of(self, tensor: StoredTensor) -> str | None:
        if tensor.values.size < 2 or np.ptp(tensor.values) == 0:
            return None  # a constant tensor is like many others
        return self._names(tensor.dtype).get(_digest(tensor.values))

    def _digests(self, dtype: str) -> dict[tuple[tuple[int, ...], bytes], str]:
        found: dict[tuple[tuple[int, ...], bytes], str] = {}
        for name in self._order:
            found.setdefault(_digest(rounded(self._planned[name], dtype)), name)
        return found


def _digest(values: Values) -> tuple[tuple[int, ...], bytes]:
    return values.shape, hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()


def _belonging(name: str, owner: str, wanted: Values, stored: Mapping[str, StoredTensor]) -> TensorDifference:
    other = stored[owner]
    if other.values.shape == wanted.shape and _same(wanted, other):
        return TensorDifference(name, "swapped-tensors", f"is swapped with {owner}")
    return TensorDifference(name, "swapped-tensors", f"holds the values of {owner}")


def _unknown(name: str, wanted: Values, tensor: StoredTensor) -> TensorDifference:
    if not np.isfinite(tensor.values).all():
        return TensorDifference(
            name, "not-finite", f"holds values that are not finite, stored as {tensor.dtype}"
        )
    if np.ptp(tensor.values) == 0:
        held = f"holds {float(tensor.values.flat[0]):g} everywhere, as before loading"
        return TensorDifference(name, "not-loaded", held)
    largest = float(np.abs(tensor.values - wanted).max())
    scale = float(np.abs(wanted).max())
    if largest < 0.01 * scale:
        evidence = f"is close, but not equal (largest difference {largest:.2g} of {scale:.2g}): changed later"
        return TensorDifference(name, "changed-tensor", evidence)
    evidence = f"equals nothing in the source (largest difference {largest:.2g} of {scale:.2g}): not loaded"
    return TensorDifference(name, "not-loaded", evidence)


def explain_by_digests(
    stored: Mapping[str, StoredTensor], known: TensorDigests, differing: list[str]
) -> Iterator[TensorDifference]:
    """Yield the likely cause of each tensor that differs, if only digests of the port are known.

    Args:
        stored: The file's tensors by name.
        known: Those of the port.
        differing: Names of the tensors that differ.
    """
    for name in differing:
        values = stored[name].values
        if not np.isfinite(values).all():
            yield TensorDifference(name, "not-finite", "holds values that are not finite")
        elif values.size and np.ptp(values) == 0:
            held = f"holds {float(values.flat[0]):g} everywhere, as before loading"
            yield TensorDifference(name, "not-loaded", held)
        elif owner := known.owner(values):
            yield TensorDifference(name, "swapped-tensors", f"holds the values of {owner}")
        elif digest_of_any_order(values) == known.rows[name][-1]:
            evidence = "holds its own values in another order: transposed, or its channels permuted"
            yield TensorDifference(name, "kernel-layout", evidence)
        else:
            yield TensorDifference(name, "changed-tensor", "does not hold the values of the golden's port")
