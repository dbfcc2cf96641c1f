"""Backbones that end before their own end: ported as far as they go, their outputs those of the source."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
from written_heads import OWN_CONTAINER

import porter
from porter.errors import OutputError, PlanError

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

config_edits = pytest.importorskip("config_edits", reason="needs h5py")
pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

CUTS = {
    "cut_at_a_block": "behind blocks.4.2",
    "cut_with_a_head": "inside blocks.3.0, behind its bn2 and its activation",
    "cut_pooled": "behind blocks.3.1",
    "encoder": "inside blocks.5.0, behind its conv_pw",
    "dilated": "behind blocks.6.0",
    "cut_in_branches": "behind Mixed_6b",
    "cut_dense": "inside features.transition2, behind its norm and its activation",
    "cut_separable": "behind block4",
    "vgg_encoder": "behind features.34",
    "pre_activated_encoder": "behind norm",
    "unsorted": "behind ",
    "scaled_sums": "behind repeat.2",
}
# Two containers of one Keras hold one config: each cut is in one of them, but for the first.
FILES = [("cut_at_a_block", file) for file in ("model.h5", "model.keras")]
FILES += [(name, "") for name in CUTS if name != "cut_at_a_block"]
FILES += [(name, "saved_model") for name in ("unsorted", "scaled_sums")]
FILES += [("cut_at_a_block", file) for file in ("model.weights.h5", "ckpt-1")]


def answers(model, x):
    """Return every output of a network, as TensorFlow has its axes."""
    import torch

    with torch.inference_mode():
        found = model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    listed = found if isinstance(found, tuple | list) else (found,)
    return [y.permute(0, 2, 3, 1).numpy() if y.ndim == 4 else y.numpy() for y in listed]


@pytest.mark.parametrize(("name", "file"), FILES)
def test_every_output_is_the_source_s(heads, tmp_path, name, file):
    """In the source's order and in float32; the place is named; a copy of the network computes the same."""
    out = tmp_path / "out.safetensors"
    result = porter.port(heads / name / (file or OWN_CONTAINER[heads.name]), out)
    assert result.plan.cut.words.startswith(CUTS[name])
    assert result.loading_line.startswith("porter.load_model(")
    stored = np.load(heads / name / "answer.npz")
    wanted = [stored[key] for key in stored if key[1:].isdecimal()]
    model = porter.load_model(out)
    for found in (answers(model, stored["x"]), answers(copy.deepcopy(model), stored["x"])):
        assert [y.shape for y in found] == [y.shape for y in wanted]
        assert max(np.abs(a - b).max() for a, b in zip(found, wanted, strict=True)) < 2e-5


def test_dilations_are_timm_s_output_stride(heads, tmp_path):
    """A whole network with dilations is plain timm's, and the stride is said."""
    import timm

    out = tmp_path / "out.safetensors"
    result = porter.port(heads / "dilated_whole" / "model.keras", out)
    assert result.plan.arguments["output_stride"] == 8
    assert any("output_stride=8" in note for note in result.plan.notes)
    stored = np.load(heads / "dilated_whole" / "answer.npz")
    model = timm.create_model(
        result.plan.variant.target.name, checkpoint_path=out, **result.plan.arguments
    ).eval()
    assert np.abs(answers(model, stored["x"])[0] - stored["y"]).max() < 2e-5


def test_other_dilations_than_timm_s_are_refused_by_layer(heads, tmp_path):
    """Where timm dilates the block after, nothing but the part in front is the same network."""
    with pytest.raises(PlanError) as caught:
        porter.port(heads / "dilated_at_once" / "model.keras", tmp_path / "out.safetensors")
    assert caught.value.code == "plan/left-over"
    assert "depthwise_conv block_13_depthwise" in str(caught.value)


def test_plain_timm_gives_the_maps_where_it_has_them(heads, tmp_path):
    """The printed program gives the source's maps; where timm has others, none is printed."""
    import safetensors.torch
    import timm

    out = tmp_path / "out.safetensors"
    (line,) = porter.port(heads / "cut_at_a_block" / "model.keras", out).alternatives
    network, load, weights = line.partition(": ")[2].partition(".load_state_dict")
    model = eval(network, {"timm": timm})  # noqa: S307 (it is what is printed)
    loaded = eval(f"model{load}{weights}", {"model": model, "safetensors": safetensors})  # noqa: S307
    assert not loaded.unexpected_keys
    stored = np.load(heads / "cut_at_a_block" / "answer.npz")
    (found,) = answers(model.eval(), stored["x"])
    assert np.abs(found - stored["y"]).max() < 2e-5
    assert porter.port(heads / "encoder" / "model.keras", tmp_path / "other.safetensors").alternatives == ()


