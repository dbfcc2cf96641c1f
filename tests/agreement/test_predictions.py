"""`porter classify DATA --out`: what a port sees in every image of a data set, as a file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cli.command_line import run

from porter.agreement.engine import Engine
from porter.agreement.predicting import predict
from porter.errors import PorterError

pytestmark = pytest.mark.tensorflow


def test_a_row_for_each_image_as_a_port_sees_it_alone(ported, images, tmp_path):
    """In Parquet and in lines of JSON: the same classes as for the image by itself, nothing else left."""
    for name in ("all.parquet", "all.jsonl"):
        done = run("classify", ported, images, "--out", tmp_path / name, "--workers", 2, "--batch", 3)
        assert done.exit_code == 0, done.output
    from pyarrow import parquet

    rows = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]

    assert rows == lines
    assert [row["index"] for row in rows] == list(range(10))
    assert {path.name for path in tmp_path.iterdir()} == {"all.parquet", "all.jsonl"}
    alone = run("classify", ported, images / rows[0]["key"], "--json")
    best = json.loads(alone.output)["images"][0]["best"]
    assert [guess["number"] for guess in best] == rows[0]["classes"]
    assert rows[0]["probabilities"] == pytest.approx([guess["probability"] for guess in best], abs=1e-6)


def test_an_unreadable_image_is_a_row_with_a_fault(ported, images, tmp_path):
    """It is counted and named."""
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "list").write_text(f"{next(images.rglob('*.png'))}\nbad.jpg\ngone.jpg\n")
    done = predict(ported, tmp_path / "list", tmp_path / "out.jsonl")

    assert (done.images, done.faults) == (3, 2)
    assert [Path(key).name for key, _ in done.unusable] == ["bad.jpg", "gone.jpg"]
    assert (
        done.unusable[0][1] == "cannot be read as an image (its format is not known)"
    )  # the same in any run


def test_an_interrupted_run_goes_on(ported, images, tmp_path):
    """What is done is not done again, and the file is that of a run that nothing disturbs."""
    one_by_one = Engine(batch=1)
    counted = []

    def interrupt(done, _total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(ported, images, tmp_path / "out.jsonl", engine=one_by_one, progress=interrupt)
    assert not (tmp_path / "out.jsonl").exists()
    done = len(list((tmp_path / "out.jsonl.unfinished" / "parts-done").iterdir()))
    predict(
        ported, images, tmp_path / "out.jsonl", engine=one_by_one, progress=lambda *of: counted.append(of)
    )
    predict(ported, images, tmp_path / "whole.jsonl", engine=one_by_one)

    assert 4 <= done < 10
    assert counted == [(number, 10) for number in range(done + 1, 11)]
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_another_ending_is_refused(ported, images, tmp_path):
    """The file's name says its format."""
    with pytest.raises(PorterError) as refused:
        predict(ported, images, tmp_path / "out.csv")
    assert refused.value.code == "classify/out"


def test_the_data_is_never_written_over(ported, images, tmp_path):
    """Neither the file itself nor its folder, where the rows would be data the next time."""
    data = tmp_path / "data.jsonl"
    data.write_text(f"{next(images.rglob('*.png'))}\n")
    folder = shutil.copytree(images, tmp_path / "images")
    for given, out in ((data, data), (folder, folder / "0" / "out.parquet")):
        with pytest.raises(PorterError) as refused:
            predict(ported, given, out)
        assert refused.value.code == "agree/out-in-data"

    assert len(data.read_text().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "images"]


@pytest.mark.parametrize("wrong", ["data", "port", "labels", "out"])
def test_what_is_refused_is_refused_first_and_leaves_nothing(ported, images, wrong, tmp_path):
    """Before any image is worked on; the run that is meant is then not taken for another."""
    (tmp_path / "out.jsonl").mkdir() if wrong == "out" else None
    nothing = tmp_path / "nothing.safetensors"
    with pytest.raises(PorterError):
        predict(
            nothing if wrong == "port" else ported,
            nothing if wrong == "data" else images,
            tmp_path / "out.jsonl",
            labels=nothing if wrong == "labels" else None,
            progress=lambda *_: pytest.fail("an image was worked on"),
        )

    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_name_that_is_no_text_is_written_escaped(ported, images, ending, tmp_path):
    """Parquet's strings are UTF-8; names of files need not be."""
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(next(images.rglob("*.png")), os.fsencode(folder) + b"/\xff.png")
    done = predict(ported, folder, tmp_path / f"out.{ending}")

    assert (done.images, done.faults) == (1, 0)
    assert "udcff.png" in (tmp_path / f"out.{ending}").read_bytes().decode(errors="replace")
