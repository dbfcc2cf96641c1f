"""Export networks to ONNX, static and dynamic, and compare every stage with PyTorch.

Prints a table with a row per network, export, way of running and size: the stage that comes nearest to its
bound, its error relative to the stage's largest value, and the bound. In float64 (the reference evaluator)
the bound is fixed; in float32 (onnxruntime, graph as written and as it optimises it) it comes from the
measured rounding noise of both sides. Exits with 1 where a stage exceeds its bound.

    python benchmarks/onnx_export.py conv_small hybrid_medium --sizes 224 225 200 256x192
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch

import porter
from porter.onnx.export import export_onnx
from porter.parity.compare import compare
from porter.parity.outcome import CaseResult
from porter.planning.plan import plan
from porter.porting.metadata import describe
from porter.recordings.capturing import capture
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.recordings.random_weights import image_input
from porter.recordings.recording import Provenance, Recording
from porter.runners.onnx import record_model
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant
from porter.tensors import Array
from porter.transfer.transfer import transfer

DTYPES = ("float64", "float32")


def record(path: Path, variant: Variant, inputs: Sequence[Array], threads: int) -> Recording:
    """Return PyTorch's recording; GELU has TensorFlow's float32 constant in float64, as in a parity check."""
    from porter.runners.torch import TensorFlowGelu

    torch.set_num_threads(threads)
    runs = []
    for dtype in DTYPES:
        model = porter.load_model(path).to(getattr(torch, dtype))
        if dtype == "float64" and variant.float64_activation:
            for name, module in list(model.named_modules()):
                if type(module).__name__ == "GELU":
                    model.set_submodule(name, TensorFlowGelu())
        modules = {stage.name: stage.target[-1] for stage in variant.stages}
        with torch.inference_mode(), capture(model, modules) as seen:
            for values in inputs:
                model(torch.from_numpy(values.transpose(0, 3, 1, 2).astype(dtype)))
        runs += seen.recording().runs
    return Recording(Provenance("torch", variant.name), tuple(runs))


def examine(name: str, sizes: list[tuple[int, int]], static: tuple[int, int], folder: Path) -> bool:
    """Export one network both ways and print what was found; return whether all of it is in parity."""
    tables = load_tables()
    variant = tables.variant(name)
    checkpoint = RandomCheckpoint(variant, 0)
    made = plan(checkpoint, tables, variant.name)
    path = folder / f"{name}.safetensors"
    transfer(checkpoint, made.assignments, path, metadata=describe(made, checkpoint.format, None))
    passed = True
    for size, shapes in ((static, [static]), (None, sizes)):
        exported = export_onnx(path, folder / "model.onnx", size=size, stages=variant.stages)
        inputs = [image_input(0, shape, 1) for shape in shapes]
        expected = record(path, variant, inputs, threads=1)
        found = record_model(onnx.load(exported.path), inputs, DTYPES, Provenance("onnx", name))
        kind = f"static, {exported.nodes} nodes" if size else f"dynamic, {exported.nodes} nodes"
        for way, actual in zip(("as written", "optimised"), found, strict=True):
            for case in compare(expected, actual).cases:
                passed &= case.passed
                print(row(name, kind, way, case), flush=True)
    return passed


def row(name: str, kind: str, way: str, case: CaseResult) -> str:
    """Return one line of the table."""
    nearest = max(case.stages, key=lambda stage: stage.propagated.relative / stage.propagated.tolerance)
    found = nearest.propagated
    verdict = "passed" if case.passed else "FAILED"
    return (
        f"{name:<14} {kind:<19} {way:<10} {case.name:<16} {nearest.name:<12}"
        f" {found.relative:8.1e} {found.tolerance:8.1e} {found.relative / found.tolerance:6.2f} {verdict}"
    )


def main() -> None:
    """Read the command line and examine every network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--sizes", nargs="+", default=["224", "225", "200", "256x192"])
    parser.add_argument("--static", default="224")
    options = parser.parse_args()
    shapes = [tuple(map(int, (s.split("x") * 2)[:2])) for s in (*options.sizes, options.static)]
    print(
        f"{'network':<14} {'export':<19} {'graph':<10} {'run':<16} {'stage':<12}"
        f" {'error':>8} {'bound':>8} {'share':>6}"
    )
    with tempfile.TemporaryDirectory() as folder:
        passed = [examine(name, shapes[:-1], shapes[-1], Path(folder)) for name in options.networks]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
