"""Every malformed checkpoint, and a child process that opens them.

Run as ``python hostile_corpus.py FOLDER`` it writes them, opens each with 300 MB of memory to spare, and
prints what happened as JSON: name to (code or exception, text, seconds of processor time).
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import hostile_files  # noqa: F401  (registers its cases)
import hostile_graphs  # noqa: F401
import hostile_messages  # noqa: F401
import hostile_states  # noqa: F401
import hostile_tables  # noqa: F401
import hostile_tensors  # noqa: F401
import hostile_tfjs  # noqa: F401
import hostile_tflite  # noqa: F401
import hostile_v1  # noqa: F401
from hostile_registry import CASES

if find_spec("h5py"):  # they are made with h5py
    import hostile_hdf5  # noqa: F401
    import hostile_zip  # noqa: F401

SPARE = 300 << 20
HANG = 60


def attempt(path: Path) -> tuple[str, str]:
    """Open `path`, walk its graph, read everything; return the error's class or code, and its text."""
    from porter.checkpoints import open_checkpoint
    from porter.errors import CheckpointError

    try:
        with open_checkpoint(path) as checkpoint:
            _ = checkpoint.graph.paths
            for key in checkpoint.specs:
                checkpoint.verify(key)
                checkpoint.read(key)
    except CheckpointError as error:
        return error.code, str(error)
    except BaseException as error:  # noqa: BLE001  (whatever else escapes is what the test looks for)
        return type(error).__name__, str(error)
    return "opened", ""


def main(folder: Path) -> None:
    """Write every case, then limit memory, then open them all."""
    paths = {}
    for number, (name, (_, write)) in enumerate(CASES.items()):
        place = folder / str(number)
        place.mkdir()
        paths[name] = write(place)
    attempt(folder)  # everything is imported before memory is counted
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, used + SPARE))
    results = {}
    for name, path in paths.items():
        signal.alarm(HANG)
        begin = time.process_time()
        code, text = attempt(path)
        results[name] = code, text, time.process_time() - begin
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
