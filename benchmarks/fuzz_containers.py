"""Damages files of every container that holds no checksums of its own, and reads them.

    python benchmarks/fuzz_containers.py [COUNT=20000] [FIRST=0] [--only NAME ...]

Healthy files of Keras, frozen graphs, TensorFlow.js and TensorFlow Lite are damaged in turn, or those named.
Every trial must be refused with a CheckpointError, or be read. HDF5 and GraphDef hold no checksums of
numbers, so damage to those cannot be noticed. A crash or a hang of the HDF5 library is counted: the reader
keeps it in a process of its own and refuses the file. Any other exception is printed with its seed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / part) for part in ("", "tests/checkpoints")]

from container_mutations import ContainerMutator, sources  # noqa: E402  (found by the line above)

_CONTAINED = ("refused", "opened", "crash", "hang")


def main(count: int, first: int, names: Collection[str]) -> int:
    """Run the trials; return the number of failures."""
    counts: Counter[str] = Counter()
    memory = Path("/dev/shm")  # noqa: S108  (trials are small files, written and deleted 20,000 times)
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        mutator = ContainerMutator(Path(folder), names)
        for seed in range(first, first + count):
            outcome = mutator.trial(seed)
            counts[outcome if outcome in _CONTAINED else "failure"] += 1
            if outcome not in ("refused", "opened"):
                print(f"seed {seed}: {outcome}", flush=True)
    print(f"{count} trials: {dict(counts)}")
    return counts["failure"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=20_000)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--only", nargs="+", choices=list(sources()), default=list(sources()))
    asked = parser.parse_args()
    sys.exit(1 if main(asked.count, asked.first, asked.only) else 0)
