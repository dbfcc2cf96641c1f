"""Match the networks of porter's tables with their own tables hidden.

Usage: ``benchmarks/match.py [--smallest N] [VARIANT ...]``: the N smallest networks of every builder (1 if
not said), or those that are named. TensorFlow builds each with the code that defines it, gives it weights of
which no two are equal, and saves it whole; `porter.match` then finds the mapping to the table's PyTorch
network from that file alone. Prints a line for each: proved or what is open first, whether the port by the
table found is the port by porter's own, and seconds; then the shares.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import porter
from porter.errors import PorterError
from porter.matching.match import match
from porter.matching.result import MatchResult
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

BUILD = """
import sys
import numpy as np
import tensorflow as tf
from porter.runners.builders import build, source_of
from porter.tables.shipped import load_tables
variant = load_tables().variant(sys.argv[1])
free = {name: each.default for name, each in variant.free.items()}
epsilon = variant.bn_eps and variant.bn_eps.default
if source_of(variant.source.name).fixed_size:
    free["size"] = (224, 224)
model = build(variant.source.name, variant.source.arguments, bn_eps=epsilon, **free)
rng = np.random.default_rng(0)
model(tf.zeros((1, 224, 224, 3)))
for each in model.variables:
    if each.dtype.is_floating and "kernel" not in each.name:
        scales = "gamma" in each.name or "variance" in each.name
        each.assign(rng.uniform(0.6, 1.4, each.shape) if scales else rng.normal(0, 0.1, each.shape))
if variant.source.name.startswith("keras."):
    model.save(sys.argv[2])
else:  # layers of somebody's own class can be loaded from a graph alone
    call = tf.function(lambda images: model(images, training=False))
    call = call.get_concrete_function(tf.TensorSpec((None, 224, 224, 3)))
    tf.saved_model.save(model, sys.argv[3], signatures=call)
"""


def main() -> None:
    """Match the networks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smallest", type=int, default=1)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path(__file__).parent)])
    variants = load_tables().variants
    names = given.names or [each.name for each in _smallest(list(variants.values()), given.smallest)]
    outcomes: Counter[str] = Counter()
    seconds = []
    for name in names:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            outcome, words = _matched(variants[name], Path(folder))
        outcomes[outcome] += 1
        seconds.append(time.perf_counter() - started)
        print(f"{name}: {outcome}, {seconds[-1]:.0f} s: {words}", flush=True)
    print(f"{len(names)} networks, median {statistics.median(seconds):.0f} s: {dict(outcomes)}")


def _smallest(variants: list[Variant], count: int) -> list[Variant]:
    by_builder = defaultdict(list)
    for variant in variants:
        if variant.source.name != "stand_in.variant":
            by_builder[variant.source.name].append(variant)
    return [each for group in by_builder.values() for each in sorted(group, key=_size)[:count]]


def _size(variant: Variant) -> int:
    shapes = [[each for each in entry.target_shape if isinstance(each, int)] for entry in variant.entries]
    return sum(map(math.prod, shapes))


def _matched(variant: Variant, folder: Path) -> tuple[str, str]:
    keras, saved = folder / "model.h5", folder / "saved"
    command = [sys.executable, "-c", BUILD, variant.name, str(keras), str(saved)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    file = keras if keras.exists() else saved
    if made.returncode:
        return "not built", (made.stderr.strip().splitlines() or ["no file"])[-1][:200]
    arguments = [f"{key}={json.dumps(value)}" for key, value in variant.target.arguments.items()]
    target = f"timm:{variant.target.name}"
    if variant.network is not None:
        target, arguments = "match_network:build", [f"variant={variant.name}"]
    try:
        found = match(file, target, arguments=arguments, adjust=True)
    except PorterError as error:
        return "refused", str(error)[:300]
    if found.status == "draft":
        return "draft", f"{len(found.open)} open, {found.open[0][:300]}"
    try:
        differing = _differing(found, variant, file, folder)
    except PorterError as error:
        return "proved, not compared", str(error)[:300]
    words = f"{len(found.layers)} layers, worst {found.worst:.1e}"
    return ("proved", words) if not differing else ("proved, other port", f"{differing} first")


def _differing(found: MatchResult, variant: Variant, file: Path, folder: Path) -> str:
    """Port by the table found and by the variant's own; return the first tensor that differs, or ""."""
    found.save(folder / "found.toml")
    porter.port(file, folder / "found.safetensors", tables=porter.load_tables(folder / "found.toml"))
    porter.port(file, folder / "own.safetensors", variant=variant.name)
    ours, own = (load_file(folder / f"{name}.safetensors") for name in ("found", "own"))
    names = (each for each in ours.keys() | own.keys() if not each.endswith("num_batches_tracked"))
    for name in sorted(names):
        if name not in ours or name not in own or not np.array_equal(ours[name], own[name]):
            return name
    return ""


if __name__ == "__main__":
    main()
