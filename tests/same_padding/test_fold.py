"""The static fold: equal where it holds, a clear refusal where it does not."""

import warnings

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from torch import nn  # noqa: E402  after the check that torch is there

from porter.same_padding import (  # noqa: E402
    AvgPool2dSame,
    Conv2dSame,
    MaxPool2dSame,
    SamePaddingError,
    emulate_same_padding,
    fold_same_padding,
    restore_padding,
)


def network(**factory):
    """Return a network with every kind of SAME layer: dense, depthwise, pools, even kernels."""
    torch.manual_seed(0)
    return nn.Sequential(
        Conv2dSame(3, 8, 3, 2, **factory),
        nn.BatchNorm2d(8, **factory),
        Conv2dSame(8, 8, (5, 4), 2, groups=8, **factory),
        MaxPool2dSame(3, 2),
        AvgPool2dSame(2, 1),
        Conv2dSame(8, 4, 2, 3, **factory),
    )


@pytest.mark.parametrize("size", [(64, 64), (65, 65), (64, 65), (49, 70)])
def test_folded_equals_dynamic(size):
    """Values and gradients are bit for bit those of the dynamic model, at even, odd and mixed sizes."""
    model, x = network(dtype=torch.float64), torch.randn(2, 3, *size, dtype=torch.float64)
    dynamic = model(x)
    gradients = torch.autograd.grad(dynamic.square().sum(), list(model.parameters()))

    changes = fold_same_padding(model, size)
    folded = model(x)

    assert [change.name for change in changes] == ["0", "2", "3", "4", "5"]
    assert torch.equal(folded, dynamic)
    for ours, theirs in zip(
        torch.autograd.grad(folded.square().sum(), list(model.parameters())), gradients, strict=True
    ):
        assert torch.equal(ours, theirs)


def test_symmetric_layers_become_native():
    """At 65 a 3x3 stride-2 layer pads (1, 1) and says so; at 64 its pads differ and are constant."""
    model = network()

    assert fold_same_padding(model, 65)[0].action == "native"
    assert "padding=(1, 1), input_size=(65, 65)" in repr(model[0])
    assert fold_same_padding(model, (64, 64))[0].action == "constant"
    assert "padding=(0, 1, 0, 1), input_size=(64, 64)" in repr(model[0])


def test_another_size_is_refused():
    """The message names the module, the size it was folded for and the size it got."""
    model = network()
    fold_same_padding(model, (64, 48))
    message = r"module '0' was folded for one input size; expected 64x48, found 64x50\."
    with pytest.raises(SamePaddingError, match=message) as refused:
        model(torch.zeros(1, 3, 64, 50))
    assert refused.value.code == "same-padding/input-size"


