"""What a Keras file's config says of its network: adopted where it is an argument, refused elsewhere."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

import porter
from porter.core.stored_network import Operation, StoredNetwork
from porter.errors import PlanError
from porter.formats.hdf5.description import describe
from porter.planning.network.canonical import canonical
from porter.planning.network.layer_pairing import own_differences
from porter.planning.network.record import is_stale, recorded
from porter.planning.plan import plan
from porter.tables.shipped import load_tables

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

config_edits = pytest.importorskip("config_edits", reason="needs h5py")
MODELS = ("MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ResNet50", "MobileNet", "Nested")


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def written(request, module_folder):
    """Let one generation of Keras write its networks."""
    if find_spec(request.param) is None:  # importing it here would bring TensorFlow into this process
        pytest.skip(f"needs {request.param}")
    folder = module_folder(request.param)
    run_with_tensorflow(Path(__file__).parent / "write_networks.py", request.param, folder)
    return folder


def planned(path, **choices):
    """Return what a port would do."""
    with porter.open_checkpoint(path) as checkpoint:
        return plan(checkpoint, **choices)


def test_no_record_is_stale():
    """Every record is of the table as it is; `python -m porter.runners.network_record` renews it."""
    stale = [name for name, variant in load_tables().variants.items() if is_stale(variant)]

    assert stale == []


@pytest.mark.parametrize("name", ["keras_mobilenetv2_035", "keras_mobilenetv3_small_100"])
def test_records_name_every_variable(name):
    """A record that lost a layer would let anything through."""
    variant = load_tables().variant(name)
    network = recorded(variant)

    names = {name for operation in network.operations for name in operation.variables.values()}
    assert names == {variant.full_source(entry) for entry in variant.entries}


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
def test_a_pool_over_all_of_a_small_map_is_compared_as_either(kind):
    """InceptionV3's last at 75 pixels, DenseNet's and VGG's at 32: a network's own pool, or a global one."""
    window = {"size": (2, 2), "strides": (2, 2), "padding": "valid"}
    image = Operation("input", "image", (), {"shape": (None, 2, 2, 8)}, {})
    pool = Operation(kind, "pool", (0,), window, {})
    given = canonical(StoredNetwork((image, pool), (1,), "a test")).operations[1]

    assert given.kind == f"global_{kind}"
    assert not [*own_differences(given, pool)]
    assert not [*own_differences(given, pool._replace(kind=given.kind, attributes={}))]
    assert [*own_differences(given, pool._replace(attributes={**window, "size": (3, 3)}))]


@pytest.fixture
def described_once(monkeypatch):
    """Describe the weights inside equal archives once: a child process for each edit would take minutes."""
    known = {}

    def cached(source, base, size):
        if size not in known:
            known[size] = describe(source, base, size)
        return known[size]

    monkeypatch.setattr("porter.checkpoints.keras.file.describe", cached)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("labels.txt", "0 a\n1 b\n2 c\n3 d\n4 1 e\n", ("a", "b", "c", "d", "1 e")),
        ("metadata.json", '{"labels": ["a", "b", "c", "d", "e"]}', ("a", "b", "c", "d", "e")),
        ("labels.txt", "a\nb\n", None),
        ("labels.txt", "\xff", None),
        ("metadata.json", "{", None),
    ],
)
def test_names_of_classes_beside_a_source_go_with_it(written, tmp_path, file, text, names):
    """As Teachable Machine writes them; a list of another length is of something else."""
    shutil.copy(written / "MobileNet.h5", tmp_path)
    (tmp_path / file).write_bytes(text.encode("latin-1"))
    found = planned(tmp_path / "MobileNet.h5").class_names

    assert (found and found.names) == names
    assert found is None or found.source == f"{file} beside the source"


@pytest.mark.tensorflow
def test_fixed_padding_of_odd_maps_is_adopted(written):
    """Keras's MobileNet pads (0, 1) at 33 pixels, too; PyTorch's SAME would give another answer."""
    found = planned(written / "odd.keras")

    assert found.variant.adjust["padding"]["blocks.1.0.conv_dw"] == ((0, 1), (0, 1))
    assert any("4 convolutions of PyTorch's network are made to pad" in note for note in found.notes)
    assert not planned(written / "MobileNet.keras").variant.adjust
    cut = planned(written / "odd_cut.keras")
    assert cut.variant.adjust == found.variant.adjust
    assert "conv_pw_3_relu, conv_pw_5_relu" in cut.cut.words


@pytest.mark.tensorflow
def test_network_of_any_size_is_said_to_be_exact_at_multiples_of_32(written):
    """Without a size Keras pads for an even one."""
    assert any("multiples of 32 pixels" in note for note in planned(written / "any.keras").notes)
    amounts = planned(written / "any.keras", input_size=33).variant.adjust["padding"]
    assert set(amounts.values()) == {((0, 1), (0, 1))}
    assert not planned(written / "any.keras", input_size=64).variant.adjust


@pytest.mark.tensorflow
@pytest.mark.usefixtures("described_once")
@pytest.mark.parametrize("model", MODELS)
def test_contradictions_are_adopted_or_refused(written, tmp_path, model):
    """The unchanged file passes without a word; no change of its config does."""
    source = written / f"{model}.keras"
    unchanged = planned(source)
    assert "layers as the file's config says" in unchanged.network
    assert unchanged.classifier_activation == "softmax"
    tried, wrong = 0, []
    for name, (edit, usual) in config_edits.EDITS.items():
        changed = tmp_path / "changed.keras"
        if not config_edits.edited(source, changed, edit):
            continue
        tried += 1
        try:
            found = "adopted" if differs(planned(changed), unchanged) else "silent"
        except PlanError as error:
            is_named = name == "an extra norm" or error.code == "plan/other-network"
            found = "refused" if is_named else error.code
        # MobileNetV3 has a layer with weights between its pool and its classifier: that pool is no head's.
        is_inner = name == "kind of the global pool" and model.startswith("MobileNetV3")
        expected = "refused" if is_inner else usual
        if found != expected:
            wrong.append((name, expected, found))

    assert wrong == []
    assert tried >= 15


def differs(found, unchanged):
    """Whether two plans differ in anything that the written file, or the person, is told."""
    names = set(found._fields) - {"ledger", "variant", "network"}
    return any(getattr(found, name) != getattr(unchanged, name) for name in names)


@pytest.mark.tensorflow
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_one_epsilon_is_an_argument(written, tmp_path, suffix):
    """The file's epsilon is the network's; a person's choice comes first, and a note says over what."""
    edit, _ = config_edits.EDITS["epsilon of all"]
    config_edits.edited(written / f"MobileNetV2.{suffix}", tmp_path / f"changed.{suffix}", edit)

    found = planned(tmp_path / f"changed.{suffix}")
    chosen = planned(tmp_path / f"changed.{suffix}", bn_eps=0.002)

    assert (found.bn_eps, found.bn_eps_source) == (1e-5, "the file's config")
    assert not any(assignment.offset for assignment in found.assignments)
    assert (chosen.bn_eps, chosen.bn_eps_source) == (0.002, "chosen with --bn-eps")
    assert any("although the file's config says 1e-05" in note for note in chosen.notes)


