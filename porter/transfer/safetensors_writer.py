"""Writing a safetensors file as a stream: the bytes of the tensors in any order, the header last."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from itertools import accumulate
from types import TracebackType
from typing import Self

import numpy as np

from porter.core.checkpoint import Array, TensorSpec
from porter.errors import OutputError
from porter.transfer.atomic_file import AtomicFile

# The safetensors reader refuses longer headers (MAX_HEADER_SIZE in its tensor.rs).
HEADER_LIMIT = 100_000_000
_ALIGNMENT = 8
_METADATA = "__metadata__"
# Tensors from this length on bypass the page cache; for smaller ones a thread and its memory cost more.
_LONG_BYTES = 32 << 20


class SafetensorsWriter:
    """Writes tensors to a file that appears whole or not at all.

    The format wants the bytes covered without holes, so the order decides the alignment: tensors whose
    length is a multiple of 8 bytes come first and all start at a multiple of 8; the others follow by
    descending element width, so that each starts at a multiple of its own element. Within these groups
    the order is by name. Equal input gives equal bytes.

    Attributes:
        names: The tensors in file order.
        nbytes: Length of the finished file.

    Args:
        path: The file to write.
        tensors: Name, shape and dtype of every tensor.
        metadata: Strings for the header.

    Raises:
        OutputError: two tensors have one name, a dtype does not exist in safetensors, the header is too
            long, or the file cannot be written there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tensors: Iterable[tuple[str, TensorSpec]],
        metadata: Mapping[str, str],
    ) -> None:
        ordered = _in_file_order(tensors, path)
        self.names = tuple(ordered)
        self._entries = _encoded(_header_entries(ordered), path)
        self._header = _encode_header(self._entries, metadata, path)
        self._missing = {name: spec.nbytes for name, spec in ordered.items()}
        self._long = {name for name, nbytes in self._missing.items() if nbytes >= _LONG_BYTES}
        ends = accumulate(self._missing.values(), initial=len(self._header))
        next(ends)
        self._ends = dict(zip(self.names, ends, strict=True))
        self.nbytes = len(self._header) + sum(self._missing.values())
        self._file = AtomicFile(path)
        try:
            self._file.reserve(self.nbytes)
        except BaseException:
            self._file.discard()
            raise

    def write(self, name: str, block: Array) -> None:
        """Append `block` to tensor `name`; the tensors may take turns.

        Args:
            name: One of `names`.
            block: C-contiguous storage words in native (little-endian) byte order, any shape.

        Raises:
            OutputError: the tensor would become too long, or the disk refused.
        """
        left = self._missing.get(name, 0) - block.nbytes
        if left < 0:
            raise OutputError(
                "output/too-long",
                f"{block.nbytes} bytes were given",
                file=self._file.path,
                tensor=name,
                expected=f"at most {self._missing.get(name, 0)}",
            )
        self._missing[name] = left
        if block.nbytes:
            data = block.reshape(-1).view(np.uint8).data
            position = self._ends[name] - left - block.nbytes
            if name in self._long:
                self._file.write_long(data, position)
            else:
                self._file.write(data, position)

    def rest(self) -> None:
        """Hold no memory until the next `write`: another file's turn has come.

        Raises:
            OutputError: the disk refused.
        """
        self._file.rest()

    def replace_metadata(self, metadata: Mapping[str, str]) -> None:
        """Rewrite the header with other metadata of the same encoded length.

        This is how a value that is known only at the end, such as a digest, gets into a header that is
        written first.

        Raises:
            OutputError: the header's length would change, or the disk refused.
        """
        header = _encode_header(self._entries, metadata, self._file.path)
        if len(header) != len(self._header):
            raise OutputError(
                "output/metadata-length",
                "replaced metadata must keep the length of the header",
                file=self._file.path,
                expected=len(self._header),
                found=len(header),
            )
        self._header = header

    def commit(self) -> None:
        """Write the header and give the finished file its name.

        Raises:
            OutputError: bytes are missing, or the disk refused; an old file of that name is intact.
        """
        for name, missing in self._missing.items():
            if missing:
                raise OutputError(
                    "output/incomplete",
                    "not every byte was written",
                    file=self._file.path,
                    tensor=name,
                    expected=f"{missing} bytes more",
                )
        self._file.write(self._header, 0)
        self._file.commit()

    def __enter__(self) -> Self:
        """Return self; leaving the block without `commit` drops the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the file if it was not committed."""
        self._file.discard()


def _in_file_order(
    tensors: Iterable[tuple[str, TensorSpec]], path: str | os.PathLike[str]
) -> dict[str, TensorSpec]:
    specs: dict[str, TensorSpec] = {}
    for name, spec in tensors:
        if name in specs:
            raise OutputError("output/duplicate-name", "two tensors have this name", file=path, tensor=name)
        if name == _METADATA:
            raise OutputError(
                "output/reserved-name", "safetensors reserves this name", file=path, tensor=name
            )
        if spec.dtype.safetensors is None:
            raise OutputError(
                "output/dtype",
                f"safetensors has no element type for {spec.dtype.name}",
                file=path,
                tensor=name,
            )
        specs[name] = spec
    return dict(sorted(specs.items(), key=_alignment_key))


def _alignment_key(item: tuple[str, TensorSpec]) -> tuple[int, str]:
    name, spec = item
    return (-_ALIGNMENT if spec.nbytes % _ALIGNMENT == 0 else -(spec.dtype.itemsize or 0), name)


def _header_entries(specs: Mapping[str, TensorSpec]) -> dict[str, object]:
    entries: dict[str, object] = {}
    position = 0
    for name, spec in specs.items():
        end = position + spec.nbytes
        entries[name] = {
            "dtype": spec.dtype.safetensors,
            "shape": spec.shape,
            "data_offsets": (position, end),
        }
        position = end
    return entries


def _encode_header(entries: str, metadata: Mapping[str, str], path: str | os.PathLike[str]) -> bytes:
    described = f'"{_METADATA}":{_encoded(metadata, path)}' if metadata else ""
    comma = "," if metadata and entries != "{}" else ""
    text = f"{{{described}{comma}{entries[1:]}".encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > HEADER_LIMIT:
        raise OutputError(
            "output/header-too-long",
            "the header is longer than safetensors allows",
            file=path,
            expected=f"at most {HEADER_LIMIT} bytes",
            found=len(text),
        )
    return len(text).to_bytes(8, "little") + text


def _encoded(value: Mapping[str, object], path: str | os.PathLike[str]) -> str:
    text = json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise OutputError(
            "output/bad-text", "a tensor name or metadata value is not valid Unicode", file=path
        ) from error
    return text
