"""Heads that people train on a known backbone: ported whole, or refused with the reason."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from written_heads import OWN_CONTAINER, written_heads

import porter
from porter.errors import OutputError, PlanError

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

HEADS = {
    "pooled": "global_avg_pool, dense 7",
    "odd": "global_avg_pool, dense 3",
    "unit": "global_max_pool, dense 1, sigmoid",
    "dense_twice": "global_avg_pool, dense 20, norm, relu, dense 4, softmax",
    "flattened": "flatten, dense 12, {smooth}, dense 3, relu, softmax",
    "convolved": "conv 8, norm, relu, global_avg_pool, dense 3",
    "averaged": "conv 3, sigmoid, global_avg_pool, identity",
    "both_pools": "global_avg_max_pool, dense 3",
    "cut_at_the_last_norm": "swish, global_avg_pool, dense 3",
    "no_neck": "global_avg_pool, dense 4, softmax",
    "dense_on_vgg": "flatten, dense 8, relu, dense 1, sigmoid",
    "vgg_of_icons": "global_avg_pool, dense 3",
    "flat_pixel": "flatten, dense 8, relu, dense 3",
    "flat_pool": "flatten, dense 3, softmax",
    "pre_activated": "global_avg_pool, dense 8, relu, dense 1, sigmoid",
    "windowed": "depthwise_conv 3x3 256, conv 8, relu, max_pool 3x3, depthwise_conv 2x2 8, "
    "avg_pool 2x2, flatten, dense 3, softmax",
    "strided": "conv 3x3 8, relu, layer_norm, flatten, dense 6, layer_norm, layer_norm, layer_norm, dense 3",
    "gated": "global_avg_pool, multiply of (as it is; dense 256, sigmoid), dense 3, prelu, "
    "unit_norm, identity",
    "joined": "multiply of (as it is; global_avg_pool, dense 256, sigmoid), conv 8, group_norm, prelu, "
    "average of (global_avg_pool; global_max_pool), add of (as it is; dense 8, selu), "
    "maximum of (dense 6; dense 6, softsign), concat of (dense 2; as it is), unit_norm, identity",
    "ensemble": "global_avg_pool, average of (dense 3, softmax; dense 3, softmax), identity",
    "tempered": "global_avg_pool, dense 3, scale, softmax",
    "valid": "conv 3x3 8, norm, relu, conv 2x3 6, global_max_pool, dense 3, softmax",
}
NORMALISES_BY_BATCH = ("keras", "convolved", "saved_model")
ALSO_SAVED = ("convolved", "gated", "strided", "flat_pixel")
# Two containers of one Keras hold one config: each head is in one of them, but for these.
IN_BOTH = ("joined", "windowed")
FILES = [(head, "") for head in HEADS if head not in IN_BOTH]
FILES += [(head, file) for head in IN_BOTH for file in ("model.h5", "model.keras")]
FILES += [(head, "saved_model") for head in ALSO_SAVED]


@pytest.fixture(scope="session", params=("keras", "tf_keras"))
def written(request, tmp_path_factory):
    """Every head as Keras wrote it, in another order than `test_cuts.py`: neither waits for the other."""
    return written_heads(request.param, tmp_path_factory)


def answers(model, x):
    """Return what a model answers to images (N, H, W, C)."""
    import torch

    with torch.inference_mode():
        return model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))


def as_trained(logits, activation):
    """Return logits as the source's own last activation leaves them."""
    if activation == "softmax":
        return logits.softmax(-1).numpy()
    return (logits.sigmoid() if activation == "sigmoid" else logits).numpy()


@pytest.mark.parametrize(("head", "file"), FILES)
def test_the_ported_model_answers_as_the_person_s_own(written, tmp_path, head, file):
    """Whole, in float32, from every container that stores the network, and the head is said in words."""
    file = file or OWN_CONTAINER[written.name]
    if (written.name, head, file) == NORMALISES_BY_BATCH:
        pytest.skip("Keras exports this model as it trains: the file computes something else than the model")
    result = porter.port(written / head / file, tmp_path / "out.safetensors")
    stored = np.load(written / head / "answer.npz")
    found = as_trained(
        answers(porter.load_model(tmp_path / "out.safetensors"), stored["x"]),
        result.plan.classifier_activation,
    )
    assert found.shape == stored["y"].shape
    assert np.abs(found - stored["y"]).max() < 2e-5
    smooth = "elu" if written.name == "tf_keras" else "gelu"
    assert result.plan.network.endswith(f"a head of its own: {HEADS[head].format(smooth=smooth)}")


