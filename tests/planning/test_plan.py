"""Recognition, plan and ledger, on checkpoints made from the tables' own names and shapes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from memory_checkpoint import MemoryCheckpoint

from porter.errors import PlanError
from porter.planning.ledger import Bucket
from porter.planning.plan import plan
from porter.tables.shipped import load_tables

TABLES = load_tables()
# Without twins: those are taken for the network that they are a twin of, see test_twins.py.
NAMES = sorted(name for name, variant in TABLES.variants.items() if variant.twin is None)
SMALL = "mobilenetv4_conv_small"
STEM = "layer_with_weights-0/layer_with_weights-0/_conv0/kernel"


def arrays(name, *, prefix="", classes=5, channels=3, head=True):
    """Return an array for every variable of a network, by object path."""
    variant = TABLES.variants[name]
    lengths = {"classes": classes, "channels": channels}
    return {
        prefix + variant.full_source(entry): np.broadcast_to(
            np.float32(0.5), [lengths.get(dim, dim) for dim in entry.source_shape]
        )
        for entry in variant.entries
        if head or entry.part == variant.parts[0].name
    }


def expected(name):
    """Return the network that the variables of `name` are taken for."""
    twin = TABLES.variants[name].twin
    return name if twin is None else twin.of


def expected_alone(name):
    """Return the network that a backbone alone is taken for: one that has a classifier is not stored so."""
    headless = (v.name for v in TABLES.variants.values() if v.twin and v.twin.layer and v.twin.of == name)
    return next(headless, expected(name))


def backbone(name, prefix):
    """Return a backbone saved by itself below `prefix`."""
    path = TABLES.variants[name].parts[0].path
    cut = len(path) + 1 if path else 0
    return {prefix + path[cut:]: value for path, value in arrays(name, head=False).items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prefix", ["", "model/", "export/network/"])
def test_network_is_recognised_below_any_root(name, prefix):
    """Names and shapes decide, wherever in the object graph the model is."""
    made = plan(MemoryCheckpoint(arrays(name, prefix=prefix)), TABLES)

    assert expected(name) == made.variant.name
    assert made.arguments["num_classes"] == 5
    assert {Bucket.MAPPED} == {line.bucket for line in made.ledger} - {Bucket.FOLDED}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prefix", ["backbone/", ""])
def test_backbone_alone_becomes_a_network_without_classes(name, prefix):
    """A backbone is what timm calls ``num_classes=0``."""
    made = plan(MemoryCheckpoint(backbone(name, prefix)), TABLES)

    assert expected_alone(name) == made.variant.name
    assert made.arguments["num_classes"] == 0
    head = {entry.target for entry in made.variant.entries if entry.part != made.variant.parts[0].name}
    assert not head & {assignment.target for assignment in made.assignments}


def test_model_and_backbone_saved_together_are_one_network():
    """The backbone's variables sit under ``backbone/``; the model reaches them through the graph alone."""
    head = {k: v for k, v in arrays(SMALL, prefix="model/").items() if "layer_with_weights-1/" in k[:27]}
    checkpoint = MemoryCheckpoint(backbone(SMALL, "backbone/") | head)
    checkpoint.alias("model/layer_with_weights-0", "backbone")

    made = plan(checkpoint, TABLES)

    assert made.arguments["num_classes"] == 5
    assert len(made.variant.entries) == sum(bool(assignment.parts) for assignment in made.assignments)


def test_grey_images_are_passed_on():
    """A stem with one input channel becomes ``in_chans=1``."""
    made = plan(MemoryCheckpoint(arrays(SMALL, channels=1)), TABLES)

    assert made.arguments["in_chans"] == 1


def test_every_target_names_its_source():
    """A target tensor has parts or is a counter; nothing is left to chance."""
    made = plan(MemoryCheckpoint(arrays(SMALL)), TABLES)

    targets = {a.target: a for a in made.assignments}
    assert set(targets) == {e.target for e in made.variant.entries} | {t for _, t in made.variant.counters}
    assert all(bool(a.parts) != (a.constant is not None) for a in made.assignments)


