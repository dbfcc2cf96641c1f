"""A sweep of checkpoints in one pair of processes against single checks: time, and memory of the processes.

Run as ``python benchmarks/sweep.py [COUNT [NETWORK]]``, NETWORK being one of tf_keras.applications;
MobileNet of a quarter of the width if not said. Single checks are measured on two, one before the sweep and
one after it, and scaled to COUNT. Seconds of CPU are those of the framework processes, which other programs
on the machine do not change.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import porter

_SIZE = 64
_PROGRAM = """
import sys, tf_keras
folder, name, size = sys.argv[1], sys.argv[2], int(sys.argv[4])
narrow = {"alpha": 0.25} if name == "MobileNet" else {}
network = getattr(tf_keras.applications, name)(input_shape=(size, size, 3), weights=None, **narrow)
weights = network.get_weights()
for number in range(int(sys.argv[3])):
    network.set_weights([value * (1 + number / 1000) for value in weights])
    network.save_weights(f"{folder}/{number}.weights.h5")
"""


class Cost(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


def main(count: int, network: str) -> None:
    """Write the checkpoints, check them both ways and print the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, "-c", _PROGRAM, folder, network, str(count), str(_SIZE)]
        subprocess.run(arguments, check=True, capture_output=True)
        files = [Path(folder) / f"{number}.weights.h5" for number in range(count)]
        peaks: list[int] = []

        def note(_checked: object) -> None:
            peaks.append(max(_resident("tensorflow"), _resident("torch")))

        single = [_measured(lambda: porter.check(checkpoint=files[0], sizes=[_SIZE]))]
        together = _measured(lambda: porter.check_many(files, sizes=[_SIZE], done=note))
        single.append(_measured(lambda: porter.check(checkpoint=files[-1], sizes=[_SIZE])))
    alone = Cost(*(sum(column) / len(single) for column in zip(*single, strict=True)))
    print(f"{network}: {len(peaks)} of {count} have parity")
    for what, one, all_of_them in zip(Cost._fields, alone, together, strict=True):
        share = 100 * all_of_them / (one * count)
        more = (all_of_them - one) / (count - 1)
        print(f"{what}: {one:.1f} s for one alone, {all_of_them:.1f} s for {count} together, {share:.0f} %;")
        print(f"  {more:.2f} s for one more, so that 50 take {100 * (one + 49 * more) / (50 * one):.0f} %")
    print(f"largest framework process after 5, half, all: {peaks[4]}, {peaks[count // 2]}, {peaks[-1]} MiB")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"this process, at most: {own:.0f} MiB")


def _measured(work: Callable[[], object]) -> Cost:
    began, before = time.perf_counter(), _seconds_of_children()
    found = work()
    assert all(each.passed for each in (found if isinstance(found, list | tuple) else [found]))
    cost = Cost(time.perf_counter() - began, _seconds_of_children() - before)
    print(f"  {cost.wall:.1f} s, {cost.cpu:.1f} s of CPU", flush=True)
    return cost


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=50)
    parser.add_argument("network", nargs="?", default="MobileNet")
    asked = parser.parse_args()
    main(asked.count, asked.network)