def test_weights_alone_say_what_was_assumed(heads, tmp_path):
    """No file of weights tells whether an activation or addition follows its last layer."""
    result = porter.port(heads / "cut_at_a_block" / "model.weights.h5", tmp_path / "out.safetensors")
    assert any("does not say what it returns" in note for note in result.plan.notes)


def test_a_decoder_is_refused_and_left_on_request(heads, tmp_path):
    """Its encoder is ported with what the decoder takes, though their layers are numbered together."""
    out = tmp_path / "out.safetensors"
    with pytest.raises(PlanError) as caught:
        porter.port(heads / "flat_encoder" / "model.keras", out)
    assert caught.value.code == "plan/left-over"
    assert "cut behind blocks.3.3" in str(caught.value)
    assert not out.exists()

    result = porter.port(heads / "flat_encoder" / "model.keras", out, backbone_only=True)

    assert [feature.module for feature in result.plan.cut.outputs] == ["blocks.2.2", "blocks.3.3"]
    assert any("the port ends behind blocks.3.3" in note for note in result.plan.notes)
    stored = np.load(heads / "flat_encoder" / "answer.npz")
    assert [y.shape[1:3] for y in answers(porter.load_model(out), stored["x"])] == [(8, 8), (4, 4)]


@pytest.mark.parametrize("name", ["an extra pool", "no addition", "order of activation and add"])
def test_a_layer_changed_in_the_middle_is_no_cut_without_a_word(heads, tmp_path, name):
    """It is refused; left on request, and then a warning says from where on."""
    edit, _ = config_edits.EDITS[name]
    changed, out = tmp_path / "changed.keras", tmp_path / "out.safetensors"
    assert config_edits.edited(heads / "cut_at_a_block" / "model.keras", changed, edit)
    with pytest.raises(PlanError) as caught:
        porter.port(changed, out)
    assert caught.value.code == "plan/left-over"

    result = porter.port(changed, out, backbone_only=True)

    assert any("the port ends " in note and "is left behind" in note for note in result.plan.notes)


def test_what_timm_has_no_output_for_is_refused(heads, tmp_path):
    """A padding at the end would be lost without a word."""
    with pytest.raises(PlanError) as caught:
        porter.port(heads / "cut_at_a_pad" / "model.keras", tmp_path / "out.safetensors")
    assert caught.value.code == "plan/cut-tail"


def test_the_first_part_of_several_networks_is_that_of_one(heads, tmp_path):
    """Of two widths it is the same modules with the same weights: either is right, and that is said."""
    file = heads / "cut_early" / "model.keras"
    result = porter.port(file, tmp_path / "out.safetensors")
    assert any("is the first part of keras_mobilenetv2_0" in note for note in result.plan.notes)

    stored = np.load(file.with_name("answer.npz"))
    (found,) = answers(porter.load_model(tmp_path / "out.safetensors"), stored["x"])
    assert np.abs(found - stored["y"]).max() < 2e-5


@pytest.mark.parametrize("file", ["model.h5", "model.keras"])
@pytest.mark.parametrize(
    ("model", "variant", "layers", "head"),
    [
        ("norm_in_front", "keras_convnext_tiny_no_top", "138 layers", "says"),
        (
            "norm_nested",
            "keras_convnext_tiny_no_top",
            "139 layers",
            "global_avg_pool, dense 6, relu, dense 3",
        ),
        ("norm_behind", "keras_convnext_tiny", "138 layers", "dense 3, softmax"),
    ],
)
def test_a_norm_in_front_of_the_pool_is_told_from_one_behind_it(  # noqa: PLR0917  (fixtures)
    heads, tmp_path, model, variant, layers, head, file
):
    """Keras's ConvNeXt has the one without its top, the other with it: timm builds the source's."""
    source, out = heads / model / file, tmp_path / "out.safetensors"
    result = porter.port(source, out)
    assert result.plan.variant.name == variant
    assert result.plan.network.startswith(layers)
    assert result.plan.network.endswith(head)
    assert furthest_of_convnext(result, source, out) < 2e-5
    other = {"keras_convnext_tiny", "keras_convnext_tiny_no_top"} - {variant}
    with pytest.raises(PlanError) as caught:
        porter.port(source, tmp_path / "other.safetensors", variant=other.pop())
    assert caught.value.code == "plan/other-network"


