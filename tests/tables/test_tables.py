"""Mapping tables: what they expand to, and how a faulty one is refused."""

from __future__ import annotations

import numpy as np
import pytest

from porter.checks.table_faults import state_dict_faults
from porter.errors import TableError
from porter.tables.shipped import load_tables, mappings_folder

TABLES = load_tables()
MINIMAL = """
schema = 1
family = "f"
title = "Tiny"
version = 1
[source]
builder = "b"
[target]
library = "timm"
[part.backbone]
path = "body"
[free.classes]
argument = "num_classes"
default = 1000
[input]
mean = [0.5]
std = [0.5]
crop_pct = 0.9
interpolation = "bilinear"
[template.conv]
[template.conv.rules]
_conv = { target = "conv", kind = "conv2d", shape = "3 3 in out" }
_norm = { target = "bn", kind = "batch_norm", shape = "out" }
[variant.tiny]
source = {}
target = { model = "tiny" }
input = { size = 32 }
blocks = [
    { source = "backbone/a", target = "a", template = "conv", in = 3, out = 8 },
    { source = "backbone/b", target = "b", template = "conv", out = 16 },
]
"""

UNUSED = """
[template.old]
rules = { x = { target = "x", kind = "dense", shape = "1 1" } }
"""


def read(tmp_path, text):
    """Load one table from text."""
    file = tmp_path / "t.toml"
    file.write_text(text)
    return load_tables(file)


def test_five_mobilenet_v4_come_with_porter():
    """The networks of the Model Garden are known by timm's names."""
    names = {"conv_small", "conv_medium", "conv_large", "hybrid_medium", "hybrid_large"}

    assert {f"mobilenetv4_{name}" for name in names} <= set(TABLES.variants)


@pytest.mark.parametrize("name", sorted(TABLES.variants))
def test_every_table_has_a_proved_inverse(name):
    """Going to the target and back restores every variable's name and every bit, for every rule."""
    variant = TABLES.variants[name]
    alone = [entry.target for entry in variant.entries if not entry.join and not entry.folded]

    assert len(variant.entries) == len({(e.part, e.source) for e in variant.entries})
    assert len(alone) == len(set(alone))
    for entry in variant.entries:
        shape = tuple(7 if isinstance(dim, str) else dim for dim in entry.source_shape)
        value = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)  # every element another
        groups = zip(entry.layout.source, shape, strict=True)
        sizes = {group[0]: length for group, length in groups if len(group) == 1}
        moved = entry.layout.apply(value)
        assert moved.shape == tuple(7 if isinstance(dim, str) else dim for dim in entry.target_shape)
        np.testing.assert_array_equal(entry.layout.inverse.apply(moved, **sizes), value)


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted(TABLES.variants))
def test_targets_are_exactly_the_state_dict(name):
    """Every tensor of the PyTorch network is named once, with its shape, and nothing else is."""
    pytest.importorskip("timm")
    from porter.networks.shapes import state_dict_shapes

    variant = TABLES.variants[name]

    assert state_dict_faults(variant, state_dict_shapes(variant)) == []


def test_short_name_that_is_unique_is_enough():
    """``hybrid_medium`` is as good as timm's full name."""
    assert TABLES.variant("hybrid_medium").name == "mobilenetv4_hybrid_medium"


def test_misspelt_variant_gets_candidates():
    """A typing error is answered with the nearest names."""
    with pytest.raises(TableError, match="Did you mean mobilenetv4_hybrid_medium"):
        TABLES.variant("mobilenetv4_hybrid_mediun")


def test_part_of_a_name_gets_the_names_that_hold_it():
    """A word that only some networks have leads to those, not to whatever is spelt a little like it."""
    with pytest.raises(TableError) as refused:
        TABLES.variant("hybrid")

    suggested = str(refused.value).partition("Did you mean ")[2].partition("?")[0].split(", ")
    assert len(suggested) == 3
    assert all("hybrid" in name for name in suggested)


def test_name_that_resembles_none_gets_the_list_instead():
    """Names that have nothing to do with what was asked for would only mislead."""
    with pytest.raises(TableError, match="porter variants lists them"):
        TABLES.variant("zzz")


