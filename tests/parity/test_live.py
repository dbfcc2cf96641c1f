"""TensorFlow and PyTorch side by side, on real networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

from porter.checks.check import Check, check_against_tensorflow
from porter.errors import ParityError
from porter.parity.outcome import Status, Verdict
from porter.parity.tolerances import NOISE_FLOOR
from porter.planning.port_options import PortOptions

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

WAYS = ["model", "backbone", "saved_model", "optimizer"]
WRITER = Path(__file__).parent.parent / "port" / "write_checkpoints.py"


def test_every_stage_agrees_in_float64(live):
    """Stem, blocks, head and logits agree to 1e-11 at even, odd and mixed sizes, in both columns."""
    decided = [case for case in live.report.cases if case.decides]

    assert live.report.verdict is Verdict.PARITY
    assert [case.name for case in decided] == ["float64@64x64", "float64@65x65", "float64@64x97"]
    for case in decided:
        assert [stage.name for stage in case.stages][:2] == ["input", "stem"]
        assert case.stages[-1].name == "logits"
        assert len(case.stages) == 21
        assert all(stage.local is not None for stage in case.stages[1:])
        assert case.worst < 1e-11


def test_float32_informs_with_a_measured_bound(live):
    """The float32 bound of each stage comes from noise of the size of float32 rounding."""
    informed = [case for case in live.report.cases if not case.decides]

    assert len(informed) == 3
    for case in informed:
        assert case.passed
        for stage in case.stages[1:]:
            assert 2**-25 < stage.noise.expected < 1e-4
            assert NOISE_FLOOR <= stage.propagated.tolerance < 1e-3


def test_provenance_says_what_ran(live):
    """The report names versions, builder, arguments, seed and threads of both sides."""
    assert live.expected.provenance.framework == "tensorflow"
    assert "MobileNetV4ConvSmall" in live.expected.provenance.source
    assert "pad_type='same'" in live.actual.provenance.source
    assert set(live.actual.provenance.versions) == {"torch", "timm", "numpy"}
    assert live.expected.provenance.table_digest == live.actual.provenance.table_digest
    assert live.report.ledger["mapped"] == 232


def test_inputs_are_the_same_bits_on_both_sides(live):
    """Both networks were given the same images, each in its own layout."""
    expected, actual = live.expected.runs[0].input, live.actual.runs[0].input

    assert (expected.layout, actual.layout) == ("NHWC", "NCHW")
    assert (expected.channels_first() == actual.channels_first()).all()
    assert len(np.unique(actual.values[0] - actual.values[1])) > 1000


def test_second_seed_is_no_false_alarm(tables):
    """Other weights and inputs of a correct port pass too."""
    checked = check_against_tensorflow(
        Check(tables.variant("conv_small"), sizes=((64, 64),), dtypes=("float64",), seed=99)
    )

    assert checked.report.verdict is Verdict.PARITY
    assert checked.expected.provenance.seed == 99


@pytest.mark.parametrize("name", ["conv_small", "conv_medium", "hybrid_medium"])
def test_network_agrees_in_float64(tables, name, capsys):
    """Every stage agrees to 1e-11 at 224, 225, 200 and 96 pixels; benchmarks/measure.py has all networks."""
    sizes = tuple((size, size) for size in (224, 225, 200, 96))

    checked = check_against_tensorflow(Check(tables.variant(name), sizes=sizes, dtypes=("float64",)))

    with capsys.disabled():
        print(
            f"\n{name}: " + ", ".join(f"{c.size[0]} px {c.worst:.1e}" for c in checked.report.cases), end=" "
        )
    assert checked.report.verdict is Verdict.PARITY
    assert max(case.worst for case in checked.report.cases) < 1e-11


def test_missing_padding_is_found_at_even_sizes_only(port_against, edited_table):
    """Without SAME padding the stem is guilty at 64 and innocent at 65: odd sizes hide the fault."""
    variant = edited_table(('arguments = { pad_type = "same" }', "arguments = {}"))

    report = port_against(variant)

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == "stem"
    even, odd, _ = report.cases
    assert even.stages[1].local.status is Status.OVER
    assert odd.stages[1].local.passed


def test_wrong_epsilon_is_found(port_against, edited_table):
    """Another batch normalisation epsilon shows at every stage, locally."""
    report = port_against(edited_table(("default = 1e-3", "default = 1e-5")), sizes=((65, 65),))

    assert report.verdict is Verdict.NO_PARITY
    assert all(not stage.local.passed for stage in report.cases[0].stages[1:-1])


def test_other_weights_are_found(port_against, tables):
    """A port of other weights than TensorFlow ran is no parity anywhere."""
    report = port_against(tables.variant("conv_small"), sizes=((65, 65),), seed=1)

    assert all(not stage.local.passed for stage in report.cases[0].stages[1:])


def test_swapped_weights_are_blamed_on_their_blocks(port_against, edited_table):
    """Two blocks of one shape exchanged by the table: every other stage is locally innocent."""
    variant = edited_table(
        ('layer_with_weights-6", target = "blocks.2.1"', 'SEVEN", target = "blocks.2.1"'),
        ('layer_with_weights-7", target = "blocks.2.2"', 'layer_with_weights-6", target = "blocks.2.2"'),
        ('SEVEN", target = "blocks.2.1"', 'layer_with_weights-7", target = "blocks.2.1"'),
    )

    report = port_against(variant, sizes=((65, 65),))

    assert report.first_bad_stage == "blocks.2.1"
    guilty = [stage.name for stage in report.cases[0].stages[1:] if not stage.local.passed]
    assert guilty == ["blocks.2.1", "blocks.2.2"]


def test_oblong_input_to_a_hybrid_is_refused(tables):
    """TensorFlow's hybrids take square inputs only; that is said before anything runs."""
    with pytest.raises(ParityError, match="square") as refused:
        check_against_tensorflow(Check(tables.variant("hybrid_medium"), sizes=((96, 128),)))

    assert refused.value.code == "check/not-square"


