"""The network in a graph is that of the config of the same model; what is edited in a graph is seen."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

from porter.checkpoints import open_checkpoint
from porter.errors import CheckpointError, PlanError
from porter.planning.network.canonical import canonical
from porter.planning.plan import plan
from porter.tables.shipped import load_tables

pytestmark = pytest.mark.tensorflow

TABLES = load_tables()
WRITER = Path(__file__).parent / "write_graph_networks.py"
# What configs alone tell, or shapes, which a graph spells in other ways.
APART = ("same_amounts", "use_bias", "shape", "target_shape")


@pytest.fixture(scope="module")
def written(module_folder):
    """Return the folder where TensorFlow wrote its models and the edited copies."""
    if find_spec("tf_keras") is None:
        pytest.skip("needs tensorflow and tf-keras")
    folder = module_folder("networks")
    run_with_tensorflow(WRITER, folder)
    return folder


def described(path):
    """Return a source's network as nested tuples, in which neither order nor names matter."""
    with open_checkpoint(path) as checkpoint:
        network = canonical(checkpoint.stored_network)
    found = []
    for kind, _, inputs, attributes, variables in network.operations:
        own = sorted((name, str(value)) for name, value in attributes.items() if name not in APART)
        found.append(hash((kind, tuple(own), tuple(sorted(found[n] for n in inputs)), len(variables))))
    return found, [found[number] for number in network.outputs]


@pytest.mark.parametrize(
    ("name", "generation"),
    [("mobilenetv2", 2), ("mobilenetv2", 3), ("mobilenetv3", 2), ("mobilenetv3", 3), ("efficientnet", 3)],
)
def test_graph_and_config_of_one_model_describe_one_network(written, name, generation):
    """Every operation with its inputs, and the outputs, are alike."""
    graph, outputs = described(written / f"{name}_{generation}")
    config, expected = described(written / f"{name}_{generation}.keras")

    assert sorted(graph) == sorted(config)
    assert outputs == expected


def test_an_output_that_is_lost_is_told(written):
    """A graph with one end in two forms has nothing to lose; a map of the middle is no such."""
    notes = plan(written / "beside.pb").notes

    assert any(note.startswith("the source returns 2 outputs (") for note in notes)
    assert not any("outputs" in note for note in plan(written / "mobilenetv2_3").notes)


@pytest.mark.parametrize("generation", [2, 3])
def test_unchanged_graph_is_compared_with_the_table(written, generation):
    """Nothing is refused, and the epsilon is the graph's."""
    with open_checkpoint(written / f"mobilenetv2_{generation}") as checkpoint:
        made = plan(checkpoint, TABLES)

    assert made.network == "155 layers as the source's graph says"
    assert made.bn_eps == 1e-3
    assert made.bn_eps_source == "the source's graph"
    assert made.classifier_activation == "softmax"


def with_scales_in_layers(weights):
    """Return weights as a converter leaves them that makes layer scales part of the layers before them."""
    found = dict(weights)
    for target, parts in weights.items():
        if target.endswith(".gamma"):
            block, (scale,) = target.removesuffix("gamma"), parts
            found[target] = []  # filled with ones
            for name in (f"{block}mlp.fc2.weight", f"{block}mlp.fc2.bias"):
                found[name] = [part * scale for part in weights[name]]
    return found