def test_width_follows_from_the_previous_block(tmp_path):
    """``in`` is the previous block's ``out`` unless a block says otherwise."""
    entries = {entry.target: entry for entry in read(tmp_path, MINIMAL).variants["tiny"].entries}

    assert entries["b.conv.weight"].source_shape == (3, 3, 8, 16)
    assert entries["b.conv.weight"].target_shape == (16, 8, 3, 3)


def test_digest_changes_with_the_mapping_and_not_with_the_comments(tmp_path):
    """A golden is stale when what the table computes changed, and only then."""
    plain = read(tmp_path, MINIMAL).variants["tiny"].digest

    assert plain == read(tmp_path, "# hello\n" + MINIMAL).variants["tiny"].digest
    assert plain != read(tmp_path, MINIMAL.replace('"bn"', '"norm"')).variants["tiny"].digest


@pytest.mark.parametrize(
    ("old", "new", "code", "text"),
    [
        ("schema = 1", "schema = 9", "table/schema", "expected 1, found 9"),
        ("schema = 1", "schema = 'x'", "table/type", "expected int"),
        ('title = "Tiny"', "", "table/missing-key", "key 'title' is missing"),
        ('title = "Tiny"', 'title = "Tiny"\ncolour = 1', "table/unknown-key", "unknown key 'colour'"),
        ('library = "timm"', 'library = "keras"', "table/library", "expected one of ['timm', 'torchvision'"),
        ('kind = "conv2d"', 'kind = "conv7d"', "table/kind", "unknown kind 'conv7d'"),
        ('kind = "conv2d"', 'kind = "tensor"', "table/layout", "needs a layout"),
        ('kind = "conv2d"', 'kind = "conv2d", layout = "c -> c"', "table/layout", "has its own layout"),
        ('shape = "3 3 in out"', 'shape = "3 in out"', "table/rank", "expected 4 lengths"),
        ('shape = "out" }', 'shape = "out", bias = true }', "table/bias", "has no bias"),
        ('shape = "out" }', 'shape = "width" }', "table/missing-parameter", "needs 'width'"),
        ("in = 3, out = 8", "in = 3, out = 8, depth = 2", "table/unknown-parameter", "no 'depth'"),
        ("in = 3, out = 8", "in = 'pixels', out = 8", "table/free-length", "'pixels'"),
        ('template = "conv", in = 3', 'template = "conc", in = 3', "table/template", "unknown template"),
        ('"backbone/a"', '"body/a"', "table/part", "unknown part 'body'"),
        ('target = "b"', 'target = "a", stage = "b"', "table/repeated", "target 'a.conv.weight'"),
        ('source = "backbone/b"', 'source = "backbone/a"', "table/repeated", "source 'backbone/a/"),
        ("[variant.tiny]", UNUSED + "[variant.tiny]", "table/unused-rule", "never applies"),
        ("schema = 1", "schema = = 1", "table/syntax", "not valid TOML"),
    ],
)  # fmt: skip
def test_faulty_table_is_refused_with_file_and_place(tmp_path, old, new, code, text):
    """Every way in which a table can be wrong has a code and says where."""
    assert old in MINIMAL
    with pytest.raises(TableError) as caught:
        read(tmp_path, MINIMAL.replace(old, new, 1))

    assert code == caught.value.code
    assert text in str(caught.value)
    assert "t.toml" in str(caught.value)


def test_missing_file_is_named(tmp_path):
    """A table that is not there is an error with its path."""
    with pytest.raises(TableError, match=r"nowhere\.toml: cannot be read \(No such file"):
        load_tables(tmp_path / "nowhere.toml")


def test_same_variant_in_two_files_is_refused(tmp_path):
    """Two tables must not fight over a name."""
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(MINIMAL)

    with pytest.raises(TableError, match="variant 'tiny' is also in"):
        load_tables(tmp_path / "a.toml", tmp_path / "b.toml")


def test_tables_of_a_checkout_are_found():
    """A checkout reads the tables beside the package; a wheel carries them inside."""
    assert (mappings_folder() / "model_garden" / "mobilenet_v4.toml").is_file()
