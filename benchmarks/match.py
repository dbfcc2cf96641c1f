"""Match the networks of porter's tables with their own tables hidden: ``benchmarks/match.py [VARIANT ...]``.

TensorFlow builds each network with the code that defines it and saves it whole; `porter.match` then finds the
mapping to the table's PyTorch network from the file alone. Prints a line for each: proved or what is open,
whether the mapping found is the table's, and seconds; then the shares.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from porter.errors import PorterError
from porter.matching.match import match
from porter.tables.shipped import load_tables

BUILD = """
import sys, json
import tensorflow as tf
from porter.runners.builders import build
from porter.tables.shipped import load_tables
variant = load_tables().variant(sys.argv[1])
free = {name: each.default for name, each in variant.free.items()}
epsilon = variant.bn_eps.default if variant.bn_eps else None
model = build(variant.source.name, variant.source.arguments, bn_eps=epsilon, **free)
model.save(sys.argv[2])
"""


def main(names: list[str]) -> None:
    """Match the named variants, or every one that a builder makes a Keras model for."""
    tables = load_tables()
    proved = wrong = 0
    for name in names or list(tables.variants):
        variant = tables.variant(name)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.h5"
            made = subprocess.run(
                [sys.executable, "-c", BUILD, name, str(file)], capture_output=True, text=True, check=False
            )
            if made.returncode or not file.exists():
                last = (made.stderr.strip().splitlines() or ["no file"])[-1]
                print(f"{name}: not built as a file ({last[:150]})", flush=True)
                continue
            arguments = [f"{key}={json.dumps(value)}" for key, value in variant.target.arguments.items()]
            try:
                found = match(file, f"timm:{variant.target.name}", arguments=arguments, adjust=True)
            except PorterError as error:
                print(f"{name}: {error}", flush=True)
                continue
        same = {entry.target for entry in variant.entries} == {
            f"{layer.module}.{each['leaf']}" for layer in found.layers for each in layer.moved
        }
        proved += found.status == "proved"
        wrong += found.status == "proved" and not same
        seconds = time.perf_counter() - started
        first = f" ({found.open[0]})" if found.open else ""
        print(
            f"{name}: {found.status}{first}, targets {'equal' if same else 'differ'}, {seconds:.0f} s",
            flush=True,
        )
    print(f"{proved} proved, of which {wrong} with other targets than the table's")


if __name__ == "__main__":
    main(sys.argv[1:])
