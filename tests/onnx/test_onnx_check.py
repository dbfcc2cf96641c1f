"""The ONNX export as a witness: what a fault in it, and in nothing else, looks like."""

from __future__ import annotations

import onnx
import pytest

from porter.checks.check import Check
from porter.checks.onnx_check import check_against_onnx, with_third_witness
from porter.parity.compare import compare
from porter.parity.outcome import Verdict
from porter.recordings.random_weights import image_input
from porter.recordings.recording import Provenance

SIZE = (64, 64)


@pytest.mark.onnx
@pytest.mark.torch
def test_wrong_pad_in_the_graph_is_found_and_onnx_is_the_outlier(exported, recorded):
    """SAME's (0, 1) edited to (1, 0) in one convolution: its stage is named, and so is the guilty witness."""
    from porter.runners.onnx import record_model

    sabotaged = onnx.ModelProto()
    sabotaged.CopyFrom(exported("conv_small", SIZE)[0])
    move_pad(sabotaged, "blocks.1.0")
    inputs = [image_input(0, SIZE, 1)]
    torch = recorded("conv_small", inputs, ("float64", "float32"))
    found, _ = record_model(sabotaged, inputs, ("float64", "float32"), Provenance("onnx", "sabotaged"))
    # PyTorch stands in for TensorFlow, with which it agrees: what is asked is who of three is named.
    recordings = {"tensorflow": torch, "torch": torch, "onnx": found}
    report = with_third_witness(compare(torch, found), recordings)

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == "blocks.1.0"
    assert (report.findings[0].stage, report.findings[0].look_at) == ("blocks.1.0", "the onnx side")
    assert sum("onnx is the outlier" in note for note in report.notes) == 2
    assert all("tensorflow is the outlier" not in note for note in report.notes)


def move_pad(model, stage):
    """Move the zeros of the first asymmetric convolution in front of `stage` from the end to the start."""
    weights = [
        node for node in model.graph.node if node.op_type == "Conv" and node.input[1].startswith(stage)
    ]
    (pads,) = (a for a in weights[0].attribute if a.name == "pads")
    assert list(pads.ints) == [0, 0, 1, 1]
    pads.ints[:] = [1, 1, 0, 0]


@pytest.mark.onnx
@pytest.mark.tensorflow
def test_three_witnesses_agree():
    """TensorFlow, PyTorch and ONNX, each in its own process, compute one thing at every stage."""
    from porter.runners.process import missing_packages
    from porter.tables.shipped import load_tables

    missing = missing_packages("tensorflow") + missing_packages("onnx")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    report = check_against_onnx(Check(load_tables().variant("conv_small"), sizes=((33, 33), (32, 32)))).report

    assert report.verdict is Verdict.PARITY
    assert report.findings == ()
    assert [case.name for case in report.cases if not case.decides][-1] == "float32 optimised@32x32"
    assert sum("all agree at 20 stages" in note for note in report.notes) == 4


@pytest.mark.onnx
def test_images_are_reported(tmp_path, monkeypatch):
    """What PyTorch and ONNX see in an image stands in the report, as it does for TensorFlow."""
    from PIL import Image

    from porter.checks import onnx_check
    from porter.tables.shipped import load_tables

    monkeypatch.setattr(onnx_check, "missing_packages", lambda _: ["tensorflow"])  # two witnesses will do
    Image.new("RGB", (70, 50), (200, 100, 50)).save(tmp_path / "x.png")
    variant = load_tables().variant("garden_mobilenetv1_025")
    check = Check(variant, sizes=((33, 33),), dtypes=("float64",), images=(tmp_path / "x.png",))
    (image,) = check_against_onnx(check).report.images

    assert image.file == "x.png"
    assert len(image.expected) == 5
    assert [guess.index for guess in image.expected] == [guess.index for guess in image.actual]
    assert image.probability_difference < 1e-12