@pytest.mark.tensorflow
def test_epsilons_that_differ_go_into_the_variances(written, tmp_path):
    """The norm whose epsilon is larger gets a larger variance, and no other tensor changes."""
    edit, _ = config_edits.EDITS["epsilon of one"]
    config_edits.edited(written / "MobileNetV2.keras", tmp_path / "changed.keras", edit)

    found = planned(tmp_path / "changed.keras")

    assert found.bn_eps == 1e-3
    offsets = {a.target: a.offset for a in found.assignments if a.offset}
    assert list(offsets) == ["bn1.running_var"]
    np.testing.assert_allclose(offsets["bn1.running_var"], 1e-2 - 1e-3)


@pytest.mark.tensorflow
def test_refusals_name_the_layer_and_both_sides(written, tmp_path):
    """A person reads which layer it is, by the file's own name."""
    edit, _ = config_edits.EDITS["stride of the stem"]
    config_edits.edited(written / "MobileNetV2.keras", tmp_path / "changed.keras", edit)

    with pytest.raises(PlanError) as caught:
        planned(tmp_path / "changed.keras")

    assert caught.value.details[0] == "Conv1: expected strides (2, 2), found strides (1, 1)"


@pytest.mark.tensorflow
def test_sigmoid_reaches_the_metadata(written, tmp_path):
    """A classifier of one unit is no softmax over one class."""
    safetensors = pytest.importorskip("safetensors")
    result = porter.port(written / "head.keras", tmp_path / "out.safetensors")

    with safetensors.safe_open(result.out, framework="numpy") as file:
        metadata = file.metadata()
    assert result.plan.classifier_activation == "sigmoid"
    assert metadata["porter.classifier_activation"] == "sigmoid"
    assert json.loads(metadata["porter.arguments"])["num_classes"] == 1


