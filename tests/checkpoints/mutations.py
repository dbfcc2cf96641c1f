"""Seeded damage to healthy checkpoints, and what the reader must make of it."""

from __future__ import annotations

import random
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bundle_writer as w
import numpy as np

from porter.checkpoints import open_checkpoint
from porter.errors import CheckpointError

HANG = 20
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0xFE)
Files = dict[str, bytes]
Tensors = dict[str, bytes]


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "dense/kernel": rng.standard_normal((3, 4)).astype(np.float32),
        "dense/bias": np.arange(4, dtype=np.int64),
        "flag": np.array([True, False, True]),
        "name": np.array([b"one", b"", b"three" * 9], object),
        "scalar": np.float64(2.5).reshape(()),
        "zeros": np.zeros(400, np.uint8),
    }


def _bundle(shards: int = 1, *, sliced: bool = False) -> w.Bundle:
    bundle = w.Bundle(shards=shards)
    for number, (name, array) in enumerate(_arrays().items()):
        bundle.put(name, array, number % shards)
    if sliced:
        grid = np.arange(60, dtype=np.float32).reshape(6, 10)
        bundle.put_slices("grid", grid, [((0, 3), (0, None)), ((3, 3), (0, 4)), ((3, 3), (4, 6))])
    return bundle


def _with_graph(bundle: w.Bundle) -> w.Bundle:
    root = w.graph_node({"dense": 1, "me": 0, "optimizer": 4})
    dense = w.graph_node({"kernel": 2, "bias": 3})
    leaves = [w.graph_node(key=key, full_name=key) for key in ("dense/kernel", "dense/bias")]
    slots = w.graph_node(slots=((2, "momentum", 3),))
    bundle.put(w.GRAPH_KEY, w.string_scalar(b"".join([root, dense, *leaves, slots])))
    return bundle


def _v1_pairs() -> list[tuple[bytes, bytes]]:
    rng = np.random.default_rng(2)
    tensors = {"a": rng.standard_normal((5, 3)).astype(np.float32), "b": np.arange(-4, 4, dtype=np.int32)}
    tensors["c"] = np.array([b"text", b""], object)
    return w.v1_entries(tensors)


@dataclass(frozen=True)
class Source:
    """A healthy checkpoint.

    Attributes:
        opened: The name to open.
        files: Name to content.
        table: Name of the file that is a table.
        pairs: The entries of that table.
        options: How the table was written.
    """

    opened: str
    files: Files
    table: str
    pairs: list[tuple[bytes, bytes]]
    options: dict[str, Any]


def sources(folder: Path) -> dict[str, Source]:
    """Write and return each kind of healthy checkpoint."""
    made: dict[str, Source] = {}
    for kind, bundle, options in (
        ("plain", _bundle(), {}),
        ("snappy", _bundle(), {"snappy": True, "per_block": 3}),
        ("shards", _bundle(3), {"per_block": 2}),
        ("sliced", _bundle(2, sliced=True), {"per_block": 4}),
        ("graph", _with_graph(_bundle()), {}),
    ):
        place = folder / kind
        place.mkdir()
        bundle.store(place / "ckpt-1", **options)
        files = {path.name: path.read_bytes() for path in sorted(place.iterdir())}
        made[kind] = Source("ckpt-1", files, "ckpt-1.index", bundle.pairs, options)
    options = {"snappy": True, "per_block": 2}
    files = {"model.ckpt": w.table(_v1_pairs(), **options)}
    made["v1"] = Source("model.ckpt", files, "model.ckpt", _v1_pairs(), options)
    lines = b'model_checkpoint_path: "ckpt-1"\nall_model_checkpoint_paths: "ckpt-1"\n'
    made["state"] = replace(made["plain"], opened=".", files={"checkpoint": lines, **made["plain"].files})
    return made


def read_all(path: Path) -> Tensors:
    """Open `path`, walk its graph, and return the bytes of every tensor."""
    found = {}
    with open_checkpoint(path) as checkpoint:
        _ = checkpoint.graph.paths, checkpoint.graph.slots, checkpoint.stored_network
        for key, spec in checkpoint.specs.items():
            array = checkpoint.read(key)
            assert array.shape == spec.shape
            assert not array.flags.writeable
            block = checkpoint.read_block(key, tuple(slice(None) for _ in spec.shape))
            assert block.tobytes() == array.tobytes() or array.dtype == object
            found[key] = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return found


# --- damage -----------------------------------------------------------------------------------------------


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flip one to three bits."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def truncate(data: bytes, rng: random.Random) -> bytes:
    """Cut the end off."""
    return data[: rng.randrange(len(data))]