@pytest.mark.parametrize("size", [(1, 1), (16, 1), (1, 256), (8, 32), (32, 32)])
def test_a_trace_refuses_another_size(size):
    """Not even a size that would broadcast, or that has as many pixels, gets through."""
    model = nn.Sequential(Conv2dSame(3, 8, 3, 2))
    fold_same_padding(model, (16, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated but still met
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(model, torch.zeros(1, 3, 16, 16))

    x = torch.rand(2, 3, 16, 16)
    assert torch.allclose(traced(x), model(x), atol=1e-6)
    with pytest.raises(RuntimeError):
        traced(torch.zeros(1, 3, *size))


def test_a_symbolic_trace_refuses_another_size():
    """A folded model can be traced by torch.fx, and the graph checks the size."""
    model = network()
    fold_same_padding(model, (64, 64))
    traced = torch.fx.symbolic_trace(model)

    x = torch.rand(1, 3, 64, 64)
    assert torch.allclose(traced(x), model(x), atol=1e-6)
    with pytest.raises(AssertionError, match="module '0' takes"):
        traced(torch.zeros(1, 3, 64, 65))


def test_layers_that_were_built_as_same_take_every_size_again():
    """`restore_padding` undoes the fold of layers that nobody emulated."""
    model = network()
    fold_same_padding(model, (64, 64))

    assert [change.action for change in restore_padding(model)] == ["restored"] * 5
    model(torch.zeros(1, 3, 49, 70))
    assert restore_padding(model) == ()


def test_a_layer_called_by_keyword_is_folded():
    """`conv(input=x)` is as good a call as any."""

    class Keyword(nn.Sequential):
        def forward(self, x):
            return self[0](input=x)

    assert fold_same_padding(Keyword(Conv2dSame(3, 8, 3, 2)), (64, 64))[0].action == "constant"


def test_weights_may_change_after_the_fold():
    """Loading, training and writing through `.data` after a fold are seen by the next call."""
    model, other = network(), network()
    fold_same_padding(model, (64, 64))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model(x)
        for parameter in other.parameters():
            parameter.uniform_(-1, 1)
    model.load_state_dict(other.state_dict())
    assert torch.equal(model(x), other(x))

    for net in (model, other):
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        net(x).square().mean().backward()
        optimizer.step()
        net[2].weight.data.mul_(2)
        net.eval()
    with torch.no_grad():
        assert torch.equal(model(x), other(x))


def test_the_run_leaves_no_trace():
    """Training flags, batch statistics, hooks and random state are as before."""
    model = network()
    model[2].eval()
    statistics, state = model[1].running_mean.clone(), torch.get_rng_state()
    fold_same_padding(model, (64, 64))

    assert [module.training for module in model.modules()] == [True, True, True, False, True, True, True]
    assert torch.equal(model[1].running_mean, statistics)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in model.modules())


class Pyramid(nn.Module):
    """One layer applied to its own output."""

    def __init__(self):
        super().__init__()
        self.down = Conv2dSame(3, 3, 3, 2)

    def forward(self, x):
        """Halve twice."""
        return self.down(self.down(x))


def test_a_layer_used_at_two_sizes_is_refused():
    """A layer without a single padding cannot be folded; the model stays as it was."""
    model = Pyramid()
    with pytest.raises(
        SamePaddingError, match=r"'down' is called at several .*; .* found 16x16, 32x32"
    ) as refused:
        fold_same_padding(model, (32, 32))
    assert refused.value.code == "same-padding/several-sizes"
    assert model(torch.zeros(1, 3, 30, 30)).shape == (1, 3, 8, 8)


def test_a_failed_fold_keeps_the_earlier_one():
    """When a second fold is refused, the first one still holds."""
    model = nn.Sequential(Conv2dSame(3, 3, 3, 2), nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    fold_same_padding(model, (32, 32))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fold_same_padding(model, (40, 40))
    assert "input_size=(32, 32)" in repr(model[0])


class Branches(nn.Module):
    """Two layers of which one is never called."""

    def __init__(self):
        super().__init__()
        self.a, self.b = Conv2dSame(3, 3, 3, 2), Conv2dSame(3, 3, 3, 2)

    def forward(self, x):
        """Use the first."""
        return self.a(x)


def test_a_layer_the_run_does_not_reach_stays_dynamic():
    """An unused layer is listed as kept."""
    model = Branches()

    assert [(change.name, change.action) for change in fold_same_padding(model, (32, 32))] == [
        ("a", "constant"),
        ("b", "kept"),
    ]


def test_a_model_that_was_not_emulated_is_refused():
    """A foreign SAME layer would stay dynamic and unguarded, so the fold asks for the emulation first."""

    class Same(nn.Conv2d):
        def forward(self, x):
            sides = [s for n in x.shape[:1:-1] for s in ((0, 1) if n % 2 == 0 else (1, 1))]
            return nn.functional.conv2d(nn.functional.pad(x, sides), self.weight, self.bias, self.stride)

    with pytest.raises(SamePaddingError, match=r"module '0' \(Same\) pads as SAME") as refused:
        fold_same_padding(nn.Sequential(Same(3, 3, 3, 2)), (32, 32))
    assert refused.value.code == "same-padding/not-emulated"


def test_a_model_without_convolution_is_refused():
    """There is nothing to take the number of channels from."""
    with pytest.raises(SamePaddingError) as refused:
        fold_same_padding(nn.Sequential(MaxPool2dSame(3, 2)), (32, 32))
    assert refused.value.code == "same-padding/no-convolution"


def test_a_model_with_nothing_to_fold_is_left_alone():
    """Where every layer is symmetric at every size the fold has nothing to do."""
    model = nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1))
    emulate_same_padding(model)

    assert fold_same_padding(model, (32, 32)) == ()
