"""Renaming tables: every rule of the notation, and every table that comes with porter, there and back."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from porter.core.layouts import parse_layout
from porter.errors import PlanError, TableError
from porter.outputs.forms import TARGETS
from porter.outputs.renaming.renaming import BlockLine, Names, Rename, rename
from porter.outputs.renaming.restoring import Restoring, restoring
from porter.outputs.renaming.target_table import read_target_table, target_table
from porter.tables.shipped import mappings_folder

FILES = sorted((mappings_folder() / "targets").glob("*/*.toml"))
MODELS = [(file, model) for file in FILES for model in read_target_table(file).models]
RECORDED = Path(__file__).parent / "transformers_networks.json"


def lines(**kinds):
    """Return names with one kind of block per keyword: (pattern, target, modules)."""
    blocks = tuple(
        BlockLine(timm, target, {key: Rename((name,)) for key, name in modules.items()}, frozenset())
        for timm, target, modules in kinds.values()
    )
    return Names("a network", {}, frozenset(), blocks)


def flat(found):
    """Return new names by old."""
    return {old: renamed.names for old, renamed in found.items()}


def test_blocks_are_numbered_in_numeric_order():
    """``{n}`` counts blocks 2, 10 in this order, ``{b}`` is the block's own number, and both compute."""
    names = lines(all=("blocks.{b}", "l.{2n+1}.{b-1}", {"conv": "c"}))

    found = rename(names, ["blocks.10.conv.weight", "blocks.2.conv.weight"])

    assert flat(found) == {
        "blocks.10.conv.weight": ("l.3.9.c.weight",),
        "blocks.2.conv.weight": ("l.1.1.c.weight",),
    }


def test_kind_of_block_is_told_by_its_modules():
    """A block takes the rules that name exactly what is in it, although one module is in both kinds."""
    names = lines(
        plain=("b.{b}", "plain.{n}", {"bn1": "x"}),
        expanded=("b.{b}", "expanded.{n}", {"conv": "e", "bn1": "y"}),
    )

    found = rename(names, ["b.0.bn1.bias", "b.1.bn1.bias", "b.1.conv.weight"])

    assert flat(found) == {
        "b.0.bn1.bias": ("plain.0.x.bias",),
        "b.1.bn1.bias": ("expanded.1.y.bias",),
        "b.1.conv.weight": ("expanded.1.e.weight",),
    }


def test_tensor_belongs_to_the_deepest_pattern():
    """A layer inside a block follows the layer's rule, and ranges keep a pattern to its numbers."""
    names = lines(
        block=("s.{s:1..2}", "outer.{s}", {"norm": "n"}),
        layer=("s.{s:1..2}.layer.{t}", "outer.{s}.inner.{t}", {"norm": "n"}),
    )

    found = rename(names, ["s.1.norm.bias", "s.1.layer.0.norm.bias"])

    assert found["s.1.layer.0.norm.bias"].names == ("outer.1.inner.0.n.bias",)
    with pytest.raises(PlanError, match="has 0 names"):
        rename(names, ["s.3.norm.bias"])


@pytest.mark.parametrize(
    ("names", "tensors", "code"),
    [
        (lines(a=("b.{b}", "x.{n}", {"conv": "c"})), ["b.0.other.weight"], "target/block"),
        (lines(a=("b.{b}", "x", {"conv": "c"})), ["b.0.conv.weight", "b.1.conv.weight"], "target/same-name"),
        (lines(), ["conv.weight"], "target/no-name"),
        (Names("n", {"stem": Rename(("s",))}, frozenset(), ()), [], "target/missing"),
    ],
)
def test_what_is_no_bijection_is_refused(names, tensors, code):
    """A tensor without a name, two with one, a block of no kind and a rule that fits nothing are errors."""
    with pytest.raises(PlanError) as caught:
        rename(names, tensors)

    assert caught.value.code == code


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_table_says_what_it_is(file):
    """The folder is the target's name, which the command knows."""
    table = read_target_table(file)

    assert table.target == file.parent.name
    assert table.target in TARGETS
    assert "{path" in table.load
    assert table.folder == bool(table.config)


