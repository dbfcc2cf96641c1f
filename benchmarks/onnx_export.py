"""Export networks to ONNX, static and dynamic, and compare every stage with PyTorch.

Prints, per network and export, the worst stage: in float64 (the reference evaluator), and in float32
(onnxruntime, graph as written and optimised) with the share of the bound from measured noise.

    python benchmarks/onnx_export.py conv_small hybrid_medium --sizes 224 225 200 256x192
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch

import porter
from porter.capturing import capture
from porter.metadata import describe
from porter.onnx_export import export_onnx
from porter.parity import compare
from porter.planning import plan
from porter.random_checkpoint import RandomCheckpoint
from porter.random_weights import image_input
from porter.recording import Provenance, Recording
from porter.runners.onnx import record_model
from porter.table_file import load_tables
from porter.tables import Variant
from porter.tensors import Array
from porter.transfer import transfer

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


def examine(name: str, sizes: list[tuple[int, int]], static: tuple[int, int], folder: Path) -> None:
    """Export one network both ways and print what was found."""
    tables = load_tables()
    variant = tables.variant(name)
    checkpoint = RandomCheckpoint(variant, 0)
    made = plan(checkpoint, tables, variant.name)
    path = folder / f"{name}.safetensors"
    transfer(checkpoint, made.assignments, path, metadata=describe(made, checkpoint.format, None))
    for size, shapes in ((static, [static]), (None, sizes)):
        exported = export_onnx(path, folder / "model.onnx", size=size, stages=variant.stages)
        inputs = [image_input(0, shape, 1) for shape in shapes]
        expected = record(path, variant, inputs, threads=1)
        model = onnx.load(exported.path)
        kind = f"static {size[0]}x{size[1]}" if size else "dynamic"
        print(f"{name:<14} {kind:<15} {exported.nodes:4} nodes {exported.nbytes / 1e6:6.1f} MB", flush=True)
        found = record_model(model, inputs, DTYPES, Provenance("onnx", name))
        for way, actual in zip(("as written", "optimised"), found, strict=True):
            for case in compare(expected, actual).cases:
                share = max(s.propagated.relative / s.propagated.tolerance for s in case.stages)
                print(f"    {way:<11} {case.name:<16} worst {case.worst:.1e}, {share:.2g} of the bound")


def main() -> None:
    """Read the command line and examine every network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--sizes", nargs="+", default=["224", "225", "200", "256x192"])
    parser.add_argument("--static", default="224")
    options = parser.parse_args()
    shapes = [tuple(map(int, (s.split("x") * 2)[:2])) for s in (*options.sizes, options.static)]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            examine(name, shapes[:-1], shapes[-1], Path(folder))


if __name__ == "__main__":
    main()