def test_an_export_that_normalises_by_batch_is_said_to_do_so(written, tmp_path):
    """Its graph is the network in training: no head is taken from it, and the backbone's note says why."""
    generation, *place = NORMALISES_BY_BATCH
    if written.name != generation:
        pytest.skip("tf_keras saves the network as it is used")
    with pytest.raises(PlanError) as caught:
        porter.port(written.joinpath(*place), tmp_path / "out.safetensors")
    assert caught.value.code == "plan/left-over"

    result = porter.port(written.joinpath(*place), tmp_path / "out.safetensors", backbone_only=True)

    assert any("norms take the statistics of each batch" in note for note in result.plan.notes)


def test_timm_alone_loads_a_pooling_and_one_dense(written, tmp_path):
    """They are timm's own classifier, the maximum too."""
    import timm

    out = tmp_path / "out.safetensors"
    result = porter.port(written / "unit" / "model.keras", out)
    assert result.plan.head == ()
    stored = np.load(written / "unit" / "answer.npz")
    model = timm.create_model(
        result.plan.variant.target.name, checkpoint_path=out, **result.plan.arguments
    ).eval()
    assert np.abs(answers(model, stored["x"]).sigmoid().numpy() - stored["y"]).max() < 2e-5


def test_a_longer_head_says_how_plain_timm_loads_the_backbone(written, tmp_path):
    """The printed program runs, and nothing of the backbone is missing."""
    import safetensors.torch
    import timm

    out = tmp_path / "out.safetensors"
    result = porter.port(written / "both_pools" / "model.keras", out)
    assert result.loading_line == f"porter.load_model({str(out)!r})"
    (line,) = result.alternatives
    assert "strict=False" in line
    program = line.partition(": ")[2]
    loaded = eval(program, {"timm": timm, "safetensors": safetensors})  # noqa: S307 (it is what is printed)
    assert not loaded.missing_keys
    assert all(key.startswith("classifier.") for key in loaded.unexpected_keys)
    assert loaded.unexpected_keys


def test_what_ends_the_head_is_said(written, tmp_path):
    """A sigmoid makes probabilities of each class; averages of activations are none: no class is named."""
    unit = porter.port(written / "unit" / "model.keras", tmp_path / "unit.safetensors")
    porter.port(written / "averaged" / "model.keras", tmp_path / "averaged.safetensors")

    assert any("ends in sigmoid" in note for note in unit.plan.notes)
    from porter.loading.classification import Classifier

    with pytest.raises(OutputError) as caught:
        Classifier(tmp_path / "averaged.safetensors")
    assert caught.value.code == "classify/activation"


def test_a_network_without_its_last_convolution_says_how_it_is_loaded(written, tmp_path):
    """Timm's own network has the convolution: porter takes it out."""
    import torch

    from porter.runners.job import planned_stages

    out = tmp_path / "out.safetensors"
    result = porter.port(written / "no_neck" / "model.keras", out, backbone_only=True)
    assert result.loading_line.startswith("porter.load_model(")
    assert isinstance(porter.load_model(out).conv_head, torch.nn.Identity)
    assert "head" not in [stage.name for stage in planned_stages(result.plan)]  # a check compares none there


@pytest.mark.parametrize("file", ["model.h5", "model.keras"])
def test_each_output_of_several_is_the_source_s(written, tmp_path, file):
    """In the source's order, with the activation that ends each; which outputs they are is said."""
    out = tmp_path / "out.safetensors"
    result = porter.port(written / "two_outputs" / file, out)
    stored = np.load(written / "two_outputs" / "answer.npz")
    found = answers(porter.load_model(out), stored["x"])
    assert isinstance(found, tuple)
    for answer, name in zip(found, ("y0", "y1"), strict=True):
        assert answer.shape == stored[name].shape
        assert np.abs(answer.numpy() - stored[name]).max() < 2e-5
    assert "then kind: dense 5, softmax; box: dense 6, relu, dense 4, sigmoid" in result.plan.network
    assert any("2 outputs (kind, box)" in note for note in result.plan.notes)