def with_averages(paths):
    """Add a moving average, a slot and a counter to conv_small."""
    values = arrays(SMALL, prefix="model/")
    extra = {f"optimizer/average/{i}": values[path] for i, path in enumerate(paths)}
    slots = [("average", path, f"optimizer/average/{i}") for i, path in enumerate(paths)]
    momenta = {"optimizer/m/0": values[paths[0]]}
    counters = {"save_counter": np.int64(3), "optimizer/iter": np.int64(9), "global_step": np.int64(9)}
    everything = values | extra | momenta | counters
    return MemoryCheckpoint(everything, slots=[*slots, ("m", paths[0], "optimizer/m/0")])


def test_ledger_puts_every_variable_in_one_bucket():
    """Mapped, average, slot and counter are told apart, and counted once each."""
    checkpoint = with_averages(["model/" + STEM])

    made = plan(checkpoint, TABLES)

    counts = Counter(line.bucket for line in made.ledger)
    assert len(made.ledger) == len(checkpoint.specs)
    assert counts[Bucket.EMA_TWIN] == 1
    assert counts[Bucket.OPTIMIZER] == 2
    assert counts[Bucket.BOOKKEEPING] == 2
    assert counts[Bucket.REFUSED] == 0


def test_auto_reads_the_average_per_variable():
    """Where there is an average it is read, elsewhere the variable itself."""
    made = plan(with_averages(["model/" + STEM]), TABLES)

    keys = {a.target: a.parts[0].key for a in made.assignments if a.parts}
    assert keys["conv_stem.weight"] == "optimizer/average/0"
    assert keys["bn1.weight"].startswith("model/")
    assert (made.weights, made.from_average) == ("ema", 1)


def test_raw_ignores_averages():
    """``--weights raw`` reads the variables as trained."""
    made = plan(with_averages(["model/" + STEM]), TABLES, weights="raw")

    assert (made.weights, made.from_average) == ("raw", 0)


def test_ema_insists_on_an_average():
    """``--weights ema`` refuses a checkpoint without one, and says why none is there."""
    with pytest.raises(PlanError, match="no optimizer is stored here"):
        plan(MemoryCheckpoint(arrays(SMALL)), TABLES, weights="ema")


def test_tf1_averages_and_slots_are_found_by_name():
    """TF1 keeps ``<name>/ExponentialMovingAverage`` and ``<name>/Momentum`` beside the variable."""
    values = arrays(SMALL)
    extra = {f"{STEM}/ExponentialMovingAverage": values[STEM], f"{STEM}/RMSProp_1": values[STEM]}

    made = plan(MemoryCheckpoint(values | extra, stored=False), TABLES)

    buckets = {line.key: line.bucket for line in made.ledger}
    assert buckets[f"{STEM}/ExponentialMovingAverage"] is Bucket.EMA_TWIN
    assert buckets[f"{STEM}/RMSProp_1"] is Bucket.OPTIMIZER
    assert made.from_average == 1


def test_left_over_variable_is_refused_by_name():
    """A variable that no rule takes stops the port and is named."""
    values = arrays(SMALL) | {"layer_with_weights-7/kernel": np.zeros((3, 4), np.float32)}

    with pytest.raises(PlanError, match=r"layer_with_weights-7/kernel \(3, 4\): no rule") as caught:
        plan(MemoryCheckpoint(values), TABLES)
    assert caught.value.code == "plan/left-over"


def test_missing_variable_names_the_nearest_networks():
    """The candidates are listed with what each of them misses."""
    values = arrays(SMALL)
    del values[STEM]

    with pytest.raises(PlanError) as caught:
        plan(MemoryCheckpoint(values), TABLES)

    assert caught.value.code == "plan/no-match"
    assert "mobilenetv4_conv_small: 229 of 230 variables fit" in str(caught.value)
    assert "layer_with_weights-0/_conv0/kernel is missing" in str(caught.value)


def test_misshapen_variable_is_named_with_both_shapes():
    """A width that no table knows is refused with the first shape that differs."""
    values = arrays(SMALL) | {STEM: np.zeros((3, 3, 3, 16), np.float32)}

    with pytest.raises(PlanError, match=r"has shape \(3, 3, 3, 16\), expected \(3, 3, channels, 32\)"):
        plan(MemoryCheckpoint(values), TABLES, variant="conv_small")


def test_foreign_checkpoint_says_that_no_table_fits():
    """A checkpoint of something else is called that."""
    with pytest.raises(PlanError, match="no table fits this checkpoint") as caught:
        plan(MemoryCheckpoint({"dense/kernel": np.zeros((2, 2), np.float32)}), TABLES)

    assert caught.value.code == "plan/unknown-network"


