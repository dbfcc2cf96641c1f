"""CPU seconds that a refusal costs, child processes included, beside `port-weights --version`.

python benchmarks/refusals.py [FILE | FOLDER ...]

Three networks that no table knows are written and refused, and with them every file and every folder below
those given (a folder of the published checkpoints, say, or of models that a person's Keras wrote) that the
command refuses; what it ports is passed over. Prints how many were refused and the slowest ten, and exits
with 1 if one costs a second or more.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

RUNS = 3
SHOWN = 10
ENOUGH = 1.0
# pip compiles what it installs; in a checkout the round that is not counted does, unless it is told not to.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
SQUEEZENET = [
    (size, inputs, filters)
    for squeezed, expanded, inputs in [
        (16, 64, 64),
        (16, 64, 128),
        (32, 128, 128),
        (32, 128, 256),
        (48, 192, 256),
        (48, 192, 384),
        (64, 256, 384),
        (64, 256, 512),
    ]
    for size, inputs, filters in [(1, inputs, squeezed), (1, squeezed, expanded), (3, squeezed, expanded)]
]
WIDTHS = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
VGG16 = [(3, WIDTHS[n], WIDTHS[n + 1]) for n in range(13)]
DENSENET = [shape for n in range(58) for shape in [(1, 64 + 32 * n, 128), (3, 128, 32)]]


def write(path: Path, convolutions: list[tuple[int, int, int]]) -> None:
    """Write weights of `convolutions` (size, inputs, outputs) as Keras's first format does."""
    with h5py.File(path, "w") as file:
        names = [f"conv_{n}" for n in range(len(convolutions))]
        file.attrs["layer_names"] = np.array(names, "S")
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.4.0"
        for name, (size, inputs, outputs) in zip(names, convolutions, strict=True):
            layer = file.create_group(name)
            layer.attrs["weight_names"] = np.array([f"{name}/kernel:0", f"{name}/bias:0"], "S")
            layer[f"{name}/kernel:0"] = np.zeros((size, size, inputs, outputs), np.float32)
            layer[f"{name}/bias:0"] = np.zeros(outputs, np.float32)


def seconds(*arguments: object, runs: int = 1) -> tuple[float, str]:
    """Return the least CPU time of a command, children included, and its stderr if it failed."""
    least = float("inf")
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(
            [Path(sys.executable).with_name("port-weights"), *map(str, arguments)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=ENVIRONMENT,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least, ended.stderr if ended.returncode else ""


def written(folder: Path) -> Iterator[Path]:
    """Write the networks that no table knows."""
    for name, convolutions in [("SqueezeNet", SQUEEZENET), ("VGG16", VGG16), ("DenseNet", DENSENET)]:
        file = folder / f"{name}.h5"
        write(file, convolutions)
        yield file


def below(given: Path) -> Iterator[Path]:
    """Yield a file, or a folder and everything in it."""
    yield given
    if given.is_dir():
        yield from sorted(given.rglob("*"))


def main() -> None:
    """Refuse everything, and print what took longest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("given", type=Path, nargs="*", metavar="FILE | FOLDER")
    given = parser.parse_args().given
    start, _ = seconds("--version", runs=RUNS)
    print(f"port-weights --version  {start:.2f} s")
    refused: list[tuple[float, Path, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.safetensors"
        for source in (*written(Path(folder)), *(each for path in given for each in below(path))):
            spent, said = seconds(source, out)
            if said and spent > ENOUGH / 2:
                spent, said = seconds(source, out, runs=RUNS)  # how much of it was the machine?
            if said:
                refused.append((spent, source, said))
    refused.sort(reverse=True)
    print(f"{len(refused)} refused; the slowest:")
    for spent, source, said in refused[:SHOWN]:
        reason = next((line for line in said.splitlines() if line.startswith("Error")), said)[:90]
        place = f"{source.parent.name}/{source.name}"
        print(f"  {spent:.2f} s, {spent / start:.1f} times  {place}: {reason}")
    sys.exit(any(spent >= ENOUGH for spent, _, _ in refused))


if __name__ == "__main__":
    main()