@pytest.mark.onnx
def test_an_export_has_every_output(written, tmp_path):
    """Under numbers, in the source's order, as `porter.load_model` gives them."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from porter.onnx.export import export_onnx

    porter.port(written / "two_outputs" / "model.keras", tmp_path / "out.safetensors")
    export_onnx(tmp_path / "out.safetensors", tmp_path / "out.onnx")
    stored = np.load(written / "two_outputs" / "answer.npz")
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    found = session.run(None, {"image": stored["x"].transpose(0, 3, 1, 2)})
    assert [output.name for output in session.get_outputs()] == ["output_0", "output_1"]
    for answer, name in zip(found, ("y0", "y1"), strict=True):
        assert np.abs(answer - stored[name]).max() < 2e-5


def test_the_check_compares_every_output(written):
    """Each is a stage of its own."""
    report = porter.check(checkpoint=written / "two_outputs" / "model.keras", dtypes=("float64",))
    assert report.passed
    assert "output kind" in report.text()
    assert "output box" in report.text()


def test_one_of_several_outputs_is_no_classifier(written, tmp_path):
    """Nothing says which of them is meant."""
    porter.port(written / "two_outputs" / "model.keras", tmp_path / "out.safetensors")
    from porter.loading.classification import Classifier

    with pytest.raises(OutputError) as caught:
        Classifier(tmp_path / "out.safetensors")
    assert caught.value.code == "classify/several-outputs"


def test_a_joined_head_is_pickled_and_copied(written, tmp_path):
    """As torch.save and processes of a data loader do."""
    import copy
    import pickle

    out = tmp_path / "out.safetensors"
    porter.port(written / "joined" / "model.keras", out)
    stored = np.load(written / "joined" / "answer.npz")
    model = porter.load_model(out)
    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 (made here)
        assert np.abs(answers(same, stored["x"]).numpy() - stored["y"]).max() < 2e-5


def test_a_map_beside_the_logits_is_an_output(written, tmp_path):
    """It is PyTorch's map, (N, C, H, W)."""
    out = tmp_path / "out.safetensors"
    result = porter.port(written / "map_and_logits" / "model.keras", out)
    stored = np.load(written / "map_and_logits" / "answer.npz")
    features, logits = answers(porter.load_model(out), stored["x"])
    assert np.abs(features.permute(0, 2, 3, 1).numpy() - stored["y0"]).max() < 2e-5
    assert np.abs(logits.numpy() - stored["y1"]).max() < 2e-5
    assert ": as it is; logits: global_avg_pool, dense 3" in result.plan.network


@pytest.mark.parametrize(
    ("head", "file", "why"),
    [
        ("turned", "model.h5", "(Permute) is none of these"),
        ("turned", "model.keras", "(Permute) is none of these"),
        ("shared", "model.keras", "(dense) is used twice"),
        ("spread", "model.keras", "(reshape) is none of these"),
        ("spread", "saved_model", "(reshape) is none of these"),
    ],
)
def test_a_head_of_other_layers_is_refused_with_its_variables(written, tmp_path, head, file, why):
    """Never in part, and nothing is written; the layer that no head has is named."""
    with pytest.raises(PlanError) as caught:
        porter.port(written / head / file, tmp_path / "out.safetensors")
    assert caught.value.code == "plan/left-over"
    assert "--backbone-only ports it" in str(caught.value)
    assert why in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_another_backbone_is_named_before_the_head_that_is_none(written, tmp_path):
    """--backbone-only would refuse it too: it is not named as a way out."""
    config_edits = pytest.importorskip("config_edits", reason="needs h5py")

    def without_cap(layers):
        (layer,) = [each for each in layers if each["config"]["name"] == "conv_pw_13_relu"]
        layer["config"]["max_value"] = None
        return True

    assert config_edits.edited(written / "turned" / "model.keras", tmp_path / "edited.keras", without_cap)
    with pytest.raises(PlanError) as caught:
        porter.port(tmp_path / "edited.keras", tmp_path / "out.safetensors")
    assert caught.value.code == "plan/other-network"
    assert "conv_pw_13_relu" in str(caught.value)


@pytest.mark.parametrize("backbone_only", [False, True])
def test_a_layer_in_front_of_the_backbone_is_refused_by_name(written, tmp_path, backbone_only):
    """--backbone-only is no way out, and is not named as one."""
    with pytest.raises(PlanError) as caught:
        porter.port(
            written / "in_front" / "model.keras", tmp_path / "out.safetensors", backbone_only=backbone_only
        )
    assert "colours" in str(caught.value)
    assert "--backbone-only ports" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_form_that_cannot_hold_the_head_refuses_it(written, tmp_path):
    """A hub folder is built by timm alone."""
    with pytest.raises(OutputError) as caught:
        porter.port(written / "dense_twice" / "model.keras", tmp_path / "hub", target="hub-folder")
    assert caught.value.code == "output/own-head"


@pytest.mark.parametrize("head", ["dense_twice", "averaged", "joined", "tempered"])
def test_the_check_compares_the_head(written, head):
    """The file itself is the witness, up to its logits, whatever follows the last weights."""
    report = porter.check(checkpoint=written / head / "model.keras", dtypes=("float64",))
    assert report.passed
    assert "logits" in report.text()


def test_a_wrong_head_fails_the_check(written, tmp_path):
    """A value of the head that was changed is found there."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    out = tmp_path / "out.safetensors"
    porter.port(written / "dense_twice" / "model.keras", out)
    tensors = load_file(out)
    with safe_open(out, "pt") as opened:
        metadata = opened.metadata()
    tensors["classifier.2.running_mean"] += 0.5
    save_file(tensors, out, metadata)
    report = porter.check(checkpoint=written / "dense_twice" / "model.keras", ported=out, dtypes=("float64",))
    assert not report.passed
    assert report.first_bad_stage == "logits"
