"""Folding norms into convolutions: exact, complete where it can be, honest where it cannot."""

from __future__ import annotations

import pytest

from porter.errors import OutputError

pytestmark = pytest.mark.torch

# Trainable parameters with every norm and layer scale as one bias; the norms in front of the hybrids'
# attention cannot be folded and keep one parameter per channel more.
COUNTS = {
    "conv_small": (3_761_480, 0),
    "conv_medium": (9_681_560, 0),
    "conv_large": (32_516_088, 0),
    "hybrid_medium": (11_030_552, 4 * 160 + 4 * 256),
    "hybrid_large": (37_670_136, 4 * 192 + 4 * 512),
}


def build(name):
    """Return a float64 model in eval mode whose norms and layer scales are anything but the identity."""
    timm = pytest.importorskip("timm", reason="needs timm")
    import torch

    torch.manual_seed(0)
    model = timm.create_model(f"mobilenetv4_{name}", pad_type="same", bn_eps=1e-3).double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.3, 0.3),
                    (module.running_mean, -0.3, 0.3),
                    (module.running_var, 0.5, 2.0),
                ):
                    tensor.uniform_(low, high)
            if hasattr(module, "gamma"):
                module.gamma.uniform_(0.2, 1.0)
    return model


@pytest.mark.parametrize("name", COUNTS)
def test_folding_is_exact_and_complete(name):
    """The output is the same in float64, and the parameters are as many as the arithmetic says."""
    import torch

    from porter.networks.bn_folding import fold_batch_norm

    model = build(name)
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = model(image)
        folding = fold_batch_norm(model)
        after = model(image)
    folded, unfolded = COUNTS[name]

    assert float((after - before).abs().max() / before.abs().max()) < 1e-12
    assert sum(parameter.numel() for parameter in model.parameters()) == folded + unfolded
    assert bool(folding.unfolded) == bool(unfolded)


def test_norm_in_front_of_attention_is_listed():
    """Its shift would be added where SAME pads zeros: it stays, and its name is given."""
    from porter.networks.bn_folding import fold_batch_norm

    folding = fold_batch_norm(build("hybrid_medium"))

    assert folding.unfolded[0] == "blocks.2.4.norm"
    assert all(name.endswith(".norm") for name in folding.unfolded)


def test_convolution_that_others_use_is_not_folded():
    """Where the convolution's own output goes elsewhere too, the norm stays."""
    import torch
    from torch import nn

    from porter.networks.bn_folding import fold_batch_norm

    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    assert fold_batch_norm(Forked().eval()).unfolded == ("norm",)
    assert torch.is_grad_enabled()


def test_training_mode_is_refused():
    """A norm that uses the batch's own statistics has no fixed scale."""
    from torch import nn

    from porter.networks.bn_folding import fold_batch_norm

    with pytest.raises(OutputError, match="training mode"):
        fold_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))


def _in_three_ways(torch):
    """Return a network whose convolutions are called by name, parametrized, and read by the forward."""
    nn = torch.nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.named, self.computed, self.looked_at = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
            nn.utils.parametrizations.weight_norm(self.computed)
            self.after_named, self.after_computed, self.after_looked_at = (
                nn.BatchNorm2d(4) for _ in range(3)
            )

        def forward(self, x):
            x = self.after_named(input=self.named(input=x))
            x = self.after_computed(self.computed(x))
            return self.after_looked_at(self.looked_at(x)) + self.looked_at.weight.sum()

    torch.manual_seed(0)
    model = Network().double()
    model(torch.rand(8, 4, 9, 9, dtype=torch.float64))  # so that the statistics are not the identity
    return model.eval()


def test_only_convolutions_that_are_theirs_alone_take_a_norm():
    """A kernel that is computed, or that the forward reads as well, cannot be scaled; a call by name can."""
    torch = pytest.importorskip("torch")
    from porter.networks.bn_folding import fold_batch_norm

    model, image = _in_three_ways(torch), torch.rand(2, 4, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        before = model(image)
        folding = fold_batch_norm(model)
        after = model(image)

    assert folding.folded == ("after_named",)
    assert folding.unfolded == ("after_computed", "after_looked_at")
    assert torch.allclose(after, before, rtol=1e-12, atol=1e-12)


def test_a_folded_padding_is_no_obstacle():
    """Norms can be folded before the padding or after it."""
    torch = pytest.importorskip("torch")
    from porter.networks.bn_folding import fold_batch_norm
    from porter.same_padding import Conv2dSame, MaxPool2dSame, fold_same_padding

    layers = Conv2dSame(3, 4, 3, 2), torch.nn.BatchNorm2d(4), MaxPool2dSame(3, 2)
    model = torch.nn.Sequential(*layers).eval()
    fold_same_padding(model, (16, 16))

    assert fold_batch_norm(model).folded == ("1",)
