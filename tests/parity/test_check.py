"""`porter.check`: one call that does what `parity-check` does, on the port that was asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from warm_frameworks import run_with_tensorflow

import porter
from porter.errors import ParityError, PlanError
from porter.parity.outcome import Verdict
from porter.parity.tolerances import Tolerances

ROOT = Path(__file__).parent.parent.parent

WITH_BACKGROUND = """
import sys
import tensorflow as tf, tf_keras
from official.vision.modeling.backbones import mobilenet
from official.vision.modeling.classification_model import ClassificationModel
backbone = mobilenet.MobileNet(model_id="MobileNetV4ConvSmall")
model = ClassificationModel(backbone, num_classes=1001)
tf.train.Checkpoint(model=model).write(sys.argv[1])
"""

# Everything differs under this tolerance, so that the causes are looked for, too.
TRACED = """
import json, sys
import porter
from porter.parity.tolerances import Tolerances
report = porter.check(checkpoint=sys.argv[1], classes="drop-background", bn_eps=2e-3, input_size=64,
                      dtypes=["float64"], tolerances=Tolerances(rtol={"float64": 1e-30}))
print(json.dumps([report.passed, report.worst, [c.name for c in report.cases],
                  list(report.expected.runs[0].stages["logits"].shape), report.actual.provenance.source]))
"""


@pytest.fixture(scope="module")
def traced(module_folder):
    """A check of a port without its background class: what it said, and what was called by which process."""
    pytest.importorskip("official", reason="needs tf-models-official")
    folder = module_folder("traced")
    run_with_tensorflow(WITH_BACKGROUND, folder / "ckpt")
    paths = os.pathsep.join([str(ROOT / "tests" / "traced"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "TRACE_FILE": str(folder / "calls")}
    run = subprocess.run(
        [sys.executable, "-c", TRACED, folder / "ckpt"],
        check=True, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(run.stdout), (folder / "calls").read_text().splitlines()


@pytest.mark.tensorflow
@pytest.mark.torch
def test_choices_about_a_port_reach_both_frameworks(traced):
    """A port of 1000 of 1001 classes, with another epsilon and size, is what is checked."""
    (passed, worst, cases, logits, source), _ = traced

    assert not passed
    assert worst < 1e-11
    assert cases == ["float64@64x64"]
    assert logits == [1, 1000]
    assert "bn_eps=0.002" in source


@pytest.mark.tensorflow
@pytest.mark.torch
def test_each_process_opens_and_recognises_once(traced):
    """The parent, TensorFlow's and PyTorch's process each open the file once and recognise it once."""
    _, calls = traced

    counted = Counter(tuple(call.split()) for call in calls)
    assert sorted(name for _, name in counted) == ["open_checkpoint"] * 3 + ["recognise"] * 3
    assert set(counted.values()) == {1}


@pytest.mark.tensorflow
@pytest.mark.torch
def test_a_port_that_takes_rgb_is_checked_on_rgb(tmp_path):
    """Keras's ResNet takes BGR images; its turned port gets the same image as RGB, and agrees."""
    pytest.importorskip("tf_keras", reason="needs TensorFlow")
    from PIL import Image

    rising = Image.linear_gradient("L")
    colours = [rising, rising.rotate(90), Image.radial_gradient("L")]
    Image.merge("RGB", colours).save(tmp_path / "a.png")

    report = porter.check(
        "keras_resnet50", channel_order="rgb", images=[tmp_path / "a.png"], input_size=64, dtypes=["float64"]
    )

    assert report.verdict is Verdict.PARITY
    assert report.outcome.images[0].source_difference < 1e-4


@pytest.mark.torch
def test_a_report_reads_well_everywhere(tables):
    """A line as a repr, text, a page in a frame, JSON; and the phases as they begin."""
    pytest.importorskip("timm", reason="needs timm")
    phases = []

    report = porter.check("conv_small", against="golden", tables=tables, phase=phases.append)

    assert report.passed
    assert report.first_bad_stage is None
    assert report.findings == ()
    assert repr(report).startswith("<PARITY: mobilenetv4_conv_small: torch against the golden; 2 cases")
    assert len(repr(report)) < 200
    assert "PARITY" in report.text()
    assert "&lt;title" in report._repr_html_()
    assert json.loads(report.json()) == report.to_json()
    assert phases == ["running PyTorch against the golden"]


@pytest.mark.torch
def test_a_failure_against_a_golden_names_stage_and_cause(edited_table):
    """The diagnosis is part of the call."""
    pytest.importorskip("timm", reason="needs timm")
    from porter.checks.goldens import _Golden
    from porter.tables.shipped import load_tables

    variant = edited_table(('arguments = { pad_type = "same" }', "arguments = {}"))
    tables = load_tables(variant.table)
    with pytest.MonkeyPatch.context() as patch:
        init = _Golden.__init__

        def fresh(self, path, known, **options):
            init(self, path, known, **options)
            self.stale = False

        patch.setattr(_Golden, "__init__", fresh)
        report = porter.check("conv_small", against="golden", tables=tables)

    assert not report.passed
    assert report.first_bad_stage == "stem"
    assert report.findings[0].cause == "padding"
    assert "first bad stage: stem, likely cause: padding" in repr(report)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "check/nothing-named"),
        ({"variant": "conv_small", "against": "golden", "seed": 1}, "check/beyond-golden"),
        ({"variant": "conv_small", "against": "golden", "bn_eps": 1e-5}, "check/beyond-golden"),
        ({"variant": "conv_small", "batch": 0}, "check/size"),
        ({"variant": "conv_small", "sizes": [0]}, "check/size"),
        ({"variant": "conv_small", "dtype": "float16"}, "check/dtype"),
        ({"variant": "conv_small", "dtypes": ["int8"]}, "plan/unknown-choice"),
        ({"variant": "conv_small", "against": "jax"}, "plan/unknown-choice"),
        ({"variant": "conv_small", "classes": "drop-background"}, "plan/no-background"),
    ],
)
def test_what_cannot_be_checked_is_refused_at_once(arguments, code):
    """Before a framework is started, with a code and without a guess."""
    if code == "plan/no-background":
        pytest.importorskip("official", reason="needs tf-models-official")

    with pytest.raises((ParityError, PlanError)) as refused:
        porter.check(**arguments)

    assert refused.value.code == code


def test_what_is_beyond_a_golden_is_named():
    """The argument that TensorFlow is needed for is in the error, for a program to read."""
    with pytest.raises(ParityError) as refused:
        porter.check("conv_small", against="golden", weights="raw", tolerances=Tolerances())

    assert refused.value.found == "weights"