@pytest.mark.torch
@pytest.mark.parametrize(("file", "model"), MODELS, ids=[f"{f.parent.name}-{m}" for f, m in MODELS])
def test_table_is_a_bijection_there_and_back(file, model):
    """Names and bits survive the way to the target and back, and no target name is used twice."""
    table = read_target_table(file)
    shapes = timm_shapes(model)
    renamed = rename(table.names, shapes)
    values = {
        name: np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
        for name, shape in shapes.items()
        if np.prod(shape) < 1 << 18  # enough of every kind, without gigabytes for the largest networks
    }

    there = {}
    for name, value in values.items():
        rule = renamed[name]
        moved = value if rule.layout is None else rule.layout.apply(value)
        parts = np.split(moved, len(rule.names)) if len(rule.names) > 1 else [moved]
        there |= dict(zip(rule.names, parts, strict=True))
    way_back = restoring(table, list(shapes), (), None)
    back = {name: way_back.restore(name, there) for name in values}

    assert set(there) == {new for new, old in way_back.timm_names.items() if old in values}
    assert {name: (v.shape, v.tobytes()) for name, v in back.items()} == {
        name: (v.shape, v.tobytes()) for name, v in values.items()
    }


def test_variances_come_back_without_what_the_target_added():
    """Where the target's classes fix another epsilon, the difference is taken off again."""
    table = target_table("transformers", "resnet50")
    names = ["bn1.running_var", "bn1.running_mean"]
    assert table.bn_eps == 1e-5

    way_back = Restoring({name: Rename((f"new.{name}",)) for name in names}, names[:1], 1e-3 - table.bn_eps)

    held = {f"new.{name}": np.full(3, 0.5) for name in names}
    assert way_back.restore(names[0], held) == pytest.approx(np.full(3, 0.5 - 0.00099), abs=0)
    assert way_back.restore(names[1], held) == pytest.approx(np.full(3, 0.5), abs=0)


@pytest.mark.torch
@pytest.mark.parametrize("model", sorted(json.loads(RECORDED.read_text())))
def test_names_and_shapes_are_those_of_transformers(model):
    """What a port writes is what transformers' own network holds, as recorded from it."""
    expected = json.loads(RECORDED.read_text())[model]
    shapes = timm_shapes(model)
    renamed = rename(target_table("transformers", model).names, shapes)

    found = {}
    for name, shape in shapes.items():
        rule = renamed[name]
        moved = list(shape if rule.layout is None else rule.layout.target_shape(shape))
        if len(rule.names) > 1:
            moved[0] //= len(rule.names)
        found |= dict.fromkeys(rule.names, moved)

    assert digest(found) == expected


def test_every_model_of_transformers_is_recorded():
    """A network that is added to a table must be recorded from transformers too."""
    known = {model for file, model in MODELS if file.parent.name == "transformers"}

    assert known == set(json.loads(RECORDED.read_text()))


def digest(shapes):
    """Return a number of tensors and a digest of their names and shapes."""
    from record_transformers import digest as recorded

    return recorded(shapes)


@cache
def timm_shapes(model):
    """Return the shapes of timm's state dict by name."""
    pytest.importorskip("timm")
    import timm
    import torch

    import porter  # noqa: F401 (registers the networks of porter's own)

    with torch.device("meta"):
        return {name: tuple(t.shape) for name, t in timm.create_model(model).state_dict().items()}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("h w i o -> o i h w", "a b c d -> d a b c", "h w i o -> w o i h"),
        ("i o -> o i", "o i -> o i 1 1", "i o -> o i 1 1"),
        ("h k d -> (h k) d", "o i -> i o", "h k d -> d (h k)"),
    ],
)
def test_layouts_follow_each_other(first, second, expected):
    """One layout after another is the layout that numpy gives step by step."""
    array = np.arange(24 if len(first.split("->")[0].split()) < 4 else 120)
    array = array.reshape({2: (4, 6), 3: (2, 3, 4), 4: (2, 3, 4, 5)}[len(first.split("->")[0].split())])

    both = parse_layout(first).then(parse_layout(second))

    assert both.pattern == expected
    np.testing.assert_array_equal(
        both.apply(array), parse_layout(second).apply(parse_layout(first).apply(array))
    )


def test_layout_that_merges_cannot_follow():
    """A layout whose source has merged axes is not a second step."""
    with pytest.raises(TableError, match=re.escape("cannot follow")):
        parse_layout("i o -> o i").then(parse_layout("(a b) c -> a b c"))