@pytest.mark.tensorflow
def test_what_follows_the_backbone_belongs_to_the_head(written):
    """Global max pooling is timm's argument with the head, and noted without it."""
    whole = planned(written / "largest.keras")
    alone = planned(written / "largest.keras", backbone_only=True)

    assert whole.arguments["global_pool"] == "max"
    assert not any("takes the maximum over the image" in note for note in whole.notes)
    assert any("takes the maximum over the image" in note for note in alone.notes)


def _relu6_head(layers):
    layers[-1]["config"]["activation"] = "relu6"
    return True


@pytest.mark.tensorflow
def test_a_capped_activation_of_the_classifier_is_told_with_its_cap(written, tmp_path):
    """ReLU6 is not ReLU: the name alone would let a reader apply another function."""
    config_edits.edited(written / "MobileNetV2.keras", tmp_path / "changed.keras", _relu6_head)

    assert planned(tmp_path / "changed.keras").classifier_activation == "relu (max_value 6)"


def _training(class_name):
    def edit(layers):
        layer = next(layer for layer in layers if layer["class_name"] == class_name)
        call = layer["inbound_nodes"][0]
        if isinstance(call, dict):
            call["kwargs"]["training"] = True
        else:
            call[0][3]["training"] = True
        return True

    return edit


@pytest.mark.tensorflow
def test_a_norm_that_is_called_as_in_training_is_refused(written, tmp_path):
    """With training=True it normalises by the batch, and no stored statistics give its answer."""
    config_edits.edited(
        written / "MobileNetV2.keras", tmp_path / "changed.keras", _training("BatchNormalization")
    )

    with pytest.raises(PlanError) as caught:
        planned(tmp_path / "changed.keras")

    assert caught.value.details[0] == "bn_Conv1: expected training none, found training True"


@pytest.mark.tensorflow
def test_a_dropout_that_is_called_as_in_training_is_refused(written, tmp_path):
    """It draws at random whenever the model is used, which no weights give."""
    config_edits.edited(written / "MobileNet.keras", tmp_path / "changed.keras", _training("Dropout"))

    with pytest.raises(PlanError, match="Dropout"):
        planned(tmp_path / "changed.keras")


def _foreign(layers):
    relu = next(layer for layer in layers if layer["class_name"] == "ReLU")
    relu["module"], relu["registered_name"] = "somebody.layers", "ReLU"
    return True


@pytest.mark.tensorflow
def test_a_class_of_somebodys_own_is_not_taken_for_that_of_keras(written, tmp_path):
    """It may compute anything, whatever it is called."""
    config_edits.edited(written / "MobileNetV2.keras", tmp_path / "changed.keras", _foreign)

    with pytest.raises(PlanError, match="describes another network"):
        planned(tmp_path / "changed.keras")


@pytest.mark.parametrize(("shape", "kind"), [((4, 4, 8), "dense"), ((2, 8, 8), "other"), (None, "dense")])
def test_dense_layer_that_moves_pixels_is_not_one_on_the_map(shape, kind):
    """Two reshapes round a product may give the pixels other places: what follows would see another map."""
    image = Operation("input", "image", (), {"shape": (1, 8, 8, 3)}, {})
    moves = {"kernel": (3, 3), "strides": (2, 2), "padding": "same", "dilation": (1, 1), "groups": 1}
    conv = Operation("conv", "conv", (0,), moves, {"kernel": "conv/kernel"})
    dense = Operation("dense", "dense", (1,), {"use_bias": False, "shape": shape}, {"kernel": "dense/kernel"})

    found = canonical(StoredNetwork((image, conv, dense), (2,), "a test")).operations[2]

    assert found.kind == kind
