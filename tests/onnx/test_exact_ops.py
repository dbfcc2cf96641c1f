"""float64 of an ONNX file is what its rounded numbers stand for."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = [pytest.mark.onnx, pytest.mark.torch]

X = np.random.default_rng(0).normal(scale=3, size=(2, 5, 8))


def evaluated(nodes, **weights):
    """What the reference evaluator makes of X in float64, from a file with float32 attributes."""
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    from porter.onnx.exact_ops import EXACT_OPS

    x, y = (helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in "xy")
    stored = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "graph", [x], [y], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    return ReferenceEvaluator(model, new_ops=[*EXACT_OPS]).run(None, {"x": X})[0]


@pytest.mark.parametrize("kind", ["HardSwish", "HardSigmoid"])
def test_hard_activations_have_an_exact_sixth(kind):
    """1/6 is stored in float32, 3e-8 away from what the network computes with."""
    import torch
    from onnx import helper

    attributes = {"alpha": 1 / 6, "beta": 0.5} if kind == "HardSigmoid" else {}
    meant = getattr(torch.nn.functional, kind.lower())(torch.from_numpy(X)).numpy()

    assert np.abs(evaluated([helper.make_node(kind, ["x"], ["y"], **attributes)]) - meant).max() < 1e-14


@pytest.mark.parametrize(
    ("kind", "function", "alpha"),
    [("LeakyRelu", "leaky_relu", 0.3), ("LeakyRelu", "leaky_relu", 1 / 3), ("Elu", "elu", 0.7)],
)
def test_slopes_are_what_the_network_was_written_with(kind, function, alpha):
    """0.3 is stored in float32, 1e-8 away."""
    import torch
    from onnx import helper

    meant = getattr(torch.nn.functional, function)(torch.from_numpy(X), alpha).numpy()

    assert np.abs(evaluated([helper.make_node(kind, ["x"], ["y"], alpha=alpha)]) - meant).max() < 1e-14


def test_layer_norm_is_computed_in_float64_with_the_epsilon_that_was_meant():
    """Neither its mean nor its epsilon goes through float32."""
    import torch
    from onnx import helper

    scale, bias = np.random.default_rng(1).normal(size=(2, 8))
    node = helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["y"], axis=-1, epsilon=1e-3)
    meant = torch.nn.functional.layer_norm(
        *map(torch.from_numpy, (X,)), (8,), *map(torch.from_numpy, (scale, bias)), 1e-3
    )

    assert np.abs(evaluated([node], scale=scale, bias=bias) - meant.numpy()).max() < 1e-14


def test_gelu_of_a_vision_transformer_is_tensorflows_in_float64(ported, variant, tmp_path):
    """Its first block agrees in float64 with PyTorch's, whose GELU has TensorFlow's constants."""
    import onnx
    import torch

    import porter
    from porter.onnx.export import export_onnx
    from porter.recordings.random_weights import image_input
    from porter.recordings.recording import Provenance
    from porter.runners.onnx import record_model
    from porter.runners.torch import TensorFlowTanhGelu

    name = "garden_vit_tiny_patch16_224"
    first = variant(name).stages[:3]
    export_onnx(ported(name), tmp_path / "vit.onnx", size=(224, 224), stages=first)
    image = image_input(0, (224, 224), 1)
    found, _ = record_model(onnx.load(tmp_path / "vit.onnx"), [image], ("float64",), Provenance("onnx", name))
    model = porter.load_model(ported(name)).double()
    model.blocks[0].mlp.act = TensorFlowTanhGelu()
    seen = []
    model.blocks[0].register_forward_hook(lambda _module, _args, output: seen.append(output))
    with torch.inference_mode():
        model(torch.from_numpy(image.transpose(0, 3, 1, 2).astype("float64")))
    values = found.runs[0].stages["blocks.0"].values

    assert first[-1].name == "blocks.0"
    assert np.abs(values - seen[0].numpy()).max() < 1e-12 * np.abs(values).max()


def test_computed_weights_are_taken_as_they_were_before_rounding(exported):
    """A bias that was folded into a mean is not the file's rounded one in float64; every other weight is."""
    from onnx import numpy_helper

    from porter.onnx.graph import widen

    model, _ = exported("conv_small", (64, 64))
    given = np.full(1000, 0.1)
    plain, exact = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
        for made in (widen(model), widen(model, {"classifier.bias": given}))
    )

    assert (exact.pop("classifier.bias") == given).all()
    assert all((values == plain[name]).all() for name, values in exact.items())
