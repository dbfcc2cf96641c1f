"""`porter match`: what it prints of a mapping, and what it refuses before anything is run."""

from __future__ import annotations

import pytest
from cli.command_line import run

import porter
from porter.errors import PlanError
from porter.matching.result import MatchedLayer, MatchResult, Run
from porter.matching.target import parse_target
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

MOVED = {"key": "conv/kernel", "path": "conv/kernel", "role": "kernel", "leaf": "weight", "scale": 1.0}


def result(**changes):
    """A match of one convolution without bias, and a norm without gamma."""
    layout = "h w i o -> o i h w"
    norm = [
        {
            **MOVED,
            "key": role,
            "path": f"norm/{role}",
            "role": role,
            "leaf": leaf,
            "layout": "c -> c",
            "shape": [4],
        }
        for role, leaf in (
            ("beta", "bias"),
            ("moving_mean", "running_mean"),
            ("moving_variance", "running_var"),
        )
    ]
    gamma = {"leaf": "weight", "value": 1.0, "shape": [4]}
    values = {
        "source": "model.h5",
        "function": "",
        "target": parse_target("my.module:build"),
        "layers": (
            MatchedLayer(
                "conv",
                "conv2d",
                "conv2d",
                [{**MOVED, "layout": layout, "shape": [3, 3, 2, 4]}],
                [],
                "",
                "",
                0.0,
            ),
            MatchedLayer("norm", "batch_norm", "batch_norm", norm, [gamma], "", "", 0.0, adjusted=("eps",)),
        ),
        "source_layers": ("conv2d", "batch_norm"),
        "modules": ("conv", "norm"),
        "adjustments": {"eps": {"norm": 1e-4}},
        "adjusted": True,
        "findings": (),
        "others": (),
        "proof": (Run("random weights, seed 1", "32x32", 2e-15, "conv"),),
        "notes": (),
        "end": "norm",
        "image": {"size": 32, "fixed": False, "channels": 3, "mean": [0.0], "std": [1.0], "known": False},
        "preparing": (),
        "versions": {"torch": "2"},
        "seconds": {"torch": 1.0},
        "attempts": 1,
    }
    return MatchResult(**{**values, **changes})


def test_match_writes_a_table_that_is_read(tmp_path):
    """Every layer has a line, what the source lacks is a constant, adjustments are said."""
    result().save(tmp_path / "mine.toml")

    variant = load_tables(tmp_path / "mine.toml").variant("matched_my_module_build")

    assert [entry.target for entry in variant.entries] == [
        *("conv.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    ]
    assert [(c.target, c.shape, c.value) for c in variant.constants] == [("norm.weight", (4,), 1.0)]
    assert variant.adjust == {"eps": {"norm": 1e-4}}
    assert variant.proof.status == "proved"
    assert variant.library == "torch"


@pytest.mark.parametrize("changes", [{"adjusted": False}, {"findings": ("conv: differs",)}, {"proof": ()}])
def test_match_that_is_not_proved_is_a_draft_which_nothing_ports_with(tmp_path, changes):
    """Adjustments that nobody agreed to, a layer that differs, and no run at all."""
    found = result(**changes)
    found.save(tmp_path / "mine.toml")
    tables = load_tables(tmp_path / "mine.toml")
    checkpoint = RandomCheckpoint(tables.variant("matched_my_module_build"), seed=0)

    assert found.status == "draft"
    assert "draft" in repr(found)
    with pytest.raises(PlanError) as refused:
        porter.plan(checkpoint, tables)
    assert refused.value.code == "plan/draft"
    assert len(porter.plan(checkpoint, tables, draft=True).assignments) == 6


def test_match_refuses_a_target_that_names_nothing(tmp_path):
    """Neither a library's network nor a function."""
    (tmp_path / "x.h5").write_bytes(b"")
    refused = run("match", str(tmp_path / "x.h5"), "--target", "resnet")

    assert refused.exit_code == 1
    assert "match/target" in refused.output
    assert "timm:NAME" in refused.output


@pytest.mark.parametrize(("out", "words"), [("t.txt", ".toml"), ("nowhere/t.toml", "nowhere")])
def test_match_looks_at_the_table_s_place_before_it_runs_anything(tmp_path, out, words):
    """A search of minutes is not lost to a folder that is not there, and no other file is replaced."""
    (tmp_path / "x.h5").write_bytes(b"")
    refused = run("match", str(tmp_path / "x.h5"), "--target", "timm:resnet50", "-o", str(tmp_path / out))

    assert refused.exit_code == 2
    assert words in refused.output
    assert "x.h5:" not in refused.output


def test_page_s_place_is_looked_at_before_anything_runs(tmp_path):
    """As the table's is."""
    (tmp_path / "x.h5").write_bytes(b"")
    page = tmp_path / "nowhere" / "m.html"
    refused = run("match", str(tmp_path / "x.h5"), "--target", "timm:resnet50", "--html", str(page))

    assert refused.exit_code == 2
    assert "nowhere" in refused.output
    assert "x.h5:" not in refused.output


def test_page_of_names_that_begin_with_a_slash():
    """A graph or a checkpoint may name a layer so."""
    assert "b</text>" in result(source_layers=("/a/b", "conv2d", "batch_norm")).html()


def test_page_joins_what_is_matched_and_marks_what_is_open():
    """A line for each pair, a mark for an adjusted module, and the names that have no counterpart."""
    page = result(source_layers=("conv2d", "batch_norm", "dense"), modules=("conv", "norm", "<fc>")).html()

    assert page.count("<path ") == 2
    assert page.count('class="adjusted"') == 1
    assert "adjusted: eps" in page
    assert all(f"{name}</text>" in page for name in ("conv2d", "batch_norm", "conv", "norm"))
    assert page.count(' open" x=') == 2
    assert "&lt;fc&gt;</text>" in page
    assert "2 of 3 modules" in page
    assert "<script" not in page
    assert "&lt;!doctype" in result()._repr_html_()
