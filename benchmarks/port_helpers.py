"""Small jobs that `port.py` runs in processes of their own, so that its own memory stays out of the figures.

Usage: python port_helpers.py mapping CHECKPOINT MAPPING.json
       python port_helpers.py same ONE.safetensors OTHER.safetensors
       python port_helpers.py plan CHECKPOINT with|without
       python port_helpers.py network CHECKPOINT
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open

import porter
from porter.transfer.tensor_blocks import target_axes

_ROWS = 20_000
_ROUNDS = 30


def write_mapping(checkpoint: str, out: str) -> None:
    """Write the mapping that `ordinary_script.py` is given."""
    with porter.open_checkpoint(checkpoint) as source:
        plan = porter.plan(source, porter.load_tables())
    rows: list[object] = []
    for item in plan.assignments:
        if item.constant is not None:
            rows.append([None, item.target, [], list(item.shape)])
        else:
            (part,) = item.parts
            rows.append([part.key, item.target, target_axes(part.layout), list(item.shape)])
    Path(out).write_text(json.dumps(rows))


def write_plan(checkpoint: str, network: str) -> None:
    """Plan a port, with or without the network that the source describes; print the process's milliseconds.

    The child that reads HDF5, which is the same for both, is not among them.
    """
    planned(checkpoint, network)
    print(1000 * time.process_time())


def planned(checkpoint: str, network: str) -> None:
    """Plan a port."""
    with porter.open_checkpoint(checkpoint) as source:
        if network == "without":
            source.read_network = None
        porter.plan(source)


def write_network(checkpoint: str) -> None:
    """Print the milliseconds of processor time that the network adds to a plan: best of many, in turn."""
    taken: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(_ROUNDS):
        for network, times in taken.items():
            started = time.process_time()
            planned(checkpoint, network)
            times.append(time.process_time() - started)
    print(1000 * (min(taken["with"]) - min(taken["without"])))


def pieces(rows: int) -> Iterator[tuple[int, int]]:
    """Cut `rows` into ranges that fit the memory."""
    for start in range(0, rows, _ROWS):
        yield start, min(start + _ROWS, rows)


def require_same(one: str, other: str) -> None:
    """Exit with an error unless both files hold the same tensors, bit for bit."""
    with safe_open(one, "numpy") as left, safe_open(other, "numpy") as right:
        if set(left.keys()) != set(right.keys()):
            sys.exit("the files hold different tensors")
        for name in left.keys():  # noqa: SIM118 - this is no dictionary
            a, b = left.get_slice(name), right.get_slice(name)
            same = a.get_shape() == b.get_shape() and a.get_dtype() == b.get_dtype()
            if same and a.get_shape():
                same = all(a[i:j].tobytes() == b[i:j].tobytes() for i, j in pieces(a.get_shape()[0]))
            elif same:
                same = left.get_tensor(name).tobytes() == right.get_tensor(name).tobytes()
            if not same:
                sys.exit(f"{name} differs")


if __name__ == "__main__":
    jobs = {"mapping": write_mapping, "same": require_same, "plan": write_plan, "network": write_network}
    jobs[sys.argv[1]](*sys.argv[2:])