def scramble(data: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite with extreme bytes, insert, delete or repeat a piece."""
    out = bytearray(data)
    at = rng.randrange(len(out))
    size = rng.randint(1, 12)
    choice = rng.randrange(5)
    if choice == 0:
        return flip(data, rng)
    if choice == 1:
        out[at] = rng.choice(EXTREMES)
    elif choice == 2:
        out[at:at] = rng.choice((bytes([rng.choice(EXTREMES)]) * size, rng.randbytes(size)))
    elif choice == 3:
        del out[at : at + size]
    else:
        out[at:at] = out[at : at + size]
    return bytes(out) or b"\0"


def repaired(data: bytes, rng: random.Random) -> bytes:
    """Scramble one block of a table, or its footer, and make every checksum right again."""
    (index_offset, index_size), blocks = _blocks(data)
    if rng.randrange(20) == 0:
        return data[:-48] + scramble(data[-48:-8], rng)[:40].ljust(40, b"\0") + data[-8:]
    target = rng.randrange(len(blocks) + 1)
    if target == len(blocks):
        contents = scramble(data[index_offset : index_offset + index_size], rng)
        body = data[:index_offset]
        return body + w.sealed(contents) + w.footer((0, 0), (len(body), len(contents)))
    pairs = []
    for number, (last, offset, size) in enumerate(blocks):
        contents, kind = data[offset : offset + size], data[offset + size]
        if number == target:
            contents, kind = _scrambled_block(contents, kind, rng)
        pairs.append((last, w.sealed(contents, kind)))
    return w.assemble(pairs)


def rebuilt(source: Source, rng: random.Random) -> bytes:
    """Scramble one key or value of a table, and write the table anew around it."""
    pairs = list(source.pairs)
    at = rng.randrange(len(pairs))
    key, value = pairs[at]
    if rng.random() < 0.1:
        key = scramble(key or b"\0", rng)
    else:
        value = scramble(value, rng)
    pairs[at] = key, value
    return w.table(pairs if rng.random() < 0.2 else sorted(pairs), **source.options)


def _scrambled_block(contents: bytes, kind: int, rng: random.Random) -> tuple[bytes, int]:
    if kind == 1 and rng.random() < 0.5:
        from porter.formats.snappy import decompress

        return w.compress(scramble(decompress(contents), rng)), 1
    return scramble(contents, rng), kind if rng.random() < 0.95 else rng.randrange(3)


def _blocks(data: bytes) -> tuple[tuple[int, int], list[tuple[bytes, int, int]]]:
    """Return the index block's place, and (last key, offset, size) of each block of a healthy table."""
    numbers, _ = _varints(data[-48:], 4)
    offset, size = numbers[2:]
    contents = data[offset : offset + size]
    found, position = [], 0
    end = len(contents) - 4 * (struct.unpack("<I", contents[-4:])[0] + 1)
    while position < end:
        (_, unshared, length), step = _varints(
            contents[position:], 3
        )  # restart interval 1: nothing is shared
        key = contents[position + step : position + step + unshared]
        position += step + unshared
        (start, block_size), _ = _varints(contents[position:], 2)
        found.append((key, start, block_size))
        position += length
    return (offset, size), found


def _varints(data: bytes, count: int) -> tuple[list[int], int]:
    values, position = [], 0
    for _ in range(count):
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        values.append(value)
    return values, position


def repaired_graph(rng: random.Random) -> w.Bundle:
    """Return a bundle whose object graph is scrambled and whose checksums are right."""
    bundle = _with_graph(_bundle())
    entry = bundle.entries[w.GRAPH_KEY]
    (offset,), _ = _varints(entry[entry.index(b"\x12\x00\x20") + 3 :], 1)
    graph = bytes(bundle.files[0][offset + 5 :])
    graph = graph[1:] if graph[0] & 0x80 else graph  # the length takes two bytes above 127
    del bundle.files[0][offset:]
    bundle.put(w.GRAPH_KEY, w.string_scalar(scramble(graph, rng)))
    return bundle


# --- trials -----------------------------------------------------------------------------------------------


def _damaged(source: Source, rng: random.Random, *, is_graph: bool, is_repaired: bool) -> Files:
    files = dict(source.files)
    if is_graph and is_repaired and rng.random() < 0.7:
        bundle = repaired_graph(rng)
        return {"ckpt-1.index": bundle.index(), "ckpt-1.data-00000-of-00001": bytes(bundle.files[0])}
    if is_repaired and rng.random() < 0.5:
        files[source.table] = rebuilt(source, rng)
    elif is_repaired:
        files[source.table] = repaired(files[source.table], rng)
    else:
        target = "checkpoint" if "checkpoint" in files and rng.random() < 0.7 else rng.choice(sorted(files))
        files[target] = rng.choice((flip, truncate, scramble))(files[target], rng)
    return files


def _refusal(error: CheckpointError) -> str:
    assert "/" in error.code, error
    assert "\n" not in str(error), error
    return "refused"


class Mutator:
    """Applies seeded damage in one folder; `outcome` says what the reader did."""

    def __init__(self, folder: Path) -> None:
        (folder / "sources").mkdir()
        self._folder = folder / "trial"
        self._folder.mkdir()
        self._sources = sources(folder / "sources")
        self._right = {}
        for kind, source in self._sources.items():
            self._store(source.files)
            self._right[kind] = read_all(self._folder / source.opened)

    def trial(self, seed: int) -> str:
        """Damage one checkpoint as `seed` says; return "refused", "same" or "other".

        Raises:
            AssertionError: wrong bytes although no checksum was repaired.
            Exception: whatever else escaped the reader.
        """
        rng = random.Random(seed)  # noqa: S311  (repeatable damage, no secret)
        kind = rng.choice(list(self._sources))
        source = self._sources[kind]
        is_repaired = rng.random() < 0.5 and kind != "state"
        self._store(_damaged(source, rng, is_graph=kind == "graph", is_repaired=is_repaired))
        with alarm(HANG):
            try:
                found = read_all(self._folder / source.opened)
            except CheckpointError as error:
                return _refusal(error)
        if found == self._right[kind]:
            return "same"
        assert is_repaired, f"wrong bytes from {kind}"
        return "other"

    def _store(self, files: Files) -> None:
        for path in self._folder.iterdir():
            if path.name not in files:
                path.unlink()
        for name, content in files.items():
            (self._folder / name).write_bytes(content)


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise TimeoutError where the block takes longer; a guard against hangs, and no measurement."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
