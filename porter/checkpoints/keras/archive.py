"""``.keras`` archives: a zip file with a config, metadata and the weights as an HDF5 file.

Source of the zip format: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.16 and 4.5.3. The standard
library's zipfile reads the directory; where a member's bytes begin, and that none overlap, is checked here.
"""

from __future__ import annotations

import io
import shutil
import struct
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO

from porter.formats.files import PIECE, RegularFile
from porter.formats.malformed import Malformed

_LOCAL = struct.Struct("<4s5H3I2H")
_LOCAL_MAGIC = b"PK\x03\x04"
_END_MAGIC = b"PK\x05\x06"
_ENCRYPTED = 1
_CONFIG, _WEIGHTS, _METADATA = "config.json", "model.weights.h5", "metadata.json"
_MOST_MEMBERS = 10_000
_LARGEST_CONFIG = 64 << 20
_LONGEST_END = 1 << 17
# No deflate stream expands more than this (zlib's documentation, "maximum compression factor").
_MOST_EXPANSION = 1032


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive.

    Attributes:
        name: Its name.
        offset: First byte of its data in the archive.
        stored: Bytes of its data in the archive.
        size: Bytes of its data when unpacked.
        crc: CRC-32 of the unpacked data.
        is_compressed: Whether the data is a deflate stream.
    """

    name: str
    offset: int
    stored: int
    size: int
    crc: int
    is_compressed: bool


@dataclass(frozen=True, slots=True)
class Archive:
    """What is read of a ``.keras`` file.

    Attributes:
        kind: What the file is called, with the Keras version that wrote it.
        config: The model's config, JSON.
        weights: The HDF5 file.
    """

    kind: str
    config: bytes
    weights: Member


def is_archive(file: RegularFile) -> bool:
    """Whether `file` begins as zip files do."""
    return file.size >= 4 and file.read(0, 4) == _LOCAL_MAGIC


def read_archive(file: RegularFile) -> Archive:
    """Read the directory, config and metadata of a ``.keras`` file.

    Raises:
        Malformed: it is damaged, or no ``.keras`` file.
    """
    members = read_members(file)
    for name in (_CONFIG, _WEIGHTS):
        if name not in members:
            raise Malformed(
                "keras/missing-member",
                "this zip file is no Keras file, or an incomplete one",
                expected=f"{_CONFIG} and {_WEIGHTS} in it",
                found=", ".join(sorted(members)[:5]) or "nothing",
            )
    config = _content(file, members[_CONFIG])
    metadata = _content(file, members[_METADATA]) if _METADATA in members else b""
    return Archive(f"Keras .keras archive{_version(metadata)}", config, members[_WEIGHTS])


def unpack(file: RegularFile, member: Member, target: IO[bytes]) -> None:
    """Write the data of `member` to `target`, 4 MiB at a time, and check its checksum.

    Raises:
        Malformed: the stream is damaged, or longer or shorter than the directory says.
    """
    if member.size > shutil.disk_usage(tempfile.gettempdir()).free:
        raise Malformed(
            "zip/no-space", f"{member.name} cannot be unpacked: the disk is full", expected=member.size
        )
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    crc = written = 0
    for start in range(0, member.stored, PIECE):
        data = file.read(member.offset + start, min(PIECE, member.stored - start))
        while data:
            try:
                piece = stream.decompress(data, PIECE) if member.is_compressed else data
            except zlib.error as error:
                raise Malformed("zip/bad-deflate", f"{member.name} does not decompress ({error})") from error
            data = stream.unconsumed_tail
            written += len(piece)
            crc = zlib.crc32(piece, crc)
            if written > member.size:
                break
            target.write(piece)
    if written != member.size or (member.is_compressed and not stream.eof):
        raise Malformed(
            "zip/bad-size",
            f"{member.name} has another size than the archive's directory says",
            expected=member.size,
            found=f"{written} or more" if written > member.size else written,
        )
    if crc != member.crc:
        raise Malformed(
            "zip/bad-checksum",
            f"the checksum of {member.name} does not match its bytes",
            hint="The file is damaged: get it again.",
        )


def _content(file: RegularFile, member: Member) -> bytes:
    if member.size > _LARGEST_CONFIG:
        raise Malformed("zip/huge-member", f"{member.name} is implausibly large", found=member.size)
    target = io.BytesIO()
    unpack(file, member, target)
    return target.getvalue()


def _version(metadata: bytes) -> str:
    """Return ", Keras 3.1.0" from the metadata; a file that does not say so is still read."""
    start = metadata.find(b'"keras_version"')
    text = metadata[start:].split(b'"')[3:4] if start >= 0 else []
    return f" (Keras {text[0][:20].decode('ascii', 'replace')})" if text else ""


def read_members(file: RegularFile) -> dict[str, Member]:
    """Return what a zip archive holds, by name, each checked against the file.

    Raises:
        Malformed: the archive's directory is damaged, or a member lies where it cannot.
    """
    tail = min(file.size, _LONGEST_END)
    if _END_MAGIC not in file.read(file.size - tail, tail):
        raise Malformed(
            "zip/cut-off", "the archive's directory is missing", hint="The file is cut off: get it again."
        )
    try:
        with zipfile.ZipFile(_Reader(file)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, UnicodeError) as error:
        raise Malformed("zip/damaged", f"the archive's directory is damaged ({error})") from error
    if len(infos) > _MOST_MEMBERS:
        raise Malformed("zip/too-many-members", "the archive has implausibly many members", found=len(infos))
    members: dict[str, Member] = {}
    reached = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        member = _member(file, info)
        if member.name in members:
            raise Malformed("zip/duplicate-member", "the archive has two members of one name")
        if info.header_offset < reached:
            raise Malformed("zip/overlap", "two members of the archive claim the same bytes")
        reached = member.offset + member.stored
        members[member.name] = member
    return members


def _member(file: RegularFile, info: zipfile.ZipInfo) -> Member:
    if info.flag_bits & _ENCRYPTED:
        raise Malformed("zip/encrypted", "a member of the archive is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Malformed(
            "zip/unknown-compression", "a member is compressed in an unknown way", found=info.compress_type
        )
    if not 0 <= info.header_offset <= file.size - _LOCAL.size:
        raise Malformed("zip/outside-file", "a member of the archive lies outside the file")
    magic, *_, name_length, extra_length = _LOCAL.unpack(file.read(info.header_offset, _LOCAL.size))
    offset = info.header_offset + _LOCAL.size + name_length + extra_length
    if magic != _LOCAL_MAGIC or offset + info.compress_size > file.size:
        raise Malformed("zip/outside-file", "a member of the archive lies outside the file")
    is_compressed = info.compress_type == zipfile.ZIP_DEFLATED
    if not is_compressed and info.compress_size != info.file_size:
        raise Malformed("zip/bad-size", "a stored member has two different sizes")
    if info.file_size > (info.compress_size + 64) * _MOST_EXPANSION:
        raise Malformed(
            "zip/implausible-size", "a member claims more bytes than its data can hold", found=info.file_size
        )
    return Member(info.filename, offset, info.compress_size, info.file_size, info.CRC, is_compressed)


class _Reader(io.RawIOBase):
    """A regular file as the seekable stream that zipfile wants."""

    def __init__(self, file: RegularFile) -> None:
        super().__init__()
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        position = offset + (0, self._position, self._file.size)[whence]
        if position < 0:
            raise ValueError("before the start of the file")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._file.size - self._position)
        data = self._file.read(self._position, left if size < 0 else min(size, left))
        self._position += len(data)
        return data
