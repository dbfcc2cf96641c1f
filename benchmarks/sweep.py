"""A sweep of checkpoints in one pair of processes against single checks: time, and memory of this process.

Run as ``python benchmarks/sweep.py [COUNT]``. Single checks are measured on three and scaled to COUNT.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import porter

_SINGLES = 3
_PROGRAM = """
import sys, tf_keras
for number in range(int(sys.argv[2])):
    tf_keras.utils.set_random_seed(number)
    network = tf_keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None)
    network.save_weights(f"{sys.argv[1]}/{number}.weights.h5")
"""


def main(count: int) -> None:
    """Write the checkpoints, check them both ways and print the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", _PROGRAM, folder, str(count)], check=True, capture_output=True)
        files = [Path(folder) / f"{number}.weights.h5" for number in range(count)]
        started = time.perf_counter()
        for file in files[:_SINGLES]:
            assert porter.check(checkpoint=file, sizes=[64]).passed
        single = (time.perf_counter() - started) / min(_SINGLES, count)
        peaks = []

        def note(_checked: object) -> None:
            peaks.append(max(_resident("tensorflow"), _resident("torch")))

        started = time.perf_counter()
        found = porter.check_many(files, sizes=[64], done=note)
        together = time.perf_counter() - started
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{sum(each.passed for each in found)} of {count} have parity")
    print(f"one by one: {single:.1f} s each ({_SINGLES} measured), {single * count:.0f} s for {count}")
    print(f"together: {together:.1f} s, {100 * together / (single * count):.0f} % of that")
    print(f"largest framework process after 5, half, all: {peaks[4]}, {peaks[count // 2]}, {peaks[-1]} MiB")
    print(f"this process, at most: {own:.0f} MiB")


def _resident(framework: str) -> int:
    """Return the resident memory in MiB of this process's child that runs a framework."""
    for folder in Path("/proc/self/task").glob("*/children"):
        for pid in folder.read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            if f"porter.runners.{framework}" in words:
                status = Path(f"/proc/{pid}/status").read_text()
                return int(status.partition("VmRSS:")[2].split()[0]) // 1024
    return 0


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
