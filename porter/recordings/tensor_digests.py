"""What the tensors of a port are, in a few bytes each: enough to tell the port and its roundings."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from porter.transfer.float_conversion import rounded

Values = NDArray[np.float64]
Row = tuple[bytes, ...]

# The forms of a tensor that are kept, and the type whose rounding each is proof of. A narrow type may be
# reached by way of float32, which rounds twice.
_FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("float64", ()),
    ("float32", ("float32",)),
    ("float16", ("float16",)),
    ("float16", ("float32", "float16")),
    ("bfloat16", ("bfloat16",)),
    ("bfloat16", ("float32", "bfloat16")),
)
# Eight bytes: that two of some ten thousand tensors share them by chance is one in 10^11.
_LENGTH = 8
_NONE = bytes(_LENGTH)


@dataclass(frozen=True, slots=True)
class TensorDigests:
    """The floating-point tensors of a port by name, each as the digests of its forms.

    Attributes:
        shapes: Name to shape, in the table's order.
        rows: Name to the digests: of each form, and of the values in ascending order, as float32.
    """

    shapes: Mapping[str, tuple[int, ...]]
    rows: Mapping[str, Row]

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, Values]]) -> TensorDigests:
        """Compute them for the tensors of a port, unrounded, in float64."""
        shapes: dict[str, tuple[int, ...]] = {}
        rows: dict[str, Row] = {}
        for name, values in tensors:
            shapes[name] = values.shape
            rows[name] = (*_forms(values), digest_of_any_order(values))
        return cls(shapes, rows)

    @classmethod
    def from_array(cls, shapes: Mapping[str, Sequence[int]], array: NDArray[np.uint8]) -> TensorDigests:
        """Undo `to_array`.

        Raises:
            ValueError: the array is not one of as many tensors.
        """
        wanted = (len(shapes), len(_FORMS) + 1, _LENGTH)
        if array.shape != wanted:
            raise ValueError(f"the digests have shape {array.shape}, not {wanted}")
        rows = {
            name: tuple(digest.tobytes() for digest in row) for name, row in zip(shapes, array, strict=True)
        }
        return cls({name: tuple(map(int, shape)) for name, shape in shapes.items()}, rows)

    def to_array(self) -> NDArray[np.uint8]:
        """Return all digests: (tensors, forms and one, 8)."""
        words = b"".join(digest for row in self.rows.values() for digest in row)
        return np.frombuffer(words, np.uint8).reshape(len(self.rows), len(_FORMS) + 1, _LENGTH)

    def rounding(self, name: str, values: Values) -> str | None:
        """Return the type whose rounding, and nothing else, lies between the port's tensor and these values.

        ``"float64"`` if nothing does; None if something else does.
        """
        found = digest_of(values)
        forms = zip(_FORMS, self.rows[name], strict=False)
        return next((kind for (kind, _), each in forms if each == found), None)

    def owner(self, values: Values) -> str | None:
        """Return the name of a tensor that has these values in one of its forms, or None."""
        found = digest_of(values)
        return next((name for name, row in self.rows.items() if found in row[:-1]), None)

    def sha256(self) -> str:
        """Return one digest of names, shapes and values."""
        digest = hashlib.sha256(repr(list(self.shapes.items())).encode())
        digest.update(self.to_array().tobytes())
        return digest.hexdigest()


def _forms(values: Values) -> Iterator[bytes]:
    for _, types in _FORMS:
        form = rounded(values, *types)
        # A value that has become an infinity was not rounded.
        yield digest_of(form) if np.array_equal(np.isfinite(values), np.isfinite(form)) else _NONE


def digest_of_any_order(values: Values) -> bytes:
    """Return the digest of the values in ascending order, as float32."""
    return digest_of(np.sort(rounded(values, "float32").reshape(-1)))


def digest_of(values: Values) -> bytes:
    """Return the first eight bytes of the SHA-256 of float64 values in C order, whatever the sign of zero."""
    unsigned = np.ascontiguousarray(values, np.float64) + 0.0
    return hashlib.sha256(unsigned.tobytes()).digest()[:_LENGTH]


def unit_roundoff(dtype: str) -> tuple[float, float]:
    """Return the largest relative error of rounding to a type, and the largest absolute one near zero."""
    bits, smallest = {"float64": (53, -1074), "float32": (24, -149), "float16": (11, -24)}.get(
        dtype, (8, -133)
    )
    return math.ldexp(1.0, -bits), math.ldexp(1.0, smallest - 1)
