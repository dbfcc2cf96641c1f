"""The weights manifest of a TensorFlow.js model: what each weight is called, and how its numbers are stored.

Source of the format and of the arithmetic: tfjs-core/src/io/{types,io_utils}.ts.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from porter.checkpoints.tfjs.shards import Opener, Shards, shards
from porter.core.checkpoint import Array, TensorSpec, contiguous
from porter.core.dtypes import BY_NAME, DType
from porter.errors import printable
from porter.formats.blocks import part_of
from porter.formats.malformed import Malformed

_MOST_WEIGHTS = 100_000
_MOST_AXES = 32
_MOST_BYTES = 1 << 48
_LARGEST_STRINGS = 1 << 30
_STORED = ("float32", "int32", "bool", "uint8", "uint16", "complex64", "string", "float16")
_AFFINE = ("uint8", "uint16")


class ManifestWeight(NamedTuple):
    """One weight.

    Attributes:
        spec: What it is for the network: float32 where it is stored in fewer bits.
        words: The element type of the stored words.
        offset: Its first byte in the group.
        group: The group's bytes.
        scale: What a word is multiplied with, or None if it is no affine number.
        low: What is added to that.
    """

    spec: TensorSpec
    words: DType
    offset: int
    group: Shards
    scale: float | None = None
    low: float = 0.0

    @property
    def is_quantised(self) -> bool:
        """Whether it is stored in fewer bits than it has."""
        return self.words != self.spec.dtype

    def read_block(self, block: tuple[slice, ...]) -> Array:
        """Return a rectangular part, C-contiguous and read-only.

        Raises:
            Malformed: it is made of strings, or a truth value is none.
        """
        if self.words.storage is None:
            raise Malformed("tfjs/not-numbers", "its elements are strings: they are listed and not read")
        data = self.group.read(self.offset, self.spec.size * (self.words.itemsize or 0))
        words = np.frombuffer(data, self.words.storage.newbyteorder("<")).reshape(self.spec.shape)
        if self.words.name == "bool" and words.size and words.view(np.uint8).max() > 1:
            raise Malformed("tfjs/bad-bool", "a bool is neither 0 nor 1")
        return contiguous(self._values(part_of(words, block)))

    def _values(self, words: Array) -> Array:
        assert self.spec.dtype.storage is not None  # noqa: S101  (for the type checker: as `words` has)
        if self.scale is None:
            return words.astype(self.spec.dtype.storage)
        # JavaScript computes in float64 and rounds once, to the array's own type.
        exact = words.astype(np.float64) * self.scale + self.low
        if self.spec.dtype.name == "int32":
            exact = np.floor(exact + 0.5)
        return exact.astype(self.spec.dtype.storage)


def parse_manifest(document: Any, opener: Opener) -> dict[str, ManifestWeight]:
    """Return the weights of a manifest by name, in its order.

    Args:
        document: The value of ``weightsManifest``.
        opener: Opens the files that it lists.

    Raises:
        Malformed: it is damaged, leads out of the model's folder, or claims bytes that are not there.
    """
    if not isinstance(document, list):
        raise Malformed("tfjs/bad-manifest", "the weightsManifest is no list of groups")
    found: dict[str, ManifestWeight] = {}
    for group in document:
        if not isinstance(group, dict) or not isinstance(group.get("weights"), list):
            raise Malformed("tfjs/bad-manifest", "a group of the weightsManifest lists no weights")
        _read_group(group["weights"], shards(group.get("paths"), opener), found)
    return found


def _read_group(entries: list[Any], data: Shards, found: dict[str, ManifestWeight]) -> None:
    offset = 0
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or name in found or len(found) >= _MOST_WEIGHTS:
            raise Malformed(
                "tfjs/bad-manifest",
                "a weight of the manifest has no name of its own",
                found=printable(str(name)),
            )
        weight = _weight(name, entry, data, offset)
        offset += _length(name, weight, data)
        found[name] = weight
    if offset != data.size:
        raise Malformed(
            "tfjs/wrong-size",
            "the binary weight files have another size than the manifest says",
            expected=f"{offset} bytes",
            found=data.size,
            hint="A file is cut off, or belongs to another model: get them again.",
        )


def _length(name: str, weight: ManifestWeight, data: Shards) -> int:
    """Return how many bytes a weight takes; strings tell it themselves, each behind its length."""
    if weight.words.storage is not None:
        size = weight.spec.size * (weight.words.itemsize or 0)
    else:
        size = 0
        for _ in range(weight.spec.size):
            if weight.offset + size + 4 > data.size or size > _LARGEST_STRINGS:
                break
            size += 4 + int.from_bytes(data.read(weight.offset + size, 4), "little")
    if weight.offset + size > data.size:
        raise Malformed(
            "tfjs/wrong-size",
            f"'{printable(name)}' lies behind the end of the binary weight files",
            expected=f"{weight.offset + size} bytes",
            found=data.size,
            hint="A file is cut off, or belongs to another model: get them again.",
        )
    return size


def _weight(name: str, entry: dict[str, Any], data: Shards, offset: int) -> ManifestWeight:
    kind, shape = entry.get("dtype"), _shape(name, entry.get("shape"))
    if kind not in _STORED:
        raise Malformed(
            "tfjs/unknown-dtype", f"'{printable(name)}' has an unknown type", found=printable(str(kind))
        )
    spec = TensorSpec(BY_NAME[kind], shape)
    if math.prod(length or 1 for length in shape) * 8 > _MOST_BYTES:
        raise Malformed(
            "tfjs/wrong-size",
            f"'{printable(name)}' claims more elements than memory can address",
            found=shape,
        )
    told = entry.get("quantization")
    if told is None:
        return ManifestWeight(spec, spec.dtype, offset, data)
    return _quantised(name, spec, told, data, offset)


def _shape(name: str, told: Any) -> tuple[int, ...]:
    is_shape = isinstance(told, list) and len(told) <= _MOST_AXES
    if not is_shape or any(type(length) is not int or length < 0 for length in told):
        raise Malformed("tfjs/bad-manifest", f"'{printable(name)}' has no shape", found=printable(str(told)))
    return tuple(told)


def _quantised(name: str, spec: TensorSpec, told: Any, data: Shards, offset: int) -> ManifestWeight:
    kind = told.get("dtype") if isinstance(told, dict) else None
    if kind == "float16" and spec.dtype.name == "float32":
        return ManifestWeight(spec, BY_NAME["float16"], offset, data)
    numbers: list[Any] = [told.get("scale"), told.get("min")] if isinstance(told, dict) else []
    is_affine = kind in _AFFINE and all(
        isinstance(number, int | float) and type(number) is not bool and math.isfinite(number)
        for number in numbers
    )
    if not is_affine or spec.dtype.name not in ("float32", "int32"):
        raise Malformed(
            "tfjs/unknown-quantisation",
            f"'{printable(name)}' is quantised in a way that is not read",
            expected="float16, or uint8 or uint16 with scale and min",
            found=printable(str(told)),
        )
    scale, low = (float(number) for number in numbers)
    return ManifestWeight(spec, BY_NAME[str(kind)], offset, data, scale, low)
