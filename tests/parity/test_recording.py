"""Recordings survive the way to disk and back, and a bad file is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from porter.errors import OutputError, ParityError
from porter.recordings.activation import Activation, Statistics
from porter.recordings.recording import Provenance, Recording, Run
from porter.recordings.sampling import SampleRule

RNG = np.random.default_rng(0)


def recording(**stages):
    """A TensorFlow-like recording: one run, channels last."""
    inputs = RNG.standard_normal((1, 6, 6, 3))
    stages = stages or {"stem": RNG.standard_normal((1, 3, 3, 8)), "logits": RNG.standard_normal((1, 5))}
    return Recording.from_arrays(inputs, stages, layout="NHWC", framework="tensorflow")


def same(one, other):
    """Whether two recordings hold the same bits and descriptions."""
    assert one.provenance == other.provenance
    for a, b in zip(one.runs, other.runs, strict=True):
        assert (a.dtype, a.name) == (b.dtype, b.name)
        for column in ("stages", "local"):
            first, second = getattr(a, column), getattr(b, column)
            assert list(first) == list(second)
            for name in first:
                assert (first[name].shape, first[name].layout) == (second[name].shape, second[name].layout)
                assert first[name].rule == second[name].rule
                assert first[name].statistics == second[name].statistics
                assert first[name].values.tobytes() == second[name].values.tobytes()
    return True


def test_round_trip_keeps_bits_order_and_layout(tmp_path):
    """What was saved comes back bit by bit, stages in order, both columns."""
    made = recording()
    run = made.runs[0]
    local = {"stem": Activation.full(RNG.standard_normal((1, 8, 3, 3)).astype(np.float32), "NCHW")}
    made = Recording(
        Provenance("torch", "x", {"torch": "2"}, "v", "d", 3, 2, "2024-01-01", ("a note",)),
        (Run("float64", run.input, run.stages, local),),
    )

    made.save(tmp_path / "r.safetensors")

    assert same(made, Recording.load(tmp_path / "r.safetensors"))


def test_views_are_written_in_their_own_order(tmp_path):
    """A transposed view is stored as what it shows, not as the memory behind it."""
    view = RNG.standard_normal((1, 8, 3, 3)).transpose(0, 2, 3, 1)
    recording(stem=view).save(tmp_path / "r.safetensors")

    assert (Recording.load(tmp_path / "r.safetensors").runs[0].stages["stem"].values == view).all()


def test_samples_come_back_as_they_were_compared(tmp_path):
    """A sample's values, positions and statistics survive; its values are those of the file already."""
    full = Activation.full(RNG.standard_normal((1, 12, 12, 8)), "NHWC")
    sampled = full.sampled(SampleRule(0, "stem", 100))
    made = Recording(Provenance("tensorflow", "x"), (Run("float64", full, {"stem": sampled}),))

    made.save(tmp_path / "r.safetensors")
    back = Recording.load(tmp_path / "r.safetensors").runs[0].stages["stem"]

    assert same(made, Recording.load(tmp_path / "r.safetensors"))
    assert back.statistics == Statistics.of(full.values.transpose(0, 3, 1, 2))
    assert back.values == pytest.approx(full.channels_first().reshape(-1)[back.positions()], abs=1e-13)
    assert (tmp_path / "r.safetensors").stat().st_size < 100 * 6 + full.values.nbytes + 3000


def test_a_sample_of_nan_is_refused():
    """A golden can never hold a NaN."""
    with pytest.raises(ParityError, match="not finite"):
        Activation.full(np.array([1.0, np.nan]), "NCHW").sampled(SampleRule(0, "x", 1))


def test_a_sample_has_no_full_array():
    """Asking for what is not there is an error, not an array of the wrong shape."""
    sampled = Activation.full(np.arange(9.0), "NCHW").sampled(SampleRule(0, "x", 3))

    with pytest.raises(ParityError, match="no full array"):
        sampled.channels_first()


def test_run_is_named_by_dtype_and_size():
    """The name says what it was: height before width, whatever the layout."""
    inputs = Activation.full(np.zeros((2, 3, 224, 225)), "NCHW")

    assert Run("float32", inputs, {}).name == "float32@224x225"