@pytest.fixture(scope="module")
def written(module_folder):
    """ConvSmall with 11 classes, saved by TensorFlow as a model, a bare backbone, and with averages."""
    folder = module_folder("written")
    run_with_tensorflow(WRITER, folder, "MobileNetV4ConvSmall", *WAYS)
    return folder


@pytest.mark.parametrize(
    ("way", "stages", "weights"),
    [
        ("model", 21, "auto"),
        ("backbone", 20, "auto"),
        ("saved_model", 21, "auto"),
        ("optimizer", 21, "auto"),
        ("optimizer", 21, "raw"),
    ],
)
def test_stored_weights_agree(tables, written, way, stages, weights):
    """TensorFlow restores the checkpoint itself, PyTorch gets it ported: both compute the same."""
    checked = check_against_tensorflow(
        Check(
            tables.variant("conv_small"),
            sizes=((64, 64),),
            checkpoint=written / way,
            options=PortOptions(weights=weights),
        )
    )

    assert checked.report.verdict is Verdict.PARITY
    assert len(checked.report.cases[0].stages) == stages
    assert checked.expected.provenance.seed is None


GREY = """
import sys
import tensorflow as tf, tf_keras
from official.vision.modeling.backbones import mobilenet
from official.vision.modeling.classification_model import ClassificationModel
specs = tf_keras.layers.InputSpec(shape=[None, None, None, 1])
backbone = mobilenet.MobileNet(model_id="MobileNetV4ConvSmall", input_specs=specs)
model = ClassificationModel(backbone, num_classes=3, input_specs=specs)
tf.train.Checkpoint(model=model).write(sys.argv[1])
"""


def test_one_channel_and_three_classes_agree(tables, tmp_path):
    """Lengths that the checkpoint decides reach both networks and the images."""
    run_with_tensorflow(GREY, tmp_path / "ckpt")

    checked = check_against_tensorflow(
        Check(
            tables.variant("conv_small"),
            sizes=((64, 64),),
            dtypes=("float64",),
            checkpoint=tmp_path / "ckpt",
        )
    )

    assert checked.report.verdict is Verdict.PARITY
    assert checked.actual.runs[0].input.shape == (1, 1, 64, 64)
    assert checked.actual.runs[0].stages["logits"].shape == (1, 3)
