"""Malformed Keras files of both HDF5 formats."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import h5py
import keras_writer as k
import numpy as np
from hostile_registry import case, cases

_HUGE = 1 << 40


def _store(folder: Path, content: bytes, name: str = "model.h5") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def _with(change: k.Build, **options: Any) -> bytes:
    """Return a healthy file with one layer more that `change` writes into a group called extra."""

    def build(file: h5py.File) -> None:
        k.legacy(file, **options)
        change(file.create_group("extra"))

    return k.hdf5(build)


def _external_link(group: h5py.Group) -> None:
    group["kernel"] = h5py.ExternalLink("/etc/passwd", "/")


def _soft_link(group: h5py.Group) -> None:
    group["kernel"] = h5py.SoftLink("/conv2d/conv2d/kernel:0")


def _dangling_link(group: h5py.Group) -> None:
    group["kernel"] = h5py.SoftLink("/nowhere")


def _external_storage(group: h5py.Group) -> None:
    group.create_dataset("kernel", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def _virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "data", (4,))
    group.create_virtual_dataset("kernel", layout)


def _cycle(group: h5py.Group) -> None:
    group["again"] = group


def _shared(group: h5py.Group) -> None:
    group["conv"] = group.file["conv2d"]


def _deep(group: h5py.Group) -> None:
    group.create_group("/".join("g" * 60))


def _unwritten(group: h5py.Group) -> None:
    group.create_dataset("kernel", (_HUGE,), "f4")


def _unwritten_chunks(group: h5py.Group) -> None:
    group.create_dataset("kernel", (_HUGE,), "f4", chunks=(1 << 20,))


def _some_chunks(group: h5py.Group) -> None:
    group.create_dataset("kernel", (100,), "f4", chunks=(10,))[:35] = 1


def _huge_chunks(group: h5py.Group) -> None:
    created = group.create_dataset("kernel", (1 << 29,), "f4", chunks=(1 << 29,), compression=9)
    created.id.write_direct_chunk((0,), b"\x78\x9c\x03\0\0\0\0\x01")


def _many_axes(group: h5py.Group) -> None:
    group.create_dataset("kernel", (2**15,) * 12, "f4", chunks=(1,) * 12)


def _null(group: h5py.Group) -> None:
    group.create_dataset("kernel", data=h5py.Empty("f4"))


def _strings(group: h5py.Group) -> None:
    group.create_dataset("words", data=np.array([b"one", b"two"]))


def _compound(group: h5py.Group) -> None:
    group.create_dataset("pairs", data=np.zeros(3, [("a", "f4"), ("b", "i4")]))


def _bool(group: h5py.Group) -> None:
    made = group.create_dataset("flags", data=np.array([True, False]))
    made.id.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([2, 0], np.int8), h5py.h5t.STD_I8LE)


def _compressed(group: h5py.Group, payload: bytes) -> None:
    created = group.create_dataset("kernel", (1024,), "f4", chunks=(1024,), compression=4)
    created.id.write_direct_chunk((0,), payload)


def _bad_deflate(group: h5py.Group) -> None:
    _compressed(group, b"\x78\x9c" + b"no deflate stream" * 9)


def _short_deflate(group: h5py.Group) -> None:
    import zlib

    _compressed(group, zlib.compress(bytes(100)))


def _long_deflate(group: h5py.Group) -> None:
    import zlib

    _compressed(group, zlib.compress(bytes(1 << 22)))


def _filter(number: int, group: h5py.Group) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    plan.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(group.id, b"kernel", h5py.h5t.IEEE_F32LE, space, plan)


def _huge_attribute(group: h5py.Group) -> None:
    plan = h5py.h5s.create_simple((1 << 13,))
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(7)
    h5py.h5a.create(group.id, b"weight_names", kind, plan)


CRAFTED = {
    "hdf5/external-link": {"a file of the system": _external_link},
    "hdf5/soft-link": {"to a dataset": _soft_link, "to nothing": _dangling_link},
    "hdf5/external-storage": {"a file of the system": _external_storage},
    "hdf5/virtual-dataset": {"of another file": _virtual},
    "hdf5/shared-group": {"a group inside itself": _cycle, "one layer under two names": _shared},
    "hdf5/too-deep": {"sixty groups": _deep},
    "hdf5/bad-size": {"four terabytes that were never written": _unwritten},
    "hdf5/missing-chunks": {
        "four terabytes of chunks that were never written": _unwritten_chunks,
        "six of ten chunks": _some_chunks,
    },
    "hdf5/bad-chunk": {"eight bytes for two gigabytes": _huge_chunks, "too few bytes": _short_deflate},
    "hdf5/huge-shape": {"twelve axes of 32,768": _many_axes},
    "hdf5/bad-shape": {"no dataspace": _null},
    "hdf5/not-numbers": {"strings": _strings, "compounds": _compound},
    "bundle/bad-bool": {"a two": _bool},
    "hdf5/bad-deflate": {"noise": _bad_deflate, "too many bytes": _long_deflate},
    "hdf5/unsupported-filter": {
        "szip": lambda group: _filter(4, group),
        "lzf": lambda group: group.create_dataset("kernel", data=k.KERNEL, compression="lzf"),
        "scale offset": lambda group: group.create_dataset("kernel", data=k.KERNEL, scaleoffset=2),
        "a plug-in": lambda group: _filter(32015, group),
        "a number that nobody has": lambda group: _filter(60000, group),
    },
}


@cases("hdf5", CRAFTED)
def _(folder: Path, change: k.Build) -> Path:
    return _store(folder, _with(change))


def _layer_missing(file: h5py.File) -> None:
    k.legacy(file)
    del file["dense"]


def _weight_missing(file: h5py.File) -> None:
    k.legacy(file)
    del file["dense/dense/bias:0"]


def _weight_is_group(file: h5py.File) -> None:
    _weight_missing(file)
    file.create_group("dense/dense/bias:0")


def _odd_name(file: h5py.File) -> None:
    k.legacy(file)
    file.attrs["layer_names"] = np.array([b"conv2d\n\x1b[31m" + b"x" * 5000])


def _deep_config() -> dict[str, Any]:
    config: dict[str, Any] = k.CONFIG
    for _ in range(40):
        config = {"class_name": "Functional", "config": {"name": "m", "layers": [config]}}
    return config


STRUCTURES = {
    "keras/not-keras": {
        "somebody's data": lambda file: file.create_dataset("x", data=k.KERNEL),
        "nothing": lambda file: file.flush(),
    },
    "keras/missing-layer": {"listed": _layer_missing, "with an odd name": _odd_name},
    "keras/missing-weight": {"listed": _weight_missing, "a group in its place": _weight_is_group},
    "keras/theano-kernels": {
        "by its backend": lambda file: k.legacy(file, backend="theano"),
        "by its config": lambda file: k.legacy(
            file,
            config={
                "class_name": "Sequential",
                "config": [{"class_name": "Convolution2D", "config": {"name": "c", "dim_ordering": "th"}}],
            },
        ),
    },
    "keras/bad-config": {
        "no JSON": lambda file: k.legacy(file, config='{"class_name": '),
        "a list": lambda file: k.legacy(file, config="[]"),
        "a number for a name": lambda file: k.legacy(file, config={"class_name": "M", "config": {"name": 3}}),
        "layers that are a number": lambda file: k.legacy(file, config={"config": {"layers": 7}}),
        "forty models inside each other": lambda file: k.legacy(file, config=json.dumps(_deep_config())),
        "brackets": lambda file: k.legacy(file, config="[" * 50_000),
    },
}


@cases("keras", STRUCTURES)
def _(folder: Path, build: k.Build) -> Path:
    return _store(folder, k.hdf5(build))


# --- bytes ------------------------------------------------------------------------------------------------

HEALTHY = k.hdf5(k.legacy)
NEWEST = k.hdf5(k.legacy, libver="latest")


def _overwritten(mark: bytes, by: bytes, content: bytes = HEALTHY) -> bytes:
    """Return the file with every `mark` replaced."""
    assert mark in content
    return content.replace(mark, by)


def _moved(to: int | None) -> bytes:
    """Return the file with the kernel's data moved: to byte `to`, or onto the bias."""
    with h5py.File(__import__("io").BytesIO(HEALTHY)) as file:
        kernel = file["conv2d/conv2d/kernel:0"].id.get_offset()
        bias = file["conv2d/conv2d/bias:0"].id.get_offset()
    old = struct.pack("<QQ", kernel, k.KERNEL.nbytes)
    assert HEALTHY.count(old) == 1
    return HEALTHY.replace(old, struct.pack("<QQ", bias if to is None else to, k.KERNEL.nbytes))


