"""Damages checkpoints and reads them: ``python benchmarks/fuzz_reader.py [COUNT=100000] [FIRST_SEED=0]``.

Every trial must end in CheckpointError, or in the right bytes (any bytes where the damage repaired the
checksums). Anything else is printed with its seed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / part) for part in ("", "tests/checkpoints")]

from mutations import Mutator  # noqa: E402  (found by the line above)

SPARE = 300 << 20


def main(count: int, first: int) -> int:
    """Run the trials with 300 MB of memory to spare; return the number of failures."""
    counts: Counter[str] = Counter()
    failures = 0
    memory = Path("/dev/shm")  # noqa: S108  (trials are small files, written and deleted 100,000 times)
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        mutator = Mutator(Path(folder))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, used + SPARE))
        for seed in range(first, first + count):
            try:
                counts[mutator.trial(seed)] += 1
            except Exception:  # noqa: BLE001  (whatever escapes the reader is what this looks for)
                failures += 1
                print(f"seed {seed}:", traceback.format_exc(limit=-4), flush=True)
    print(f"{count} trials: {dict(counts)}, {failures} failures")
    return failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("first", type=int, nargs="?", default=0)
    asked = parser.parse_args()
    sys.exit(1 if main(asked.count, asked.first) else 0)
