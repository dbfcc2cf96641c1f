"""Frozen graphs after TensorFlow's tools for inference: 8-bit weights, folded norms, other constants."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

from porter.checkpoints import open_checkpoint
from porter.cli.main import main

_WRITER = Path(__file__).with_name("write_graphs.py")


@pytest.fixture(scope="module")
def graphs(module_folder):
    """Folder of graphs that TensorFlow wrote, with what it computes of them."""
    if importlib.util.find_spec("tensorflow") is None:  # importing it here would forbid timm in this process
        pytest.skip("needs the [tensorflow] extra")
    out = module_folder("graphs")
    run_with_tensorflow(_WRITER, out)
    return out


@pytest.fixture(scope="module")
def reference(graphs):
    """What TensorFlow computes, by name."""
    with np.load(graphs / "reference.npz") as stored:
        return {name.replace("|", "/"): stored[name] for name in stored}


@pytest.mark.tensorflow
def test_quantised_constants_are_what_dequantize_gives(graphs, reference):
    """Every width and mode, to the bit; words and ranges are no variables of their own."""
    with open_checkpoint(graphs / "quantised.pb") as checkpoint:
        found = {key: checkpoint.read(key) for key in checkpoint.specs}
        remarks = checkpoint.remarks

    assert {key: value.tobytes() for key, value in found.items()} == {
        key: value.tobytes() for key, value in reference.items() if key.endswith("weights")
    }
    assert len(found) == 6
    assert len(remarks) == 1
    assert remarks[0].startswith(
        "6 weights are stored in 8 or 16 bits (quantize_graph) and ported as the float32"
    )


@pytest.mark.tensorflow
def test_a_folded_norm_is_given_back(graphs, reference):
    """Its variables have their names and compute what the graph computes; a rate is no variable."""
    with open_checkpoint(graphs / "optimised.pb") as checkpoint:
        found = {key: checkpoint.read(key) for key in checkpoint.specs}
        network = checkpoint.stored_network

    assert set(found) == {
        "Net/Conv2d_0/weights",
        *(f"Net/Conv2d_0/BatchNorm/{n}" for n in ("gamma", "beta", "moving_mean", "moving_variance")),
    }
    norm = next(operation for operation in network.operations if operation.kind == "norm")
    weights = {role: found[key] for role, key in norm.variables.items()}
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(reference["x"], ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2)
    )
    convolved = np.einsum("nhwcij,ijco->nhwo", windows, found["Net/Conv2d_0/weights"])
    scale = weights["gamma"] / np.sqrt(weights["variance"] + norm.attributes["epsilon"])
    computed = (convolved - weights["mean"]) * scale + weights["beta"]
    assert np.abs(0.5 * np.clip(computed, 0, 6) - reference["y"]).max() < 1e-6


@pytest.mark.torch
@pytest.mark.tensorflow
def test_published_quantised_graph_computes_the_same(real_checkpoints, tmp_path):
    """MobileNetV1 of TensorFlow for Poets in 8 bits: timm's logits are TensorFlow's."""
    source = real_checkpoints / "poets-frozen" / "quantized_graph.pb"
    run_with_tensorflow(_WRITER, tmp_path, source)
    main(["port-weights", str(source), str(tmp_path / "out.safetensors")], standalone_mode=False)
    import porter

    with np.load(tmp_path / "answer.npz") as stored:
        x, y = stored["x"][:1], stored["y"]
    import torch

    model = porter.load_model(tmp_path / "out.safetensors").eval()
    with torch.no_grad():
        found = model(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    assert np.abs(found - y).max() < 2e-5 * np.abs(y).max()