def _resized(length: int) -> bytes:
    """Return the file with another length for the kernel's last axis."""
    old = struct.pack("<4Q", *k.KERNEL.shape)
    assert HEALTHY.count(old) >= 1
    return HEALTHY.replace(old, struct.pack("<4Q", *k.KERNEL.shape[:3], length))


BYTES = {
    "hdf5/damaged": {
        "half of it": HEALTHY[: len(HEALTHY) // 2],
        "all but the last byte": HEALTHY[:-1],
        "the signature alone": HEALTHY[:8],
        "zeros behind the signature": HEALTHY[:8] + bytes(500),
        "a version that does not exist": HEALTHY[:8] + b"\x63" + HEALTHY[9:],
        "no B-trees": _overwritten(b"TREE", b"XREE"),
        "no heaps": _overwritten(b"HEAP", b"XEAP"),
        "no symbol tables": _overwritten(b"SNOD", b"XNOD"),
        "noise in place of the groups": HEALTHY[:96] + bytes(range(256)) * 30,
        "a checksum of the newest format": NEWEST[:44] + bytes([NEWEST[44] ^ 1]) + NEWEST[45:],
        "no object headers": _overwritten(b"OHDR", b"XHDR", NEWEST),
        "data behind the end": _moved(1 << 40),
        "more columns than bytes": _resized(4000),
    },
    "hdf5/overlap": {"two datasets in one place": _moved(None)},
    "hdf5/bad-size": {"fewer columns": _resized(1)},
}


@cases("hdf5 bytes", BYTES)
def _(folder: Path, content: bytes) -> Path:
    return _store(folder, content)


@case("keras/bad-config", "a config of a .keras archive that is empty")
def _(folder: Path) -> Path:
    return _store(folder, k.archive({"config.json": b""}), "model.keras")


assert len(list(itertools.chain(*CRAFTED.values(), *STRUCTURES.values(), *BYTES.values()))) >= 40