def test_two_networks_in_one_checkpoint_are_refused():
    """Teacher and student saved together: the person must choose."""
    values = arrays(SMALL, prefix="teacher/") | arrays(SMALL, prefix="student/")

    with pytest.raises(PlanError, match="is there 2 times: at 'student/layer_with_weights-0', 'teacher"):
        plan(MemoryCheckpoint(values), TABLES)


def test_a_network_that_the_file_names_twice_is_there_once():
    """A SavedModel of Keras has its layers below the root and below a node of its own, the same variables."""
    checkpoint = MemoryCheckpoint(arrays("tpu_efficientnet_lite0"))
    for edge in list(checkpoint.graph.nodes[0].children):
        checkpoint.alias(f"keras_api/{edge}", edge)

    assert plan(checkpoint, TABLES).variant.name == "tpu_efficientnet_lite0"


def test_integer_weights_are_refused():
    """A quantised or integer variable is no weight."""
    values = arrays(SMALL) | {STEM: np.zeros((3, 3, 3, 32), np.int32)}

    with pytest.raises(PlanError, match="its dtype is int32"):
        plan(MemoryCheckpoint(values), TABLES)


def test_epsilon_has_a_default_with_a_source_and_can_be_chosen():
    """Weights alone store no epsilon, so the plan says where its value comes from."""
    default = plan(MemoryCheckpoint(arrays(SMALL)), TABLES)
    chosen = plan(MemoryCheckpoint(arrays(SMALL)), TABLES, bn_eps=1e-6)

    assert default.arguments["bn_eps"] == 1e-3
    assert "NormActivation" in default.bn_eps_source
    assert any("--bn-eps 1e-6" in note for note in default.notes)
    assert chosen.arguments["bn_eps"] == 1e-6
    assert not chosen.notes


@pytest.mark.parametrize("epsilon", [float("nan"), float("inf"), 0.0, -1e-3])
def test_epsilon_that_is_no_positive_number_is_refused(epsilon):
    """What a command line or a script computes to NaN becomes a refusal, not a network of NaN."""
    with pytest.raises(PlanError, match="must be positive and finite") as refused:
        plan(MemoryCheckpoint(arrays(SMALL)), TABLES, bn_eps=epsilon)

    assert refused.value.code == "plan/bn-eps"


def test_norms_with_a_fixed_epsilon_keep_their_function():
    """Where TensorFlow fixes 1e-3 inside a network with 1e-6, the variance takes up the difference."""
    made = plan(MemoryCheckpoint(arrays("mobilenetv4_hybrid_medium")), TABLES, bn_eps=1e-6)

    moved = {a.target: a.offset for a in made.assignments if a.offset}
    assert len(moved) == 8
    assert all(name.endswith(("key.norm.running_var", "value.norm.running_var")) for name in moved)
    assert all(offset == 1e-3 - 1e-6 for offset in moved.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": "EMA"},
        {"classes": "drop_background"},
        {"channel_order": "bgr"},
        {"input_size": 0},
        {"input_size": (64, 64)},
    ],
)
def test_choice_that_does_not_exist_is_refused(wrong):
    """A misspelt word is not taken for the usual choice."""
    (name,) = wrong
    with pytest.raises(PlanError) as refused:
        plan(MemoryCheckpoint(arrays(SMALL)), TABLES, **wrong)
    assert refused.value.code == ("plan/input-size" if name == "input_size" else "plan/unknown-choice")


def test_network_that_was_not_meant_is_named():
    """Whoever asks for one width and has another is told which."""
    with pytest.raises(PlanError, match="those of mobilenetv4_conv_small") as refused:
        plan(MemoryCheckpoint(arrays(SMALL)), TABLES, variant="mobilenetv4_conv_medium")
    assert refused.value.code == "plan/other-network"


def test_a_custom_head_is_not_taken_for_a_misspelt_rule():
    """What lies outside the backbone is listed without a suggestion; the hint says how to leave it out."""
    values = backbone(SMALL, "model/layer_with_weights-0/") | {
        "model/layer_with_weights-1/kernel": np.zeros((1280, 7), np.float32)
    }

    with pytest.raises(PlanError) as refused:
        plan(MemoryCheckpoint(values), TABLES)

    assert refused.value.code == "plan/left-over"
    assert "did you mean" not in str(refused.value)
    assert "--backbone-only" in str(refused.value)
