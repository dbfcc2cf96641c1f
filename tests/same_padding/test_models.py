"""Whole published architectures: emulated here, they are what timm builds with pad_type="same"."""

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytestmark = pytest.mark.torch

from porter.same_padding import emulate_same_padding, fold_same_padding, restore_padding  # noqa: E402


def models(name, **arguments):
    """Return timm's SAME model and its natively padded twin, equal weights in which everything matters."""
    torch.manual_seed(0)
    same = timm.create_model(name, pad_type="same", num_classes=10, **arguments).double().eval()
    with torch.no_grad():
        for key, tensor in same.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(torch.randn_like(tensor), alpha=0.1)
    native = timm.create_model(name, pad_type="", num_classes=10, **arguments).double().eval()
    native.load_state_dict(same.state_dict())
    return same, native


@pytest.mark.parametrize(
    ("name", "dynamic"),
    [("mobilenetv4_conv_medium", 5), ("mobilenetv4_hybrid_medium", 13), ("tf_efficientnet_b0", 5)],
)
@torch.no_grad()
def test_timm_models(name, dynamic):
    """Native and timm's own SAME models give timm's output, folded too, and go back to what they were."""
    same, native = models(name)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected, unpadded, description = same(x), native(x), repr(native)
    scale = expected.abs().max()

    assert (unpadded - expected).abs().max() > 1e-3 * scale
    for model in (native, same):
        assert [change.action for change in emulate_same_padding(model)] == ["dynamic"] * dynamic
        assert (model(x) - expected).abs().max() <= 1e-12 * scale
        assert len(fold_same_padding(model, (64, 64))) == dynamic
        assert (model(x) - expected).abs().max() <= 1e-12 * scale
        assert list(model.state_dict()) == list(native.state_dict())
    restore_padding(native)

    assert repr(native) == description
    assert torch.equal(native(x), unpadded)


def resnet_same():
    """Return resnet50 whose strided convolutions and max pool are timm's SAME layers, put in by hand."""
    from timm.layers import Conv2dSame
    from timm.layers.pool2d_same import MaxPool2dSame

    torch.manual_seed(0)
    model = timm.create_model("resnet50", num_classes=10)
    for name, module in list(model.named_modules()):
        parent = model.get_submodule(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        if isinstance(module, torch.nn.MaxPool2d):
            setattr(parent, leaf, MaxPool2dSame(3, 2))
        elif isinstance(module, torch.nn.Conv2d) and module.stride[0] > 1 and module.kernel_size[0] > 1:
            size, channels = module.kernel_size, (module.in_channels, module.out_channels)
            setattr(parent, leaf, Conv2dSame(*channels, size, 2, bias=False))
    return model.double().eval()


@torch.no_grad()
def test_resnet():
    """A resnet50 of timm has no pad_type: emulating it equals putting timm's SAME layers in by hand."""
    by_hand = resnet_same()
    model = timm.create_model("resnet50", num_classes=10).double().eval()
    model.load_state_dict(by_hand.state_dict())
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected, native = by_hand(x), model(x)
    changes = emulate_same_padding(model)

    assert [change.name for change in changes] == [
        "conv1",
        "maxpool",
        *(f"layer{stage}.0.conv2" for stage in (2, 3, 4)),
    ]
    assert (model(x) - expected).abs().max() <= 1e-12 * expected.abs().max()
    assert (native - expected).abs().max() > 1e-3 * expected.abs().max()
    emulate_same_padding(by_hand)
    assert (by_hand(x) - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_timms_average_pool_is_recognised_and_corrected():
    """The AvgPool2dSame of timm is replaced, and then corners of a constant image keep their value."""
    from timm.layers.pool2d_same import AvgPool2dSame

    model, ones = torch.nn.Sequential(AvgPool2dSame(3, 2)), torch.ones(1, 1, 4, 4)
    counted = model(ones)
    (change,) = emulate_same_padding(model)

    assert change.action == "dynamic"
    assert counted.min() < 1
    assert torch.equal(model(ones), torch.ones(1, 1, 2, 2))


def test_weight_standardized_layers_are_kept():
    """StdConv2dSame of timm changes its weight: it is listed and left alone."""
    from timm.layers import StdConv2dSame

    (change,) = emulate_same_padding(torch.nn.Sequential(StdConv2dSame(3, 4, 3, 2)))

    assert change.action == "kept"
    assert "forward of its own" in change.reason
