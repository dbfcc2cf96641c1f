"""The Model Garden's params.yaml beside a checkpoint: what is adopted from it, and what it contradicts."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_writer import Bundle

from porter.checkpoints import open_checkpoint
from porter.errors import CheckpointError, PlanError
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

TABLES = load_tables()
VARIANT = "garden_mobilenetv2_035"
WRITTEN = Path(__file__).parent / "written_by_model_garden_2_20" / "params.yaml"
SETTINGS = (
    WRITTEN.read_text()
    .replace("filter_size_scale: 1.0", "filter_size_scale: 0.35")
    .replace("num_classes: 1001", "num_classes: 1000")
)


@pytest.fixture(scope="module")
def checkpoint(module_folder):
    """Return the prefix of a checkpoint in a training directory, beside which settings may be put."""
    made = Bundle()
    with RandomCheckpoint(TABLES.variants[VARIANT], 1) as source:
        for key in source.specs:
            made.put(key, source.read(key))
    return made.store(module_folder("training") / "ckpt-1")


@pytest.fixture
def settings(checkpoint):
    """Return where the settings of the training are, which are gone after the test."""
    file = checkpoint.with_name("params.yaml")
    yield file
    file.unlink(missing_ok=True)


def planned(prefix, **options):
    """Return the plan of a checkpoint."""
    with open_checkpoint(prefix) as opened:
        return plan(opened, TABLES, **options)


def test_epsilon_and_size_are_adopted(checkpoint, settings):
    """They are the file's, and the plan says so."""
    text = SETTINGS.replace("norm_epsilon: 0.001", "norm_epsilon: 1.0e-05")
    settings.write_text(text.replace("input_size: [224, 224, 3]", "input_size: [160, 160, 3]"))

    made = planned(checkpoint)

    assert made.bn_eps == 1e-5
    assert made.bn_eps_source == "params.yaml"
    assert made.input_spec.size == 160
    assert made.size_source == "params.yaml"
    assert made.network.startswith("as params.yaml of the training says: backbone mobilenet MobileNetV2")


def test_epsilon_without_a_point_is_a_number_too(checkpoint, settings):
    """YAML 1.1 takes 1e-5 for a text."""
    settings.write_text(SETTINGS.replace("norm_epsilon: 0.001", "norm_epsilon: 1e-5"))

    assert planned(checkpoint).bn_eps == 1e-5


def test_settings_one_directory_up_are_read(checkpoint, tmp_path):
    """The Garden keeps its best checkpoints in a directory of their own."""
    inner = tmp_path / "best_ckpt"
    inner.mkdir()
    for file in checkpoint.parent.glob("ckpt-1.*"):
        (inner / file.name).write_bytes(file.read_bytes())
    (tmp_path / "params.yaml").write_text(SETTINGS.replace("norm_epsilon: 0.001", "norm_epsilon: 0.01"))

    assert planned(inner).bn_eps == 0.01


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("model_id: MobileNetV2", "model_id: MobileNetV1", "expected MobileNetV2, found MobileNetV1"),
        ("filter_size_scale: 0.35", "filter_size_scale: 0.5", "expected 0.35, found 0.5"),
        ("type: mobilenet", "type: resnet", "expected mobilenet, found resnet"),
        ("num_classes: 1000", "num_classes: 7", "expected 1000, found 7"),
        ("output_stride: null", "output_stride: 16", "output_stride: expected 32, found 16"),
    ],
)
def test_settings_of_another_network_are_refused(checkpoint, settings, old, new, told):
    """Each contradiction is named with what the table says."""
    assert old in SETTINGS
    settings.write_text(SETTINGS.replace(old, new))

    with pytest.raises(PlanError) as refused:
        planned(checkpoint)

    assert refused.value.code == "plan/other-network"
    assert told in str(refused.value)
    assert refused.value.file == str(settings)


def test_stride_that_the_network_has_anyway_is_no_contradiction(checkpoint, settings):
    """Nothing is dilated at an output stride of 32."""
    settings.write_text(SETTINGS.replace("output_stride: null", "output_stride: 32"))

    assert planned(checkpoint).variant.name == VARIANT


def test_chosen_epsilon_wins_and_is_told_about(checkpoint, settings):
    """A person may know better."""
    settings.write_text(SETTINGS)

    made = planned(checkpoint, bn_eps=0.002)

    assert made.bn_eps == 0.002
    assert "although params.yaml says 0.001" in made.notes[0]


@pytest.mark.parametrize("text", ["stages:\n  train: python train.py\n", "- a\n", "", "7"])
def test_settings_of_other_programs_mean_nothing(checkpoint, settings, text):
    """Other programs call their files the same."""
    settings.write_text(text)

    assert planned(checkpoint).bn_eps_source == TABLES.variants[VARIANT].bn_eps.source


@pytest.mark.parametrize(
    "text",
    [
        "task: [",
        "a: !!python/object/apply:os.system ['true']",
        "[" * 5000,
        "\x00",
        "task: {model: {backbone: {type: mobilenet}, norm_activation: {norm_epsilon: small}}}",
        "task: {model: {backbone: {type: mobilenet}, norm_activation: {norm_epsilon: -1}}}",
        "task: {model: {backbone: {type: mobilenet}, input_size: wide}}",
        "task: {model: {backbone: {type: mobilenet}, num_classes: many}}",
    ],
)
def test_bad_settings_are_one_clear_error(checkpoint, settings, text):
    """No code in them is run, and no traceback escapes."""
    settings.write_text(text)

    with pytest.raises(CheckpointError) as refused:
        open_checkpoint(checkpoint)

    assert refused.value.code == "garden/bad-settings"
    assert refused.value.file == str(settings)
