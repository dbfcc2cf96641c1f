"""Seeded damage to Keras files and frozen graphs, each trial in a process of its own.

The reader has the HDF5 library in a child process per file. Here one process with the library loaded forks
for each trial instead, which is a hundred times faster and shows the same: whatever the library does to the
forked process it would have done to the child, and everything else is the reader's own code.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import hostile_graphs
import hostile_tfjs
import hostile_tflite
import keras_writer as k
import numpy as np
from mutations import flip, read_all, scramble, truncate

HANG = 30
_REFUSED, _OPENED, _ESCAPED = 0, 1, 2


def sources() -> dict[str, bytes]:
    """Return a healthy file of every kind, by name."""
    options = {"chunks": True, "compression": 4, "shuffle": True}
    return {
        "legacy.h5": k.hdf5(k.legacy),
        "full.h5": k.hdf5(lambda file: k.legacy(file, config=k.CONFIG)),
        "latest.h5": k.hdf5(k.legacy, libver="latest"),
        "packed.h5": k.hdf5(_packed),
        "state.weights.h5": k.hdf5(k.state),
        "model.keras": k.archive(),
        "packed.keras": k.archive(compression=zipfile.ZIP_DEFLATED),
        "frozen.pb": hostile_graphs.HEALTHY,
        "quantised.pb": hostile_graphs.QUANTISED,
        "layers.zip": hostile_tfjs.WHOLE,
        "graph.json": hostile_tfjs.GRAPH_FILE,
        "model.tflite": hostile_tflite.HEALTHY,
        "normed.tflite": hostile_tflite.NORMED,
        "reduced.tflite": hostile_tflite.REDUCED,
        "prepared.tflite": hostile_tflite.PREPARED,
        "chunks.h5": k.hdf5(lambda file: _chunks(file, options)),
    }


def _packed(file: Any) -> None:
    k.state(file)
    file.create_dataset("extra", data=np.arange(4096.0), compression=9, shuffle=True)


def _chunks(file: Any, options: dict[str, Any]) -> None:
    k.legacy(file)
    file.create_dataset("extra", data=np.arange(60, dtype=">i4").reshape(6, 10), **options)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Damage `content` once, or up to five times in one neighbourhood or all over."""
    data = content
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = (
            rng.choice((flip, flip, truncate if len(data) > 1 else flip, scramble, _word))(data, rng) or b"\0"
        )
    return data


def _word(data: bytes, rng: random.Random) -> bytes:
    """Overwrite an aligned word of 2, 4 or 8 bytes by an extreme or a small number."""
    size = rng.choice((2, 4, 8))
    at = rng.randrange(max(1, len(data) // size)) * size
    value = rng.choice(
        (0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), rng.randrange(len(data)), rng.getrandbits(8))
    )
    return data[:at] + value.to_bytes(size, "little") + data[at + size :]


class ContainerMutator:
    """Damages files in one folder and reads them in forked processes."""

    def __init__(self, folder: Path, names: Collection[str]) -> None:
        """Write the healthy files of these names to `folder`."""
        from porter.formats.hdf5 import description

        self._folder = folder
        self._sources = {name: content for name, content in sources().items() if name in names}
        description._ask = _ask_here
        for name, content in self._sources.items():
            (folder / name).write_bytes(content)
            read_all(folder / name)  # loads everything, and shows that the healthy file is one

    def trial(self, seed: int) -> str:
        """Damage one file as `seed` says; return "refused", "opened", "crash" or "hang", or a traceback."""
        rng = random.Random(seed)  # noqa: S311  (repeatable damage, no secret)
        name = rng.choice(sorted(self._sources))
        path = self._folder / name
        path.write_bytes(damaged(self._sources[name], rng))
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(readable)
            _read_and_exit(path, writable)
        os.close(writable)
        with os.fdopen(readable) as pipe:
            message = pipe.read()
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            return "hang" if os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGXCPU) else "crash"
        return ("refused", "opened", f"{name}: {message}")[os.WEXITSTATUS(status)]


def _read_and_exit(path: Path, writable: int) -> None:
    from porter.errors import CheckpointError
    from porter.formats.hdf5 import child

    # Not in the process that forks: it would run into the limit that is meant for one file.
    child.limit()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(HANG)
    status = _ESCAPED
    try:
        read_all(path)
        status = _OPENED
    except CheckpointError as error:
        if "/" in error.code and "\n" not in str(error):
            status = _REFUSED
        else:
            os.write(writable, str(error).encode("utf-8", "replace")[:2000])
    except BaseException:  # noqa: BLE001  (whatever escapes the reader is what this looks for)
        import traceback

        os.write(writable, traceback.format_exc(limit=-4).encode("utf-8", "replace")[:4000])
    finally:
        sys.stderr.flush()
        os._exit(status)


def _ask_here(file: Any, offset: int, size: int) -> dict[str, Any]:
    """Do in this process what the child process does."""
    from porter.formats.hdf5 import child

    document: dict[str, Any] = json.loads(json.dumps(child.describe(file.descriptor, offset, size)))
    return document
