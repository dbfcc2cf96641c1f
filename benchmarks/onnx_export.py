"""Export a network of every family to ONNX, static, folded and dynamic, and compare every stage with PyTorch.

Prints a table with a row per network, export, way of running and size: the stage that comes nearest to its
bound, its error relative to the stage's largest value, and the bound. In float64 (the reference evaluator)
the bound is fixed; in float32 (onnxruntime, graph as written and as it optimises it) it comes from the
measured rounding noise of both sides. Folded kernels are rounded to float32 once, so that the logits of a
folded export may differ by a rounding for every norm that was folded. An export that is refused by name is
a row, too. Exits with 1 where a stage exceeds its bound.

    python benchmarks/onnx_export.py
    python benchmarks/onnx_export.py conv_small hybrid_medium --static 224 --sizes 224 225 200 256x192
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import torch

import porter
from porter.core.checkpoint import Array
from porter.errors import OutputError
from porter.onnx.export import Exported, export_onnx
from porter.onnx.graph import stage_names
from porter.outputs.metadata import describe
from porter.parity.compare import compare
from porter.parity.outcome import CaseResult
from porter.parity.tolerances import Tolerances
from porter.planning.plan import plan
from porter.recordings.capturing import capture
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.recordings.random_weights import image_input
from porter.recordings.recording import Provenance, Recording
from porter.runners.onnx import record_model
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant
from porter.transfer.transfer import transfer

DTYPES = ("float64", "float32")
FAMILIES = (
    "conv_small", "mobilenetv4_conv_blur_medium", "mobilenetv4_conv_aa_large", "garden_mobilenetv1_025",
    "garden_mobilenetv2_035", "garden_mobilenetv3_small_100", "garden_mobilenetv3_edgetpu",
    "garden_mobilenet_multi_max", "garden_efficientnet_b0", "garden_resnet50", "garden_resnet50d",
    "garden_resnetrs50", "garden_vit_tiny_patch16_224", "edgetpu_mobilenet_v1", "edgetpu_mobilenet_v2_tiny",
    "keras_mobilenetv1_025", "keras_mobilenetv2_035", "keras_mobilenetv3_small_100", "keras_efficientnet_b0",
    "keras_efficientnetv2_b0", "keras_resnet50", "mlperf_tiny_vww", "hf_mobilevit_xxs",
    "slim_mobilenetv1_025", "slim_mobilenetv2_035", "tpu_mixnet_s", "tpu_mnasnet_small",
)  # fmt: skip


def record(path: Path, variant: Variant, inputs: Sequence[Array], threads: int) -> Recording:
    """Return PyTorch's recording; GELU has TensorFlow's float32 constant in float64, as in a parity check."""
    from porter.runners.torch import TensorFlowGelu, TensorFlowTanhGelu

    replacements = {"GELU": TensorFlowGelu, "GELUTanh": TensorFlowTanhGelu}
    torch.set_num_threads(threads)
    runs = []
    for dtype in DTYPES:
        model = porter.load_model(path).to(getattr(torch, dtype))
        if dtype == "float64" and variant.float64_activation:
            for name, module in list(model.named_modules()):
                if type(module).__name__ in replacements:
                    model.set_submodule(name, replacements[type(module).__name__]())
        modules = {stage.name: stage.target[-1] for stage in variant.stages}
        with torch.inference_mode(), capture(model, modules) as seen:
            for values in inputs:
                model(torch.from_numpy(values.transpose(0, 3, 1, 2).astype(dtype)))
        runs += seen.recording().runs
    return Recording(Provenance("torch", variant.name), tuple(runs))


def examine(name: str, sizes: list[tuple[int, int]], static: tuple[int, int], folder: Path) -> bool:
    """Export one network in every way and print what was found; return whether all of it is in parity."""
    tables = load_tables()
    variant = tables.variant(name)
    if variant.input.check_sizes == (variant.input.size,):
        static = (variant.input.size, variant.input.size)
    checkpoint = RandomCheckpoint(variant, 0)
    made = plan(checkpoint, tables, variant=variant.name)
    path = folder / f"{name}.safetensors"
    transfer(checkpoint, made.assignments, path, metadata=describe(made, checkpoint.format, None))
    passed = True
    for kind, shapes in (("static", [static]), ("static folded", [static]), ("dynamic", sizes)):
        size = None if kind == "dynamic" else static
        try:
            exported = export_onnx(
                path,
                folder / "model.onnx",
                size=size,
                fold_bn="folded" in kind,
                stages=variant.stages[-1:] if "folded" in kind else variant.stages,
            )
        except OutputError as refusal:
            print(f"{variant.name:<30} {kind:<24} refused: {refusal.code}", flush=True)
            continue
        passed &= compared(path, variant, exported, kind, shapes)
    path.unlink()
    return passed


def compared(
    path: Path, variant: Variant, exported: Exported, kind: str, shapes: Sequence[tuple[int, int]]
) -> bool:
    """Compare an export with PyTorch at every size, print a row per case, and return whether all agree."""
    inputs = [image_input(0, shape, 1) for shape in shapes]
    expected = record(path, variant, inputs, threads=1)
    model = onnx.load(exported.path)
    names = stage_names(model)
    kept = [replace(run, stages={name: run.stages[name] for name in names}) for run in expected.runs]
    expected = replace(expected, runs=tuple(kept))
    folded = len(exported.folding.folded) if exported.folding else 0
    bounds = Tolerances({"float64": folded * 2.0**-24}) if folded else Tolerances()
    passed = True
    found = record_model(model, inputs, DTYPES, Provenance("onnx", variant.name))
    for way, actual in zip(("as written", "optimised"), found, strict=True):
        for case in compare(expected, actual, tolerances=bounds).cases:
            passed &= case.passed
            if way == "as written" or case.dtype == "float32":
                print(row(variant.name, f"{kind}, {exported.nodes} nodes", way, case), flush=True)
    return passed


def row(name: str, kind: str, way: str, case: CaseResult) -> str:
    """Return one line of the table."""
    nearest = max(case.stages, key=lambda stage: stage.propagated.relative / stage.propagated.tolerance)
    found = nearest.propagated
    verdict = "passed" if case.passed else "FAILED"
    return (
        f"{name:<30} {kind:<24} {way:<10} {case.name:<16} {nearest.name:<12}"
        f" {found.relative:8.1e} {found.tolerance:8.1e} {found.relative / found.tolerance:6.2f} {verdict}"
    )


def main() -> None:
    """Read the command line and examine every network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=FAMILIES)
    parser.add_argument("--sizes", nargs="+", default=["64", "65"])
    parser.add_argument("--static", default="64")
    options = parser.parse_args()
    shapes = [tuple(map(int, (s.split("x") * 2)[:2])) for s in (*options.sizes, options.static)]
    print(
        f"{'network':<30} {'export':<24} {'graph':<10} {'run':<16} {'stage':<12}"
        f" {'error':>8} {'bound':>8} {'share':>6}"
    )
    with tempfile.TemporaryDirectory() as folder:
        passed = [examine(name, shapes[:-1], shapes[-1], Path(folder)) for name in options.networks]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