@pytest.mark.parametrize("file", ["model.h5", "model.keras"])
def test_another_scale_in_a_sum_is_refused(heads, tmp_path, file):
    """It is a constant of the network that no variable tells."""

    def rescaled(layers):
        sums = [each for each in layers if each["class_name"].endswith("CustomScaleLayer")]
        sums[1]["config"]["scale"] = 0.3
        return True

    assert config_edits.edited(heads / "scaled_sums" / file, tmp_path / file, rescaled)
    with pytest.raises(PlanError) as caught:
        porter.port(tmp_path / file, tmp_path / "out.safetensors")
    assert caught.value.code == "plan/cut-inside"
    assert "block35_2_conv" in str(caught.value)


def test_graphs_spell_layer_norms_in_two_ways(heads, tmp_path):
    """Both Kerases' graphs are the network; Keras 3 exports a plain list of variables."""
    source, out = heads / "norm_nested" / "saved_model", tmp_path / "out.safetensors"

    result = porter.port(source, out)

    assert result.plan.variant.name == "keras_convnext_tiny_no_top"
    assert "as the source's graph says" in result.plan.network
    assert furthest_of_convnext(result, source, out) < 2e-5


def test_weights_alone_are_taken_for_the_likelier_of_the_two_and_the_other_is_named(heads, tmp_path):
    """Names of layers, where a file has them, tell a network with its top from one without."""
    source, out = heads / "norm_in_front" / "model.weights.h5", tmp_path / "out.safetensors"
    with porter.open_checkpoint(source) as checkpoint:
        found = porter.plan(checkpoint)
    has_names = heads.name == "keras"
    assert found.variant.name == ("keras_convnext_tiny_no_top" if has_names else "keras_convnext_tiny")
    (said,) = [note for note in found.notes if "alike" in note]
    assert "keras_convnext_tiny" in said.partition("--variant")[2]
    result = porter.port(source, out, variant="keras_convnext_tiny_no_top")
    assert furthest_of_convnext(result, source, out) < 2e-5
    with porter.open_checkpoint(heads / "norm_nested" / "model.weights.h5") as checkpoint:
        nested = porter.plan(checkpoint, backbone_only=True)
    assert nested.variant.name == "keras_convnext_tiny_no_top"


def furthest_of_convnext(result, source, out):
    """Return the largest difference from the source's own answers; the source prepares images itself."""
    stored, images = np.load(source.with_name("answer.npz")), result.plan.variant.input
    prepared = (stored["x"] / 255 - images.mean) / images.std
    (found,) = answers(porter.load_model(out), prepared.astype("float32"))
    if result.plan.classifier_activation == "softmax":
        found = np.exp(found) / np.exp(found).sum(-1, keepdims=True)
    return np.abs(found - stored["y"]).max()


def test_forms_with_a_whole_network_refuse_a_cut_one(heads, tmp_path):
    """Timm would build the rest with random weights."""
    with pytest.raises(OutputError) as caught:
        porter.port(heads / "cut_at_a_block" / "model.keras", tmp_path / "hub", target="hub-folder")
    assert caught.value.code == "output/cut"


def test_maps_inside_blocks_keep_their_norms(heads, tmp_path):
    """What a hook takes is not seen where norms are folded: refused, and nothing is written."""
    with pytest.raises(OutputError, match=r"a hook takes the map at blocks\.") as caught:
        porter.port(heads / "encoder" / "model.keras", tmp_path / "out.safetensors", fold_bn=True)
    assert caught.value.code == "fold/not-traceable"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["model.keras", "ckpt-1"])
def test_the_check_compares_the_stages_that_are_there(heads, file):
    """With the file's own network, or with Keras's and the stored weights; it says how far."""
    report = porter.check(checkpoint=heads / "cut_at_a_block" / file, dtypes=("float64",))
    assert report.passed
    assert "blocks.4.2" in report.text()
    assert "blocks.5.0" not in report.text()
