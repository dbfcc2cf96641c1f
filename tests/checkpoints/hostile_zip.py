"""Malformed ``.keras`` archives."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import keras_writer as k
from hostile_registry import cases

HEALTHY = k.archive()
DEFLATED = k.archive(compression=zipfile.ZIP_DEFLATED)
_DIRECTORY = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"


def _patched(name: str, offset: int, value: bytes, content: bytes = HEALTHY, *, local: bool = False) -> bytes:
    """Return the archive with `value` at `offset` of a directory entry, or of the header before the data."""
    mark, name_at = (_LOCAL, 30) if local else (_DIRECTORY, 46)
    start = content.find(mark)
    while content[start + name_at :][: len(name)] != name.encode():
        start = content.index(mark, start + 4)
    return content[: start + offset] + value + content[start + offset + len(value) :]


def _words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def _doubled() -> bytes:
    stream = io.BytesIO(HEALTHY)
    with zipfile.ZipFile(stream, "a") as archive:
        info = zipfile.ZipInfo("config.json")
        archive.NameToInfo.clear()
        archive.writestr(info, "{}")
    return stream.getvalue()


def _overlapping() -> bytes:
    """Return an archive whose config begins at the metadata's place."""
    with zipfile.ZipFile(io.BytesIO(HEALTHY)) as archive:
        start = archive.getinfo("metadata.json").header_offset
    return _patched("config.json", 42, _words(start))


def _many() -> bytes:
    return k.archive({f"assets/{number}": b"" for number in range(10_001)})


def _damaged_stream() -> bytes:
    with zipfile.ZipFile(io.BytesIO(DEFLATED)) as archive:
        start = archive.getinfo("model.weights.h5").header_offset + 30 + len("model.weights.h5")
    return DEFLATED[: start + 40] + b"\xff" * 40 + DEFLATED[start + 80 :]


ARCHIVES = {
    "keras/missing-member": {
        "no config": k.archive({"config.json": None}),
        "no weights": k.archive({"model.weights.h5": None}),
    },
    "zip/cut-off": {
        "half of it": HEALTHY[: len(HEALTHY) // 2],
        "all but the directory": HEALTHY[: HEALTHY.index(_DIRECTORY)],
    },
    "zip/damaged": {
        "a directory of noise": HEALTHY[: HEALTHY.index(_DIRECTORY) + 4] + b"\xaa" * 300 + HEALTHY[-22:],
    },
    "zip/encrypted": {"the config": _patched("config.json", 8, b"\x01\x00")},
    "zip/unknown-compression": {
        "bzip2": k.archive(compression=zipfile.ZIP_BZIP2),
        "lzma": k.archive(compression=zipfile.ZIP_LZMA),
        "a number that nobody has": _patched("config.json", 10, b"\x63\x00"),
    },
    "zip/implausible-size": {
        "three gigabytes of config": _patched("config.json", 24, _words(3 << 30), DEFLATED),
        "three gigabytes of weights": _patched("model.weights.h5", 24, _words(3 << 30), DEFLATED),
    },
    "zip/bad-size": {
        "two sizes": _patched("config.json", 24, _words(9)),
        "a longer stream than the directory says": _patched("config.json", 24, _words(9), DEFLATED),
        "a shorter stream": _patched("model.weights.h5", 24, _words(1 << 16), DEFLATED),
    },
    "zip/bad-checksum": {
        "of the config": _patched("config.json", 16, _words(1)),
        "of packed weights": _patched("model.weights.h5", 16, _words(1), DEFLATED),
    },
    "zip/bad-deflate": {"noise in packed weights": _damaged_stream()},
    "zip/outside-file": {
        "a directory beyond the end": HEALTHY[:-6] + b"\xff\xff\xff\x7f" + HEALTHY[-2:],
        "a member behind the end": _patched("config.json", 42, _words(1 << 30)),
        "no header before the data": _patched("model.weights.h5", 0, b"XX", local=True),
        "a name as long as the file": _patched("model.weights.h5", 26, b"\xff\xff", local=True),
        "more bytes than there are": _patched("model.weights.h5", 20, _words(1 << 30, 1 << 30)),
    },
    "zip/overlap": {"two members in one place": _overlapping()},
    "zip/duplicate-member": {"two configs": _doubled()},
    "zip/too-many-members": {"ten thousand": _many()},
    "keras/bad-config": {
        "no JSON": k.archive({"config.json": b"{"}),
        "a list": k.archive({"config.json": b"[1]"}),
        "no text": k.archive({"config.json": b"\xff\xfe\x00"}),
    },
    "hdf5/damaged": {
        "weights that are text": k.archive({"model.weights.h5": b"no weights"}),
        "weights cut in half": k.archive({"model.weights.h5": k.hdf5(k.state)[:2000]}),
        "no weights at all": k.archive({"model.weights.h5": b""}),
    },
}


@cases("zip", ARCHIVES)
def _(folder: Path, content: bytes) -> Path:
    (folder / "model.keras").write_bytes(content)
    return folder / "model.keras"
