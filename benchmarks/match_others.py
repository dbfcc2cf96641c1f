"""Give other methods the names and shapes that `benchmarks/match.py` matched, and count what they find.

Usage: ``benchmarks/match_others.py FILE [--weightbridge PYTHON] [--seconds N] [--most N]``

FILE is what ``benchmarks/match.py --results FILE`` wrote: for each network TensorFlow's variables in the
order in which the model made them, PyTorch's parameters in the order of its state dict, and the variables
that porter's own table puts into each. The baseline gives each parameter the next variable of its role and
shape. weightbridge 0.0.4 runs with the Python of an environment that has it (``pip install
weightbridge==0.0.4``), a process for each network that is given N seconds (180 if not said), on the N
smallest if said. Neither is asked for layouts, epsilon or padding: a pairing counts as right where every
parameter has its own variable.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections import Counter, defaultdict
from pathlib import Path

from match import Row, rows_of

_RUN = """
import json, sys
import numpy as np
import weightbridge
given = json.load(sys.stdin)
def values(named):
    return {name: np.broadcast_to(np.float32(n), shape) for n, (name, shape) in enumerate(named)}
try:
    found = weightbridge.adapt(values(given["variables"]), values(given["parameters"]),
                               in_format="tensorflow", out_format="pytorch")
except Exception as error:
    json.dump({"words": f"{type(error).__name__}: {error}"[:200]}, sys.stderr)
    sys.exit(3)
json.dump({name: int(value.reshape(-1)[0]) for name, value in found.items()}, sys.stderr)
"""
_COUNTER = "num_batches_tracked"
_ROLES = {
    **dict.fromkeys(("kernel", "gamma", "depthwise_kernel"), "weight"),
    **dict.fromkeys(("bias", "beta"), "bias"),
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
Pairing = dict[str, int]


def main() -> None:
    """Run both on every network of the file; print a line for each, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--weightbridge")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--most", type=int)
    given = parser.parse_args()
    rows = [row for row in rows_of(given.results).values() if row.get("parameters")]
    for row in rows:
        row["parameters"] = [each for each in row["parameters"] if not each[0].endswith(_COUNTER)]
    counts = Counter(_judged(_in_order(row), row) for row in rows)
    print(f"same shape, same role, in order: {_told(counts)}")
    if given.weightbridge:
        rows.sort(key=lambda row: len(row["parameters"]))
        _run_weightbridge(given.weightbridge, rows[: given.most], given.seconds)


def _run_weightbridge(python: str, rows: list[Row], seconds: float) -> None:
    counts: Counter[str] = Counter()
    taken = []
    for row in rows:
        started = time.perf_counter()
        outcome, words = _weightbridge(python, row, seconds)
        taken.append(time.perf_counter() - started)
        counts[outcome] += 1
        print(f"{row['name']}: weightbridge: {outcome}, {taken[-1]:.0f} s {words}", flush=True)
    print(f"weightbridge 0.0.4: {_told(counts)}, median {statistics.median(taken):.0f} s")


def _weightbridge(python: str, row: Row, seconds: float) -> tuple[str, str]:
    unique = Counter(name for name, _ in row["variables"])
    variables = [
        (name if unique[name] == 1 else f"{name}_{number}", shape)
        for number, (name, shape) in enumerate(row["variables"])
    ]
    try:
        done = subprocess.run(
            [python, "-c", _RUN],
            input=json.dumps({"variables": variables, "parameters": row["parameters"]}),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return "none", f"(not done in {seconds:.0f} s)"
    try:
        answer = json.loads(done.stderr.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return "none", f"(ended with {done.returncode})"
    return ("none", f"({answer['words']})") if done.returncode else (_judged(answer, row), "")


def _in_order(row: Row) -> Pairing | None:
    """Give each parameter the next variable of its role and shape; None where one is left without."""
    left: dict[object, list[int]] = defaultdict(list)
    for place, (name, shape) in enumerate(row["variables"]):
        left[_kind(name, shape)].append(place)
    found = {}
    for name, shape in row["parameters"]:
        waiting = left[name.rpartition(".")[2], tuple(shape)]
        if not waiting:
            return None
        found[name] = waiting.pop(0)
    return found if not any(left.values()) else None


def _kind(name: str, shape: list[int]) -> tuple[str, tuple[int, ...]]:
    """Return the leaf and the shape that a variable has in PyTorch."""
    leaf = name.rpartition("/")[2]
    turned = tuple(reversed(shape)) if len(shape) == 2 else tuple(shape)
    if len(shape) == 4 and "depthwise" in leaf:
        turned = (shape[2] * shape[3], 1, *shape[:2])
    elif len(shape) == 4:
        turned = (shape[3], shape[2], *shape[:2])
    return _ROLES.get(leaf, leaf), turned


def _judged(found: Pairing | None, row: Row) -> str:
    """Say whether every parameter has its own variable: "right", "wrong", or "none" found."""
    if found is None:
        return "none"
    wanted = {name: places for name, places in row["truth"].items() if not name.endswith(_COUNTER)}
    return "right" if {name: [place] for name, place in found.items()} == wanted else "wrong"


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{outcome} {counts[outcome]}" for outcome in ("right", "wrong", "none"))


if __name__ == "__main__":
    main()
