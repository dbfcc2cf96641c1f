"""The numpy program of a stage is the stage."""

from __future__ import annotations

import numpy as np
import pytest

from porter.diagnosis.arithmetic import ACTIVATIONS, GATES, conv2d
from porter.diagnosis.program import Conv, GlobalPool, Machine, Residual, edited, layers
from porter.diagnosis.recipes import Conventions, StageFacts, program

CONVENTIONS = Conventions("relu", "sigmoid", "relu", "same", 1e-3)


@pytest.mark.torch
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["conv_small", "hybrid_medium"])
def test_programs_compute_what_every_stage_computes(network, name):
    """From weights and shapes alone, each stage's program gives the reference's output to rounding."""
    sound = network(name)
    outputs = sound.expected.runs[0].stages
    assert len(sound.stages) > 5
    for stage in sound.stages:
        x = sound.inputs[stage.name].numpy()
        out = outputs[stage.name].channels_first()
        held = {n: w for n, w in sound.weights.items() if any(n.startswith(f"{m}.") for m in stage.target)}
        stride = round(x.shape[2] / out.shape[2]) if out.ndim == 4 and out.shape[2] > 1 else 1

        made = program(StageFacts(stage.target, held, stride, x.shape == out.shape, {}), CONVENTIONS)

        assert np.abs(Machine().run(made, x) - out).max() < 1e-12 * np.abs(out).max(), stage.name


@pytest.mark.torch
@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(3, 1, 1), (3, 2, 1), (5, 2, 4), (1, 1, 1)])
def test_convolution_is_that_of_torch(size, kernel, stride, groups):
    """With symmetric padding the convolution equals PyTorch's."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 4, size, size)), rng.normal(size=(4, 4 // groups, kernel, kernel))

    wanted = torch.nn.functional.conv2d(
        torch.from_numpy(x), torch.from_numpy(w), stride=stride, padding=(kernel - 1) // 2, groups=groups
    )

    np.testing.assert_allclose(conv2d(x, w, stride, "symmetric", groups), wanted.numpy(), atol=1e-13)


@pytest.mark.torch
def test_activations_are_those_of_torch():
    """Every function with a counterpart in PyTorch equals it."""
    torch = pytest.importorskip("torch")
    x = np.linspace(-8, 8, 1001)
    given, nn = torch.from_numpy(x), torch.nn.functional

    for name, function in {
        "relu": nn.relu,
        "relu6": nn.relu6,
        "gelu (exact)": nn.gelu,
        "gelu (tanh)": lambda t: nn.gelu(t, approximate="tanh"),
        "silu": nn.silu,
        "hard_swish": nn.hardswish,
        "leaky_relu (0.01)": nn.leaky_relu,
    }.items():
        np.testing.assert_allclose(ACTIVATIONS[name](x), function(given).numpy(), atol=1e-14, err_msg=name)
    np.testing.assert_allclose(GATES["sigmoid"](x), torch.sigmoid(given).numpy(), atol=1e-15)
    np.testing.assert_allclose(
        GATES["hard_sigmoid (relu6(x + 3) / 6)"](x), nn.hardsigmoid(given).numpy(), atol=1e-15
    )


def test_an_edit_leaves_everything_else_the_same_object():
    """What is unchanged is not computed again, which rests on identity."""
    inner, other = Conv("a", np.ones((2, 2, 1, 1))), Conv("b", np.ones((2, 2, 1, 1)))
    before = (Residual("r", (inner, other)), GlobalPool("p"))
    new = Conv("a", np.zeros((2, 2, 1, 1)))

    after = edited(before, {inner: new})

    assert [layer is old for layer, old in zip(layers(after), layers(before), strict=True)] == [
        False,
        False,
        True,
        True,
    ]


def test_a_machine_repeats_only_what_an_edit_changes():
    """The remembered prefix is used and the result is that of a machine without memory."""
    rng = np.random.default_rng(0)
    convs = tuple(Conv(name, rng.normal(size=(3, 3, 3, 3))) for name in "abc")
    x = rng.normal(size=(1, 3, 6, 6))
    machine = Machine(learning=True)
    machine.run(convs, x)
    machine.learning = False
    changed = edited(convs, {convs[1]: Conv("b", np.ones((3, 3, 3, 3)))})

    np.testing.assert_array_equal(machine.run(changed, x), Machine().run(changed, x))


def test_layers_of_no_recipe_are_not_guessed():
    """A stage with a layer that no recipe has is left alone."""
    weights = {"blk.conv.weight": np.ones((2, 2, 1, 1)), "blk.strange.weight": np.ones((2,))}

    assert program(StageFacts(("blk",), weights, 1, True, {}), CONVENTIONS) is None
