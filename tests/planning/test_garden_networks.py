"""The Model Garden's networks as their SavedModels describe them, held against what is recorded of them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow

import porter
from porter.errors import PlanError
from porter.planning.plan import plan

pytestmark = pytest.mark.tensorflow
WRITER = Path(__file__).parent / "write_garden_networks.py"


@pytest.fixture(scope="module")
def written(module_folder):
    """Return the folder where TensorFlow wrote its networks and the edited copies."""
    if find_spec("official") is None:
        pytest.skip("needs tf-models-official")
    folder = module_folder("garden_networks")
    run_with_tensorflow(WRITER, folder)
    return folder


def planned(path, **choices):
    """Return what a port would do."""
    with porter.open_checkpoint(path) as checkpoint:
        return plan(checkpoint, **choices)


@pytest.mark.parametrize(
    ("name", "layers"),
    [("mobilenetv4_conv_small", 136), ("mobilenetv4_hybrid_medium", 300)],
)
def test_unchanged_network_is_that_of_its_record(written, name, layers):
    """Every layer is compared; mean and std are read."""
    made = planned(written / name)

    assert made.variant.name == name
    assert made.network.endswith("layers as the source's graph says")
    assert int(made.network.split()[0]) >= layers
    assert made.input_spec.mean == (0.5, 0.5, 0.5)
    assert made.input_spec.std == (0.5, 0.5, 0.5)


def test_graph_tells_networks_of_one_shape_apart(written):
    """The table alone would take the other one, with ReLU inside squeeze-and-excitation."""
    made = planned(written / "garden_efficientnet_b0_swish_se")

    assert made.variant.name == "garden_efficientnet_b0_swish_se"
    assert not any("fit" in note for note in made.notes)


def test_epsilon_of_the_graph_is_adopted(written):
    """The network is the table's but for its one argument."""
    made = planned(written / "mobilenetv4_conv_small_smaller_epsilon")

    assert (made.bn_eps, made.bn_eps_source) == (1e-5, "the source's graph")


@pytest.mark.parametrize(
    ("name", "expected", "found"),
    [
        ("mobilenetv4_conv_small_strided", "strides (2, 2)", "strides (1, 1)"),
        ("mobilenetv4_conv_small_capped", "max_value none", "max_value 6"),
        ("mobilenetv4_conv_small_maximal", "global_avg_pool", "global_max_pool"),
        ("mobilenetv4_hybrid_medium_turned", "equation bnhk,bmk->bnhm", "equation bnhk,bmh->bnhm"),
    ],
)
def test_other_networks_are_refused_by_layer(written, name, expected, found):
    """Both sides are told, in the graph's own words where it has no other name."""
    with pytest.raises(PlanError) as refused:
        planned(written / name)

    assert refused.value.code == "plan/other-network"
    assert any(f"expected {expected}, found {found}" in line for line in refused.value.details)


def test_frozen_network_is_known_by_what_it_computes(written):
    """A frozen graph has none of the names of the Garden's blocks; its head is the network's own."""
    made = planned(written / "mobilenetv4_conv_small.pb")

    assert made.variant.name == "mobilenetv4_conv_small"
    assert made.network.endswith("layers as the source's graph says")
    assert made.cut is None
    assert not made.has_own_head
    assert made.arguments["num_classes"] == 7
    assert len(made.assignments) == len(planned(written / "mobilenetv4_conv_small").assignments)


def test_frozen_network_of_two_libraries_has_a_note_and_a_choice(written):
    """Keras's MobileNetV2 and the Garden's are one graph, and take images that are prepared otherwise."""
    source = written / "garden_mobilenetv2_035.pb"
    made = planned(source)
    chosen = planned(source, variant="garden_mobilenetv2_035")

    assert made.variant.name == "keras_mobilenetv2_035"
    assert any(note.startswith("garden_mobilenetv2_035 computes the same") for note in made.notes)
    assert chosen.variant.name == "garden_mobilenetv2_035"
    assert chosen.input_spec.mean != made.input_spec.mean
    assert not any("computes the same" in note for note in chosen.notes)
    keys = [{a.target: [p.key for p in a.sources] for a in found.assignments} for found in (made, chosen)]
    assert keys[0] == keys[1]
    with pytest.raises(PlanError, match="its names and shapes are those of keras_mobilenetv2_035"):
        planned(source, variant="mobilenetv4_conv_small")


def test_frozen_efficientnet_is_a_port_of_its_own_library(written):
    """Squeeze-and-excitation, and what stands inside, are told by the graph."""
    made = planned(written / "garden_efficientnet_b0.pb")

    assert made.variant.name == "garden_efficientnet_b0"
