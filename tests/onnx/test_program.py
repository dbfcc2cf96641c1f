"""What is recorded of a network: its own padding, every stage, and sizes as far as one graph holds them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from porter.cli.export_onnx import export_onnx
from porter.errors import OutputError
from porter.recordings.random_weights import image_input
from porter.recordings.recording import Provenance
from porter.tables.variants import Stage

pytestmark = [pytest.mark.onnx, pytest.mark.torch]

VIT = "garden_vit_tiny_patch16_224"
PORTED = SimpleNamespace(variant="toy", arguments={}, input={"size": 48}, cut=None, head=())


@pytest.fixture(scope="module")
def nn():
    """`torch.nn`."""
    return pytest.importorskip("torch").nn


def stages(*names):
    """Stages called like their modules."""
    return tuple(Stage(name, name, (name,), "") for name in names)


def test_pool_between_two_stages_is_a_stage(nn):
    """A module without weights counts where a later one has some; an empty classifier at the end does not."""
    from porter.onnx.exported_program import Staged

    model = nn.Sequential()
    for name, module in (
        ("stem", nn.Conv2d(3, 4, 3)),
        ("pool", nn.MaxPool2d(2)),
        ("body", nn.Conv2d(4, 4, 3)),
    ):
        model.add_module(name, module)
    model.add_module("head", nn.Identity())

    staged = Staged(model, PORTED, stages("stem", "pool", "body", "head"))

    assert staged.names == ("logits", "stem", "pool", "body")


def test_padding_of_plain_layers_is_the_networks_own(nn):
    """A strided convolution that pads (1, 1) still does; one of timm's that pads as SAME is replaced."""
    from timm.layers import Conv2dSame as TimmConv2dSame

    from porter.onnx.exported_program import use_recordable_padding
    from porter.same_padding import Conv2dSame

    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1), TimmConv2dSame(4, 4, 3, 2), nn.MaxPool2d(3, 2, 1))
    use_recordable_padding(model, every_size=True)

    assert [type(layer) for layer in model] == [nn.Conv2d, Conv2dSame, nn.MaxPool2d]
    assert model[0].padding == (1, 1)


def test_pool_whose_last_window_hangs_over_the_end_is_recorded_for_every_size(nn):
    """Torch settles at the example's size whether one does; the recording is right at odd and even sizes."""
    import torch

    from porter.onnx.exported_program import capture_program, use_recordable_padding

    average = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), average, nn.MaxPool2d(2, 2, ceil_mode=True)).eval()
    images = [torch.rand(1, 3, height, width) for height, width in ((48, 48), (49, 50), (51, 53))]
    with torch.inference_mode():
        expected = [model(image) for image in images]
    use_recordable_padding(model, every_size=True)
    recorded = capture_program(model, PORTED, None, Path("toy.safetensors")).module()

    assert all(torch.allclose(recorded(x), y) for x, y in zip(images, expected, strict=True))


def recorded_for_every_size(nn, forward):
    """The refusal of a dynamic export of a convolution with `forward`."""
    from porter.onnx.exported_program import capture_program

    toy = type("Toy", (nn.Module,), {"forward": forward})()
    toy.conv = nn.Conv2d(3, 4, 3)
    with pytest.raises(OutputError) as refused:
        capture_program(toy.eval(), PORTED, None, Path("toy.safetensors"))
    assert "--size 48" in str(refused.value)
    assert "\n" not in str(refused.value)
    return refused.value.code


def test_network_that_does_other_things_at_other_sizes_is_refused_for_every_size(nn):
    """A branch on the size would be frozen as it went for the example: better no graph than a wrong one."""

    def forward(self, x):
        return self.conv(x) if x.shape[-1] % 16 else -self.conv(x)

    assert recorded_for_every_size(nn, forward) == "onnx/sizes-differ"


def test_network_of_one_size_is_refused_for_every_size(nn):
    """What the network itself refuses is said in the words of a person who exports."""

    def forward(self, x):
        assert x.shape[-1] == 48, "height doesn't match"
        return self.conv(x)

    assert recorded_for_every_size(nn, forward) == "onnx/one-size"


@pytest.mark.parametrize(("choice", "found"), [("--dynamic", "every size"), ("--size=96", "96x96")])
def test_command_refuses_a_vision_transformer_at_any_size_but_its_own(ported, tmp_path, choice, found):
    """One line: which size it takes and what to do; no file."""
    run = CliRunner().invoke(export_onnx, [str(ported(VIT)), str(tmp_path / "out.onnx"), choice])

    assert run.exit_code == 1
    assert "onnx/one-size" in run.stderr
    assert f"expected 224x224, found {found}" in run.stderr
    assert "--size 224" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_check_exports_a_vision_transformer_at_its_size(ported, variant, recorded):
    """Where no graph takes every size there is one per input, and it takes two images one by one."""
    from porter.parity.compare import compare
    from porter.runners.onnx import _exports, record_model

    inputs = [image_input(0, (224, 224), 2)]
    ((model, taken),) = _exports(ported(VIT), variant(VIT).stages, inputs, trust_table=False)
    found, _ = record_model(model, taken, ("float32",), Provenance("onnx", VIT))
    (case,) = compare(recorded(VIT, inputs, ("float32",)), found).cases

    assert taken == inputs
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert case.passed
    assert {"patches", "tokens", "logits"} <= {stage.name for stage in case.stages}