def test_two_runs_of_one_name_are_refused(tmp_path):
    """A recording in which one run would hide another is not written."""
    run = recording().runs[0]

    with pytest.raises(ParityError, match="same dtype and size"):
        Recording(Provenance("torch", "x"), (run, run)).save(tmp_path / "r.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({}, "recording/not-a-recording"),
        ({"porter.recording": "[]"}, "recording/not-a-recording"),
        ({"porter.recording": '{"format": "porter-recording", "version": 99}'}, "recording/version"),
        ({"porter.recording": '{"format": "porter-recording", "version": 1}'}, "recording/unreadable"),
        ({"porter.recording": "{"}, "recording/unreadable"),
    ],
)
def test_other_files_are_refused(tmp_path, metadata, code):
    """A file that is no recording, or of another version, is refused with a stable code."""
    save_file({"x": np.zeros(1)}, tmp_path / "r.safetensors", metadata=metadata)

    with pytest.raises(ParityError) as refused:
        Recording.load(tmp_path / "r.safetensors")

    assert refused.value.code == code


def test_missing_and_damaged_files_are_refused(tmp_path):
    """Neither a missing nor a truncated file gives a traceback of another library."""
    recording().save(tmp_path / "r.safetensors")
    (tmp_path / "short").write_bytes((tmp_path / "r.safetensors").read_bytes()[:200])

    for name in ("none", "short"):
        with pytest.raises(ParityError, match="recording"):
            Recording.load(tmp_path / name)


def test_description_that_lies_about_a_shape_is_refused(tmp_path):
    """The stored array must have the shape that its description gives."""
    recording().save(tmp_path / "r.safetensors")
    content = (tmp_path / "r.safetensors").read_bytes()
    (tmp_path / "r.safetensors").write_bytes(content.replace(rb"[1, 3, 3, 8]", rb"[1, 3, 8, 3]"))

    with pytest.raises(ParityError, match="its description says"):
        Recording.load(tmp_path / "r.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: run.update(stages=[]),
        lambda run: run.update(dtype='f"><script>'),
        lambda run: run.update(dtype=5),
        lambda run: run["stages"]["stem"].update(rule=[0, "stem", 7]),
        lambda run: run["stages"]["logits"].update(rule=[0, "logits", 9], statistics=[0, 1, -1, 1, 1]),
    ],
)
def test_description_of_another_structure_is_refused(tmp_path, damage):
    """Whatever stands in the header, the answer is a refusal."""
    path, made = tmp_path / "r.safetensors", recording()
    stages = made.runs[0].stages | {"stem": made.runs[0].stages["stem"].sampled(SampleRule(0, "stem", 20))}
    Recording(made.provenance, (replace(made.runs[0], stages=stages),)).save(path)
    with safe_open(path, "numpy") as file:
        document = json.loads(file.metadata()["porter.recording"])
    damage(document["runs"][0])
    save_file(load_file(path), path, metadata={"porter.recording": json.dumps(document)})

    with pytest.raises(ParityError) as refused:
        Recording.load(path)
    assert refused.value.code == "recording/unreadable"


def test_stage_that_is_one_number_survives(tmp_path):
    """A loss is a stage, too."""
    made = recording(stem=RNG.standard_normal((1, 3, 3, 8)), loss=np.float64(0.5).reshape(()))
    made.save(tmp_path / "r.safetensors")

    assert same(made, Recording.load(tmp_path / "r.safetensors"))


def test_unwritable_place_is_refused(tmp_path):
    """A folder that does not exist gives one clear error."""
    with pytest.raises(OutputError, match="folder"):
        recording().save(tmp_path / "nowhere" / "r.safetensors")


def test_metadata_is_json_that_others_can_read(tmp_path):
    """The description is plain JSON under one metadata key."""
    from safetensors import safe_open

    recording().save(tmp_path / "r.safetensors")
    with safe_open(tmp_path / "r.safetensors", framework="numpy") as file:
        document = json.loads(file.metadata()["porter.recording"])

    assert document["format"] == "porter-recording"
    assert document["runs"][0]["name"] == "float64@6x6"
