"""Faults that MobileNetV4 cannot have, on networks that can: hard-sigmoid gates and biases to fold.

    python benchmarks/faults_elsewhere.py [--size 64]

The networks are in no table. Their weights are drawn at random, and each is recorded by module names as a
user would (`porter.capture`); the local column is run here.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import fault_injection as faults
import numpy as np
import timm
import torch
from torch import nn

from porter.core.checkpoint import Array
from porter.diagnosis import diagnose
from porter.parity.compare import compare
from porter.recordings.activation import Activation
from porter.recordings.capturing import capture
from porter.recordings.recording import Provenance, Recording, Run


def randomise(model: nn.Module, seed: int) -> None:
    """Make every parameter matter: statistics and affine parameters away from their initial values."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        leaf = name.rpartition(".")[2]
        if leaf in ("running_mean", "bias"):
            tensor.uniform_(-0.5, 0.5, generator=draw)
        elif leaf == "running_var" or (leaf == "weight" and tensor.ndim == 1):
            tensor.uniform_(0.5, 1.5, generator=draw)
        elif leaf == "weight":
            tensor.normal_(0.0, (2.0 / tensor[0].numel()) ** 0.5, generator=draw)


def record(model: nn.Module, stages: list[str], x: torch.Tensor) -> Recording:
    """Record the outputs of the stages by name."""
    with torch.inference_mode(), capture(model, stages) as seen:
        model(x)
    return seen.recording()


def with_local(model: nn.Module, actual: Recording, expected: Recording) -> Recording:
    """Add what every stage but the first gives on the reference's own input of that stage."""
    (run,), (reference,) = actual.runs, expected.runs
    names = list(reference.stages)
    local = {names[0]: run.stages[names[0]]}
    with torch.inference_mode():
        for before, name in itertools.pairwise(names):
            x = torch.from_numpy(reference.stages[before].values.copy())
            local[name] = Activation.full(model.get_submodule(name)(x).numpy(), "NCHW")
    return Recording(Provenance("torch", "faulty"), (Run(run.dtype, run.input, run.stages, local),))


def unfolded(weights: Mapping[str, Array], mutant: faults.Mutant, model: nn.Module) -> dict[str, Array]:
    """The weights as a Keras checkpoint holds them: the bias apart from the mean."""
    name = f"{mutant.place}.running_mean"
    with mutant.change():
        mean = model.get_buffer(name).numpy().copy()
    conv = mutant.place.replace("bn", "conv").replace("downsample.1", "downsample.0")
    held: dict[str, Array] = {}
    for key, value in weights.items():
        held[key] = mean if key == name else value
        if key == f"{conv}.weight":
            held[f"{conv}.bias"] = mean - weights[name]
    return held


def networks() -> Iterator[tuple[str, list[str]]]:
    """Yield a timm model and the stages to record."""
    inner = {"tf_mobilenetv3_large_100": ("bn1", "blocks"), "resnet50": ("maxpool", "layer")}
    for name, (first, prefix) in inner.items():
        model = timm.create_model(name)
        blocks = [
            n for n, _ in model.named_modules() if n.startswith(prefix) and n.count(".") == _depth(prefix)
        ]
        yield name, [first, *blocks]


def _depth(prefix: str) -> int:
    return 2 if prefix == "blocks" else 1


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, stages in networks():
        model = timm.create_model(name).double().eval()
        randomise(model, 0)
        weights = {n: t.numpy().copy() for n, t in model.state_dict().items() if t.ndim}
        draw = np.random.default_rng(0)
        x = torch.from_numpy(draw.uniform(-2, 2, (2, 3, options.size, options.size)))
        expected = record(model, stages, x)
        folds = name.startswith("resnet")
        for mutant in faults.fold_mutants(model) if folds else faults.gate_mutants(model):
            owner = next((s for s in stages if mutant.place.startswith(f"{s}.")), None)
            if owner is None:
                continue
            given = unfolded(weights, mutant, model) if folds else weights
            with mutant.change():
                actual = with_local(model, record(model, stages, x), expected)
            report = compare(expected, actual)
            count = counts[f"{mutant.fault} ({name})"]
            count["mutants"] += 1
            count["found"] += not report.passed
            count["stage"] += report.first_bad_stage == owner
            for column, known in (("named", given), ("patterns", None)):
                found = diagnose(report, expected, actual, weights=known)
                count[column] += bool(found) and found[0].cause in mutant.cause
    print(f"{'fault':<62}{'mutants':>8}{'found':>7}{'stage':>7}{'named':>7}{'patterns':>9}")
    for fault, count in counts.items():
        figures = (count[column] for column in ("mutants", "found", "stage", "named", "patterns"))
        mutants, found, stage, named, patterns = figures
        print(f"{fault:<62}{mutants:>8}{found:>7}{stage:>7}{named:>7}{patterns:>9}")


if __name__ == "__main__":
    main()
