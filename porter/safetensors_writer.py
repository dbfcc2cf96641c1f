"""Writing a safetensors file as a stream: header first, then each tensor's bytes in order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

import numpy as np

from porter.atomic_file import AtomicFile, output_error
from porter.errors import OutputError
from porter.tensors import Array, TensorSpec

# The safetensors reader refuses longer headers (MAX_HEADER_SIZE in its tensor.rs).
HEADER_LIMIT = 100_000_000
_ALIGNMENT = 8
_METADATA = "__metadata__"
# Written bytes are handed to the disk in portions of this size while the next are being prepared.
_SYNC_BYTES = 64 << 20


class SafetensorsWriter:
    """Writes tensors one after another to a file that appears whole or not at all.

    The format wants the bytes covered without holes, so the order decides the alignment: tensors whose
    length is a multiple of 8 bytes come first and all start at a multiple of 8; the others follow by
    descending element width, so that each starts at a multiple of its own element. Within these groups
    the order is by name. Equal input gives equal bytes.

    Attributes:
        names: The tensors in the order in which `write` expects them.
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
        self._ordered = _in_file_order(tensors, path)
        self.names = tuple(self._ordered)
        self._entries = _header_entries(self._ordered)
        self._header = _encode_header(self._entries, metadata, path)
        self.nbytes = len(self._header) + sum(spec.nbytes for spec in self._ordered.values())
        self._pending = iter(self._ordered.items())
        self._current: str | None = None
        self._missing = 0
        self._written = self._handed_over = 0
        self._file = AtomicFile(path)
        try:
            self._file.reserve(self.nbytes)
            self._put(memoryview(self._header))
        except BaseException:
            self._file.discard()
            raise

    def write(self, name: str, block: Array) -> None:
        """Append `block` to tensor `name`.

        Args:
            name: The tensor that is due; the next one is due as soon as all bytes of one were written.
            block: C-contiguous storage words in native (little-endian) byte order, any shape.

        Raises:
            OutputError: another tensor is due, the tensor would become too long, or the disk refused.
        """
        while self._missing == 0 and self._current != name:
            self._current, spec = next(self._pending, (None, None))
            if spec is None:
                break
            self._missing = spec.nbytes
        if self._current != name or block.nbytes > self._missing:
            raise OutputError(
                "output/order",
                f"{block.nbytes} bytes were given",
                file=self._file.path,
                tensor=name,
                expected=f"at most {self._missing} bytes of tensor {self._current!r}",
            )
        self._missing -= block.nbytes
        if block.nbytes:
            self._put(block.reshape(-1).view(np.uint8).data)

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
        try:
            written = os.pwrite(self._file.fd, header, 0)
        except OSError as error:
            raise output_error(error, self._file.path) from error
        if written != len(header):
            raise OutputError("output/write-failed", "the header was cut short", file=self._file.path)

    def sync(self) -> None:
        """Bring what was written so far to the disk, so that `commit` has less to wait for.

        Raises:
            OutputError: the disk refused.
        """
        self._file.sync()

    def commit(self) -> None:
        """Give the finished file its name.

        Raises:
            OutputError: bytes are missing, or the disk refused; an old file of that name is intact.
        """
        left = [name for name, spec in self._pending if spec.nbytes]
        if self._missing or left:
            raise OutputError(
                "output/incomplete",
                "not every byte was written",
                file=self._file.path,
                tensor=self._current if self._missing else left[0],
            )
        self._file.commit()

    def __enter__(self) -> Self:
        """Return self; leaving the block without `commit` drops the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the file if it was not committed."""
        self._file.discard()

    def _put(self, data: memoryview) -> None:
        try:
            while data:
                count = os.write(self._file.fd, data)
                self._written += count
                data = data[count:]
            pending = self._written - self._handed_over
            if pending >= _SYNC_BYTES:
                self._file.begin_sync(self._handed_over, pending)
                self._handed_over = self._written
        except OSError as error:
            raise output_error(error, self._file.path) from error


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


def _encode_header(
    entries: Mapping[str, object], metadata: Mapping[str, str], path: str | os.PathLike[str]
) -> bytes:
    whole = {_METADATA: dict(metadata), **entries} if metadata else entries
    try:
        text = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise OutputError(
            "output/bad-text", "a tensor name or metadata value is not valid Unicode", file=path
        ) from error
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
