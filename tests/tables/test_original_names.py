"""What a table can say of code that names its layers after scopes and counts the rest."""

from __future__ import annotations

import pytest

from porter.tables.shipped import load_tables

TABLE = """
schema = 1
family = "f"
title = "Tiny"
version = 1
[source]
builder = "usual.builder"
[target]
library = "timm"
[part.backbone]
path = ""
[input]
size = 32
mean = [0.5]
std = [0.5]
crop_pct = 0.9
interpolation = "bilinear"
[template.pair]
defaults = { first = true }
[template.pair.rules]
"conv2d{+first}" = { target = "a", kind = "conv2d", shape = "1 1 in out", when = "first" }
"inner/conv2d{+second}" = { target = "b", kind = "conv2d", shape = "1 1 out out", bias = true }
"depthwise_conv2d{+}" = { target = "c", kind = "depthwise_conv2d", shape = "3 3 out 1" }
[template.norm]
[template.norm.rules]
norm = { target = "n", kind = "batch_norm", shape = "out" }
[variant.tiny]
source = {}
target = { model = "tiny" }
blocks = [
    { source = "backbone/net/one", target = "x", template = "pair", in = 3, out = 4, first = false },
    { stage = "", source = "backbone/one", target = "x", template = "norm", out = 4 },
    { source = "backbone/net/s_{0..1}", target = "y.{0..1}", template = "pair", out = 4 },
]
"""


@pytest.fixture
def tiny(tmp_path):
    """Return a function from the text of a table to its variant."""

    def read(text=TABLE):
        (tmp_path / "t.toml").write_text(text)
        return load_tables(tmp_path / "t.toml").variants["tiny"]

    return read


def test_layers_without_a_name_are_counted_over_the_network(tiny):
    """The first of a kind has no number; a rule that does not apply takes none, a bias none of its own."""
    names = [entry.source for entry in tiny().entries if "norm" not in entry.source]

    assert names == [
        "net/one/inner/conv2d/kernel",
        "net/one/inner/conv2d/bias",
        "net/one/depthwise_conv2d/depthwise_kernel",
        "net/s_0/conv2d_1/kernel",
        "net/s_0/inner/conv2d_2/kernel",
        "net/s_0/inner/conv2d_2/bias",
        "net/s_0/depthwise_conv2d_1/depthwise_kernel",
        "net/s_1/conv2d_3/kernel",
        "net/s_1/inner/conv2d_4/kernel",
        "net/s_1/inner/conv2d_4/bias",
        "net/s_1/depthwise_conv2d_2/depthwise_kernel",
    ]


def test_half_of_a_block_under_a_name_of_its_own_is_no_stage(tiny):
    """Its tensors belong to the block's module, and the block is compared once."""
    variant = tiny()

    assert [stage.name for stage in variant.stages] == ["x", "y.0", "y.1"]
    assert "x.n.weight" in {entry.target for entry in variant.entries}


def test_variant_may_have_a_builder_of_its_own(tiny):
    """The table's builder counts where a variant names none."""
    other = TABLE.replace("[variant.tiny]\n", '[variant.tiny]\nbuilder = "own.builder"\n')

    assert tiny().source.name == "usual.builder"
    assert tiny(other).source.name == "own.builder"


def test_note_and_images_of_a_table_are_read(tiny):
    """Both are for people: neither changes what a port or a check computes."""
    told = TABLE.replace("version = 1\n", 'version = 1\nnote = "not run"\n').replace(
        "[input]", '[preset.other]\nmean = [0.1]\nstd = [0.2]\nwhen = "are others"\n[input]'
    )

    variant = tiny(told)

    assert variant.note == "not run"
    assert variant.presets["other"] == ((0.1,), (0.2,), "are others")
    assert variant.digest == tiny().digest
