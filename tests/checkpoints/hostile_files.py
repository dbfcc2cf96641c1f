"""Malformed checkpoints whose files are missing, foreign, or no files at all."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import bundle_writer as w
from hostile_registry import FLOATS, a_bundle, case, cases

HTML = b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 44729578\n"
STAND_INS = {
    "checkpoint/empty-file": {"no bytes": b""},
    "checkpoint/web-page": {
        "not found": HTML,
        "lower case after blank lines": b"\n\n <html lang=en>",
        "byte order mark": b"\xef\xbb\xbf" + HTML,
        "error of an object store": b"<?xml version='1.0'?><Error/>",
        "as long as the data": HTML.ljust(200),
    },
    "checkpoint/git-lfs-pointer": {"of a data file": LFS},
}


@cases("index replaced by", STAND_INS)
def _(folder: Path, content: bytes) -> Path:
    prefix = a_bundle().store(folder / "ckpt")
    (folder / "ckpt.index").write_bytes(content)
    return prefix


@cases("data file replaced by", STAND_INS)
def _(folder: Path, content: bytes) -> Path:
    prefix = a_bundle().store(folder / "ckpt")
    (folder / "ckpt.data-00000-of-00001").write_bytes(content)
    return prefix


def _zip(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return stream.getvalue()


_TAR = b"name".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0")
FOREIGN = {
    "checkpoint/pytorch": {
        "model.pt": _zip("archive/data.pkl", "archive/version"),
        "old.pth": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
    },
    "checkpoint/pickle": {"weights.pkl": b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94."},
    "checkpoint/zip": {"some.zip": _zip("readme.txt")},
    "checkpoint/tar": {"ckpt.tar": _TAR},
    "checkpoint/gzip": {"ckpt.tar.gz": b"\x1f\x8b\x08" + b"\0" * 40},
    "checkpoint/bzip2": {"ckpt.tar.bz2": b"BZh91AY" + b"\0" * 40},
    "checkpoint/xz": {"ckpt.tar.xz": b"\xfd7zXZ\0" + b"\0" * 40},
    "checkpoint/numpy": {"weights.npy": b"\x93NUMPY\x01\0" + b"\0" * 40},
    "checkpoint/safetensors": {"model.safetensors": struct.pack("<Q", 20) + b'{"a":{}}'.ljust(20)},
    "checkpoint/meta-graph": {"ckpt.meta": w.data(1, b"") + w.data(2, b"")},
    "saved-model/wrong-name": {"export.pb": b"\x08\x01" + w.data(2, b"")},
    "checkpoint/unknown-format": {"notes.txt": b"nothing to see", "noise.bin": bytes(range(7, 256)) * 9},
}


@cases(
    "foreign file",
    {code: {name: (name, content) for name, content in rows.items()} for code, rows in FOREIGN.items()},
)
def _(folder: Path, named: tuple[str, bytes]) -> Path:
    (folder / named[0]).write_bytes(named[1])
    return folder / named[0]


@case("checkpoint/not-found", "a path that is not there")
def _(folder: Path) -> Path:
    return folder / "ckpt-1"


@case("checkpoint/not-found", "a path in a folder that is not there")
def _(folder: Path) -> Path:
    return folder / "gone" / "ckpt-1"


@case("checkpoint/not-found", "a path with a nul")
def _(folder: Path) -> Path:
    return folder / "ckpt\0-1"


@case("checkpoint/not-found", "a name longer than the system allows")
def _(folder: Path) -> Path:
    return folder / ("x" * 5000)


@case("checkpoint/no-checkpoint", "an empty folder")
def _(folder: Path) -> Path:
    return folder


@case("checkpoint/several-checkpoints", "two checkpoints and no state file")
def _(folder: Path) -> Path:
    a_bundle().store(folder / "ckpt-1")
    a_bundle().store(folder / "ckpt-2")
    return folder


@case("checkpoint/unreadable-file", "a link to itself")
def _(folder: Path) -> Path:
    (folder / "ckpt.index").symlink_to(folder / "ckpt.index")
    return folder / "ckpt"


@case("checkpoint/is-a-pipe", "a pipe as the source")
def _(folder: Path) -> Path:
    os.mkfifo(folder / "ckpt")
    return folder / "ckpt"


@case("checkpoint/is-a-device", "a device as the source")
def _(folder: Path) -> Path:
    return Path("/dev/zero")


@case("bundle/index-renamed", "an index under another name")
def _(folder: Path) -> Path:
    (folder / "weights.ckpt").write_bytes(a_bundle().index())
    return folder / "weights.ckpt"


# --- data files -----------------------------------------------------------------------------------------


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = {
    f"checkpoint/is-a-{kind}": {name: (make, name) for name in ("ckpt.index", "ckpt.data-00000-of-00001")}
    for kind, make in (("pipe", os.mkfifo), ("directory", Path.mkdir), ("device", _device))
}


@cases("file", KINDS)
def _(folder: Path, made: tuple[Callable[[Path], None], str]) -> Path:
    make, name = made
    prefix = a_bundle().store(folder / "ckpt")
    (folder / name).unlink()
    make(folder / name)
    return prefix


@case("bundle/missing-shard", "a data file is missing")
def _(folder: Path) -> Path:
    bundle = a_bundle(shards=3)
    bundle.put("c", FLOATS, 2)
    prefix = bundle.store(folder / "ckpt")
    (folder / "ckpt.data-00002-of-00003").unlink()
    return prefix


@case("bundle/missing-shard", "a data file is a dangling link")
def _(folder: Path) -> Path:
    prefix = a_bundle().store(folder / "ckpt")
    (folder / "ckpt.data-00000-of-00001").unlink()
    (folder / "ckpt.data-00000-of-00001").symlink_to("nowhere")
    return prefix


@case("bundle/missing-index", "the index is missing")
def _(folder: Path) -> Path:
    prefix = a_bundle().store(folder / "ckpt")
    (folder / "ckpt.index").unlink()
    return prefix


@case("bundle/missing-index", "a data file alone")
def _(folder: Path) -> Path:
    a_bundle().store(folder / "ckpt")
    (folder / "ckpt.index").unlink()
    return folder / "ckpt.data-00000-of-00001"


@case("bundle/truncated-shard", "a data file is one byte short")
def _(folder: Path) -> Path:
    bundle = a_bundle()
    del bundle.files[0][-1]
    return bundle.store(folder / "ckpt")


@case("bundle/bad-checksum", "a bit of a tensor is flipped")
def _(folder: Path) -> Path:
    bundle = a_bundle()
    bundle.files[0][5] ^= 1
    return bundle.store(folder / "ckpt")


@case("bundle/bad-checksum", "data files are exchanged")
def _(folder: Path) -> Path:
    bundle = w.Bundle(shards=2)
    bundle.put("a", FLOATS, 0)
    bundle.put("b", FLOATS + 1, 1)
    bundle.files.reverse()
    return bundle.store(folder / "ckpt")