@pytest.mark.parametrize(
    ("generation", "form"), [(2, ""), (2, ".pb"), (2, ".tflite"), (3, ""), (3, ".pb"), (3, ".tflite")]
)
def test_layers_of_a_convnext_are_known_by_what_takes_them(written, generation, form):
    """Exports list variables without names, frozen and converted graphs have none; norms are written out."""
    weights = []
    for path in (written / f"convnext_{generation}.keras", written / f"convnext_{generation}{form}"):
        with open_checkpoint(path) as checkpoint:
            made = plan(checkpoint, TABLES)
            weights.append({a.target: [checkpoint.read(p.key) for p in a.parts] for a in made.assignments})
        assert made.variant.name == "keras_convnext_tiny"
        assert "layers as the" in made.network
    config, graph = weights
    if (generation, form) == (3, ".tflite"):
        config = with_scales_in_layers(config)

    assert config.keys() == graph.keys()
    for target, expected in config.items():
        for one, other in zip(expected, graph[target], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("edit", "layer", "found"),
    [
        ("strided", "Conv1", "strides (1, 1)"),
        ("unpadded", "Conv1", "padding ((0, 0), (0, 0))"),
        ("uncapped", "block_3_expand_relu", "max_value none"),
    ],
)
def test_edited_graph_is_refused_by_layer(written, edit, layer, found):
    """The layer and what the graph computes there are named."""
    with (
        open_checkpoint(written / "edited" / edit) as checkpoint,
        pytest.raises(PlanError) as refused,
    ):
        plan(checkpoint, TABLES)

    assert refused.value.code == "plan/other-network"
    lines = [line for line in str(refused.value).splitlines() if "expected" in line]
    assert any(layer in line and found in line for line in lines)


def test_epsilon_of_every_norm_is_adopted(written):
    """The graph's epsilon is the ported network's."""
    with open_checkpoint(written / "edited" / "smaller_epsilon") as checkpoint:
        assert plan(checkpoint, TABLES).bn_eps == 1e-5


def test_epsilon_of_one_norm_is_added_to_its_variance(written):
    """The network's one epsilon is completed by an offset."""
    with open_checkpoint(written / "edited" / "one_epsilon") as checkpoint:
        made = plan(checkpoint, TABLES)

    assert made.bn_eps == 1e-3
    offsets = {each.target: each.offset for each in made.assignments if each.offset}
    assert list(offsets) == ["bn1.running_var"]
    assert offsets["bn1.running_var"] == pytest.approx(0.009)


def test_activation_of_the_classifier_is_adopted(written):
    """A sigmoid in the place of the softmax is told."""
    with open_checkpoint(written / "edited" / "sigmoid") as checkpoint:
        assert plan(checkpoint, TABLES).classifier_activation == "sigmoid"


def test_pooling_in_front_of_the_classifier_is_adopted(written):
    """A maximum over the image is an argument of timm's network."""
    with open_checkpoint(written / "edited" / "maximal") as checkpoint:
        assert plan(checkpoint, TABLES).arguments["global_pool"] == "max"


@pytest.mark.parametrize("form", ["", ".pb"])
@pytest.mark.parametrize("name", ["caffe", "normalised", "resized", "halved"])
def test_exported_and_frozen_models_of_keras_3_are_ported_as_their_files_are(written, name, form):
    """Network, images and head are the same, the network is compared, and nothing is left unsaid."""
    plans = []
    for path in (written / "prepared" / f"{name}.keras", written / "prepared" / f"{name}{form}"):
        with open_checkpoint(path) as checkpoint:
            plans.append(plan(checkpoint, TABLES))
    config, graph = plans

    assert graph.variant.name == config.variant.name
    assert "layers as the source's graph says" in graph.network
    assert (graph.bn_eps, graph.channel_order, graph.head) == (
        config.bn_eps,
        config.channel_order,
        config.head,
    )
    for values in ("mean", "std"):
        expected = getattr(config.input_spec, values)
        assert getattr(graph.input_spec, values) == pytest.approx(expected, rel=1e-5)
    assert not any("in front of the network" in note for note in graph.notes + config.notes)


def test_graph_with_a_loop_is_no_network(written):
    """It is read to its end all the same."""
    with open_checkpoint(written / "edited" / "loop") as checkpoint:
        assert checkpoint.stored_network is None


def test_graph_that_takes_what_does_not_exist_is_refused(written):
    """The refusal names the file."""
    with (
        open_checkpoint(written / "edited" / "dangling") as checkpoint,
        pytest.raises(CheckpointError) as refused,
    ):
        _ = checkpoint.stored_network

    assert refused.value.code == "graphdef/missing-node"
    assert refused.value.file.endswith("saved_model.pb")
