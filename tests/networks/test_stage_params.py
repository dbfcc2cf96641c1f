"""MobileNetV4 from `stage_params` documents: the Garden's five networks, and errors that name the block."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.errors import OutputError
from porter.networks import from_stage_params
from porter.networks.stage_params import read_stage_params

FOLDER = Path(__file__).parent / "stage_params"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
GOOD = (FOLDER / "mobilenetv4_hybrid_medium.yaml").read_text()


def garden(name, **arguments):
    """Build document `name` as the Garden has it: its conv_small has no layer scale."""
    return from_stage_params(FOLDER / f"{name}.yaml", layer_scale="conv" not in name, **arguments)


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_document_gives_the_names_and_shapes_of_timm(name):
    """The state dict is that of timm's network of the same name, in the same order."""
    import timm
    import torch

    with torch.device("meta"):
        expected = {key: value.shape for key, value in timm.create_model(name).state_dict().items()}

    found = {key: value.shape for key, value in garden(name).state_dict().items()}

    assert list(found.items()) == list(expected.items())


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_document_computes_what_the_garden_does(name, tmp_path):
    """With the golden's weights every stage is TensorFlow's, in float64, at an even size and an odd one."""
    report = against_golden(name, garden(name), tmp_path)

    worst = max(stage.propagated.relative for case in report.cases for stage in case.stages)
    print(name, f"worst float64 error {worst:.2g} over {len(report.cases)} sizes")
    assert report.passed
    assert worst <= 1e-11


@pytest.mark.torch
def test_layer_scale_of_the_documents_conv_small_is_built_as_it_says(tmp_path):
    """Its 0.1 means twelve factors that the Garden's network has not; at 1 they change nothing."""
    import torch

    name = "mobilenetv4_conv_small"
    model = from_stage_params(FOLDER / f"{name}.yaml")
    scales = sorted(set(model.state_dict()) - set(garden(name).state_dict()))

    assert len(scales) == 12
    assert all(key.endswith("layer_scale.gamma") for key in scales)
    assert {float(v) for key in scales for v in model.state_dict()[key]} == {float(torch.tensor(0.1))}
    for passes, value in ((True, 1.0), (False, 0.1)):
        for key in scales:
            torch.nn.init.constant_(model.get_parameter(key), value)
        assert against_golden(name, model, tmp_path, strict=False).passed == passes


@pytest.mark.torch
def test_layer_scale_of_the_hybrids_starts_as_the_document_says():
    """0.1, where timm starts at 1e-5: an initial value, which loading weights replaces."""
    import torch

    model = garden("mobilenetv4_hybrid_medium")

    values = {float(v) for k, t in model.state_dict().items() if "layer_scale" in k for v in t.flatten()}
    assert values == {float(torch.tensor(0.1))}


def against_golden(name, model, folder, *, strict=True):
    """Load the golden's weights into `model`, run its inputs in float64 and compare every stage."""
    import torch
    from safetensors.numpy import load_file
    from timm.layers import GELU

    from porter.checks.check import write_inputs
    from porter.checks.goldens import _Golden
    from porter.parity.compare import compare
    from porter.parity.golden_files import golden_path
    from porter.planning.plan import plan
    from porter.recordings.capturing import capture
    from porter.recordings.random_checkpoint import RandomCheckpoint
    from porter.runners.torch import TensorFlowGelu
    from porter.tables.shipped import load_tables
    from porter.transfer.transfer import transfer

    tables = load_tables()
    variant = tables.variant(name)
    golden = _Golden(golden_path(variant), tables, trust_table=False)
    checkpoint = RandomCheckpoint(variant, golden.check.seed)
    transfer(checkpoint, plan(checkpoint, tables, variant=name).assignments, folder / "weights")
    weights = {key: torch.from_numpy(value) for key, value in load_file(folder / "weights").items()}
    model.load_state_dict(weights, strict=strict)
    model = model.double().eval()
    if variant.float64_activation:
        for path, module in list(model.named_modules()):
            if isinstance(module, GELU):
                model.set_submodule(path, TensorFlowGelu())
    inputs = load_file(write_inputs(golden.check, folder / "inputs"))
    modules = {stage.name: stage.target[-1] for stage in variant.stages}
    with torch.inference_mode(), capture(model, modules) as seen:
        for values in inputs.values():
            model(torch.from_numpy(values.transpose(0, 3, 1, 2).astype("float64")))
    return compare(golden.recording, seen.recording())


BLOCK = "['uir', 160, 640, True, 3, True, 3, 1]"
ATTENTION = "['mmqa', 160, 256, 4, ~, True, 3, 2, 1]"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (BLOCK, "['uir', 160, 640, True, 3, True, 3]", r"stage 2, block 2 \(uir\); expected 7 values"),
        (BLOCK, "['uib', 160, 640]", "stage 2, block 2; expected a list that begins with one of conv, fi"),
        (BLOCK, "7", "stage 2, block 2; expected a list"),
        (BLOCK, "['uir', 160, 640, True, ~, True, 3, 1]", r"stage 2, block 2 \(uir\), extra_dw_kernel_size"),
        (BLOCK, "['uir', 160, 640, 1, 3, True, 3, 1]", "extra_dw; expected True or False"),
        (BLOCK, "['uir', 160, 640, False, 3, True, 3, 1]", "no extra_dw_kernel_size"),
        (BLOCK, "['uir', 160, 640, False, ~, False, ~, 2]", "a depthwise convolution to take the stride"),
        (BLOCK, "['uir', 160, 641, True, 3, True, 3, 1]", "hidden_channels that 8 divides.*641"),
        (BLOCK, "['uir', 160.5, 640, True, 3, True, 3, 1]", "out_channels; expected a whole number"),
        (
            ATTENTION,
            "['mmqa', 160, 256, 4, ~, True, 3, 2, 2]",
            r"stage 2, block 4 \(mmqa\).*stride 1 and 160",
        ),
        (ATTENTION, "['mmqa', 192, 256, 4, ~, True, 3, 2, 1]", "stride 1 and 160 out_channels.*1 and 192"),
        (ATTENTION, "['mmqa', 160, 256, 5, ~, True, 3, 2, 1]", "that 5 heads divide"),
        (ATTENTION, "['mmqa', 160, 256, 4, 2, True, 3, 2, 1]", "no query_pooling_stride"),
        (ATTENTION, "['mmqa', 160, 256, 4, ~, False, 3, 2, 1]", "no key_val_downsample_kernel_size"),
        ("norm_type: batch_norm", "norm_type: layer_norm", "norm_type; expected 'batch_norm'"),
        ("stem_stride: 2", "stem_stride: 1", "stem_stride; expected 2, found 1"),
        ("act_type: relu", "act_type: mish", "act_type; expected one of relu"),
        (
            "act_type: relu",
            "activation: relu",
            "params; expected the keys .*(no 'act_type'|unknown 'activation')",
        ),
        ("layer_scale: 0.1", "layer_scale: true", "layer_scale; expected a positive number"),
        ("name: mobilenetv4", "name: resnet", "name; expected 'mobilenetv4'"),
        ("backbone:", "neck:", "found no 'backbone'"),
        ("stage_params:", "stage_params: 3 #", "stage_params|not valid YAML"),
        ("- ['fi'", "- ['fi", "not valid YAML"),
        ("name: mobilenetv4", "name: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_wrong_document_is_refused_by_place(old, new, message):
    """Every wrong value names stage and block, or the key, and what was expected there."""
    pytest.importorskip("yaml")
    assert old in GOOD

    with pytest.raises(OutputError, match=message) as caught:
        read_stage_params(GOOD.replace(old, new, 1))

    assert caught.value.code == "network/stage-params"


def test_missing_file_is_refused(tmp_path):
    """A name without a line break is a path."""
    pytest.importorskip("yaml")

    with pytest.raises(OutputError, match="cannot be read"):
        read_stage_params(tmp_path / "none.yaml")


def test_uneven_expansion_is_written_so_that_timm_finds_it_again():
    """640 hidden channels behind 80 and 96 out of 56 come back although one ratio has no end."""
    pytest.importorskip("yaml")
    document = GOOD.replace("['uir', 80, 160, True, 3, True, 3, 1]", "['uir', 56, 160, True, 3, True, 3, 1]")

    block = read_stage_params(document).arch_def[2][0]

    assert block == "uir_r1_a3_k5_s2_e8.57142857_c160"
    assert round(56 * float(block.split("_e")[1].split("_")[0])) == 480
