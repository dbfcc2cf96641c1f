"""What a table can say beyond one rule, one variable, one tensor: expansion, plan and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from memory_checkpoint import MemoryCheckpoint
from small_tables import VARIANT, head, ported, read

from porter.errors import TableError
from porter.planning.ledger import Bucket
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

CONV = """
[template.conv]
rules = { _conv = { target = "conv", kind = "conv2d", shape = "1 1 in out" } }
"""


def test_a_range_stands_for_a_line_per_number(tmp_path):
    """Source, target, stage and probe count together, with a step where one is given; widths chain."""
    line = (
        'source = "backbone/l-{3..5}", target = "b.{0..2}", stage = "s{1..3}", probe = "p-{10..14..2}", '
        'modules = ["x", "b.{0..2}"], template = "conv", in = 4, out = 8'
    )
    blocks = f"blocks = [{{ {line} }}]"
    variant = read(tmp_path, head() + CONV + VARIANT + blocks)

    assert [entry.source for entry in variant.entries] == [f"l-{n}/_conv/kernel" for n in (3, 4, 5)]
    assert [entry.target for entry in variant.entries] == [f"b.{n}.conv.weight" for n in range(3)]
    assert [entry.source_shape for entry in variant.entries] == [(1, 1, 4, 8), (1, 1, 8, 8), (1, 1, 8, 8)]
    assert [stage.name for stage in variant.stages] == ["s1", "s2", "s3"]
    assert [stage.source for stage in variant.stages] == ["p-10", "p-12", "p-14"]
    assert [stage.target for stage in variant.stages] == [("x", f"b.{n}") for n in range(3)]


def test_lines_of_a_group_take_turns(tmp_path):
    """Blocks in which each layer has a line, and is a stage, stand there once; a length may count too."""
    inner = [
        'source = "backbone/l-{3..7..2}", target = "b.{0..2}.one", in = "{4..8..2}", out = 2',
        'source = "backbone/l-{4..8..2}", target = "b.{0..2}.two", in = 2, out = "{6..8}"',
    ]
    group = ", ".join(f'{{ {line}, template = "conv" }}' for line in inner)
    variant = read(tmp_path, head() + CONV + VARIANT + f"blocks = [{{ lines = [{group}] }}]")

    assert [entry.source for entry in variant.entries] == [f"l-{n}/_conv/kernel" for n in range(3, 9)]
    assert [stage.name for stage in variant.stages] == [
        f"b.{n}.{each}" for n in range(3) for each in ("one", "two")
    ]
    assert [entry.source_shape[2:] for entry in variant.entries] == [
        (4, 2),
        (2, 6),
        (6, 2),
        (2, 7),
        (8, 2),
        (2, 8),
    ]


def test_each_of_a_range_may_take_a_width_of_its_own(tmp_path):
    """As blocks need that take everything computed before."""
    line = 'source = "backbone/l-{3..5}", target = "b.{0..2}", template = "conv", in = "{4..8..2}", out = 2'
    variant = read(tmp_path, head() + CONV + VARIANT + f"blocks = [{{ {line} }}]")

    assert [entry.source_shape for entry in variant.entries] == [(1, 1, 4, 2), (1, 1, 6, 2), (1, 1, 8, 2)]


def test_leaves_may_have_other_names(tmp_path):
    """TF1 slim calls a kernel weights; the role, which random values go by, stays."""
    template = """
    [template.conv]
    rules = { c = { target = "c", kind = "conv2d", shape = "1 1 in out", bias = true } }
    """
    blocks = 'blocks = [{ source = "backbone/L", target = "x", template = "conv", in = 4, out = 8 }]'
    names = 'leaf_names = { kernel = "weights", bias = "biases" }'
    variant = read(tmp_path, head(names) + template + VARIANT + blocks)

    assert [entry.source for entry in variant.entries] == ["L/c/weights", "L/c/biases"]
    assert [entry.role for entry in variant.entries] == ["kernel", "bias"]


LAYERS = """
[template.block.rules]
expand = { target = "e", kind = "conv2d", shape = "1 1 in mid", when = "mid" }
project = { target = "p", kind = "conv2d", shape = "1 1 4 out" }
[template.logits]
rules = { predictions = { target = "fc", kind = "dense", shape = "in out", bias = true } }
"""
LAYER_BLOCKS = """
blocks = [
    { target = "a", template = "block", in = "channels", out = 8, mid = 0 },
    { target = "b", template = "block", out = 8, mid = 4, probe = "layer-9" },
    { target = "", stage = "logits", source = "head", template = "logits", out = "classes" },
]
"""


def test_numbered_layers_count_the_rules_that_fire(tmp_path):
    """A flat Keras model has no paths: the next layer with weights belongs to the next rule that applies."""
    variant = read(tmp_path, head('order = "layers"') + LAYERS + VARIANT + LAYER_BLOCKS)

    assert [(entry.source, entry.target) for entry in variant.entries] == [
        ("layer_with_weights-0/kernel", "a.p.weight"),
        ("layer_with_weights-1/kernel", "b.e.weight"),
        ("layer_with_weights-2/kernel", "b.p.weight"),
        ("layer_with_weights-3/kernel", "fc.weight"),
        ("layer_with_weights-3/bias", "fc.bias"),
    ]
    assert [stage.source for stage in variant.stages] == [
        "layer_with_weights-0",
        "layer-9",
        "layer_with_weights-3",
    ]


def test_rules_with_one_label_are_about_one_numbered_layer(tmp_path):
    """A layer that holds lists of kernels and norms takes one number, and the next rule the next one."""
    text = """
    [template.grouped.rules."g/kernel/{}"]
    target = "c.weight"
    kind = "tensor"
    layout = "h w i o -> o i h w"
    shape = "3 3 2 3"
    repeat = "n"
    join = true
    [template.grouped.rules]
    "g/norms/{}" = { target = "b", kind = "batch_norm", shape = "3", repeat = "n", join = true }
    project = { target = "p", kind = "conv2d", shape = "1 1 6 8" }
    """
    blocks = 'blocks = [{ target = "x", template = "grouped", n = 2, probe = "layer-5" }]'
    variant = read(tmp_path, head('order = "layers"') + text + VARIANT + blocks)

    assert [e.source for e in variant.entries if "moving" not in e.source and "beta" not in e.source] == [
        "layer_with_weights-0/kernel/0",
        "layer_with_weights-0/kernel/1",
        "layer_with_weights-0/norms/0/gamma",
        "layer_with_weights-0/norms/1/gamma",
        "layer_with_weights-1/kernel",
    ]


def test_numbering_can_start_behind_a_layer_that_is_left_out(tmp_path):
    """A preprocessing layer with variables is set aside with its reason, and not lost silently."""
    text = head('order = "layers"').replace(
        '[part.backbone]\npath = ""', '[part.backbone]\npath = ""\nfirst = 1'
    )
    text += '[left_out]\n"layer_with_weights-0" = "normalises the images"\n'
    variant = read(tmp_path, text + LAYERS + VARIANT + LAYER_BLOCKS)
    lengths = {"classes": 7, "channels": 3}
    arrays = {e.source: np.zeros([lengths.get(d, d) for d in e.source_shape], np.float32)
              for e in variant.entries}  # fmt: skip
    arrays["layer_with_weights-0/mean"] = np.zeros(3, np.float32)

    planned = plan(MemoryCheckpoint(arrays), load_tables(tmp_path / "t.toml"))

    (line,) = [line for line in planned.ledger if line.bucket is Bucket.LEFT_OUT]
    assert (line.path, line.reason) == ("layer_with_weights-0/mean", "normalises the images")
    assert variant.entries[0].source == "layer_with_weights-1/kernel"
    assert planned.arguments["num_classes"] == 7


def test_flat_model_without_its_head_is_recognised(tmp_path):
    """Both parts sit at the model itself; without the last layer there are no classes."""
    variant = read(tmp_path, head('order = "layers"') + LAYERS + VARIANT + LAYER_BLOCKS)
    arrays = {"model/" + e.source: np.zeros([3 if d == "channels" else d for d in e.source_shape], np.float32)
              for e in variant.entries if e.part == "backbone"}  # fmt: skip

    planned = plan(MemoryCheckpoint(arrays), load_tables(tmp_path / "t.toml"))

    assert planned.arguments == {"num_classes": 0}


JOINED = """
[template.attention.rules]
q = { target = "qkv", kind = "dense", shape = "in out", bias = true, join = true, scale = 0.5 }
k = { target = "qkv", kind = "dense", shape = "in out", bias = true, join = true }
v = { target = "qkv", kind = "dense", shape = "in out", bias = true, join = true }
"""
ATTENTION = 'blocks = [{ source = "backbone/a", target = "x", template = "attention", in = 4, out = 6 }]'


def test_joined_variables_follow_each_other_along_the_first_axis(tmp_path):
    """Query, key and value become one tensor; a scale touches the kernel of its own rule alone."""
    rng = np.random.default_rng(0)
    arrays = {f"a/{n}/{leaf}": rng.normal(size=shape).astype(np.float32)
              for n in "qkv" for leaf, shape in (("kernel", (4, 6)), ("bias", (6,)))}  # fmt: skip

    tensors, planned = ported(tmp_path, head() + JOINED + VARIANT + ATTENTION, arrays)

    kernels = [arrays["a/q/kernel"] * np.float32(0.5), arrays["a/k/kernel"], arrays["a/v/kernel"]]
    np.testing.assert_array_equal(tensors["x.qkv.weight"], np.concatenate([k.T for k in kernels]))
    np.testing.assert_array_equal(
        tensors["x.qkv.bias"], np.concatenate([arrays[f"a/{n}/bias"] for n in "qkv"])
    )
    assert {line.bucket for line in planned.ledger} == {Bucket.MAPPED}


def test_repeated_layers_are_counted_by_a_parameter(tmp_path):
    """A grouped convolution that is stored as a list of small ones, with a norm for each."""
    text = """
    [template.grouped.rules]
    "convs/{}" = { target = "c", kind = "conv2d", shape = "3 3 2 3", repeat = "groups", join = true }
    "norms/{}" = { target = "n", kind = "batch_norm", shape = "3", repeat = "groups", join = true }
    """
    blocks = 'blocks = [{ source = "backbone/g", target = "x", template = "grouped", groups = 4 }]'

    tensors, planned = ported(tmp_path, head() + text + VARIANT + blocks)

    assert tensors["x.c.weight"].shape == (12, 2, 3, 3)
    assert tensors["x.n.running_var"].shape == (12,)
    assert [a.target for a in planned.assignments if a.constant is not None] == ["x.n.num_batches_tracked"]


FOLDED = """
[template.conv.rules]
conv = { target = "conv1", kind = "conv2d", shape = "1 1 in out", bias = "fold", bias_into = "bn1" }
norm = { target = "bn1", kind = "batch_norm", shape = "out" }
"""
FOLDED_BLOCKS = 'blocks = [{ source = "backbone/f", target = "x", template = "conv", in = 2, out = 5 }]'


@pytest.mark.parametrize("dtype", [None, "float64"])
def test_bias_in_front_of_a_norm_goes_into_its_mean(tmp_path, dtype):
    """The bias is subtracted from the moving mean, in float64 rounded once, and listed as folded."""
    variant = read(tmp_path, head() + FOLDED + VARIANT + FOLDED_BLOCKS)
    arrays = {e.source: RandomCheckpoint(variant, 3).read(e.source) for e in variant.entries}

    tensors, planned = ported(tmp_path, head() + FOLDED + VARIANT + FOLDED_BLOCKS, arrays, dtype)

    wide = arrays["f/norm/moving_mean"].astype(np.float64) - arrays["f/conv/bias"].astype(np.float64)
    np.testing.assert_array_equal(tensors["x.bn1.running_mean"], wide.astype(dtype or np.float32))
    (line,) = [line for line in planned.ledger if line.bucket is Bucket.FOLDED]
    assert (line.path, line.reason) == ("f/conv/bias", "subtracted from x.bn1.running_mean")
    assert "x.conv1.bias" not in tensors


def test_gain_moves_the_random_kernel_only(tmp_path):
    """A quarter of the usual gain is half the usual size; the digest knows it."""
    plain = read(tmp_path, head() + CONV + VARIANT + FOLDED_BLOCKS.replace("/f", "/c"))
    value = RandomCheckpoint(plain, 0).read("c/_conv/kernel")
    weak = read(tmp_path, head() + CONV.replace('"1 1 in out"', '"1 1 in out", gain = 0.375')
                + VARIANT + FOLDED_BLOCKS.replace("/f", "/c"))  # fmt: skip

    np.testing.assert_allclose(RandomCheckpoint(weak, 0).read("c/_conv/kernel"), value / 2, rtol=1e-6)
    assert plain.digest != weak.digest


KINDS = """
[template.kinds.rules]
pointwise = { target = "fc", kind = "conv2d_as_linear", shape = "1 1 4 6", bias = true }
dense = { target = "conv", kind = "dense_as_conv2d", shape = "4 6", bias = true }
norm = { target = "ln", kind = "layer_norm", shape = "6" }
grouped = { target = "dw", kind = "conv2d", shape = "3 3 1 6" }
"""


def test_layers_that_are_another_layer_on_the_other_side(tmp_path):
    """A 1x1 convolution becomes a linear layer and the reverse; a layer norm has no statistics."""
    blocks = 'blocks = [{ source = "backbone/k", target = "x", template = "kinds" }]'

    tensors, planned = ported(tmp_path, head() + KINDS + VARIANT + blocks)

    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "x.fc.weight": (6, 4), "x.fc.bias": (6,), "x.conv.weight": (6, 4, 1, 1), "x.conv.bias": (6,),
        "x.ln.weight": (6,), "x.ln.bias": (6,), "x.dw.weight": (6, 1, 3, 3),
    }  # fmt: skip
    assert not planned.variant.counters


def test_network_of_a_family_and_of_a_variant_are_one(tmp_path):
    """What builds the PyTorch network is passed on and changes the digest."""
    text = head() + '[network]\nbase = "MobileNetV3"\nsize = 1\n' + CONV + VARIANT
    blocks = FOLDED_BLOCKS.replace("/f", "/c")

    with_own = read(tmp_path, text + "network = { size = 2 }\n" + blocks)
    without = read(tmp_path, head() + CONV + VARIANT + blocks)

    assert with_own.network == {"base": "MobileNetV3", "size": 2}
    assert without.network is None
    assert with_own.digest != without.digest


@pytest.mark.parametrize(
    ("old", "new", "code", "text"),
    [
        ('target = "x", template', 'target = "x.{1..1}", template', "table/range", "'{1..1}'"),
        ('target = "x", template', 'target = "x.{5..2}", template', "table/range", "'{5..2}'"),
        ("backbone/f", 'backbone/f{0..2}", stage = "s{0..3}', "table/range", "unequal length"),
        ("blocks = [", "blocks = [{ lines = [] }, ", "table/range", "ranges have one length"),
        ("blocks = [", "blocks = [{ lines = [], stage = 'x' }, ", "table/unknown-key", "'stage'"),
        ("blocks = [", "blocks = [{ lines = [3] }, ", "table/type", "a list of dict"),
        ('bias_into = "bn1"', 'bias_into = "bn9"', "table/fold", "no rule makes 'x.bn9.running_mean'"),
        (', bias_into = "bn1"', "", "table/fold", "belong together"),
        ('bias = "fold"', 'bias = "folds"', "table/bias", "found 'folds'"),
        ('shape = "out" }', 'shape = "out", repeat = "2" }', "table/repeat", "{} in its key"),
        ('target = "bn1", kind', 'target = "conv1", join = true, kind', "table/repeated", "'x.conv1.weight'"),
        ("[target]", "order = 'depth'\n[target]", "table/order", "expected 'layers'"),
        ("[target]", "order = 'layers'\n[target]", "table/order", "the part alone"),
        ("[target]", "leaf_names = { kernels = 'w' }\n[target]", "table/unknown-key", "'kernels'"),
        ("std = [0.5]", "std = ['a']", "table/type", "a list of float"),
        ("std = [0.5]", "std = [0.5]\nchannel_order = 'grb'", "table/channel-order", "'grb'"),
    ],
)  # fmt: skip
def test_wrong_use_is_refused_with_file_and_place(tmp_path, old, new, code, text):
    """Each of these words has ways of being wrong, and each way has a code."""
    whole = head() + FOLDED + VARIANT + FOLDED_BLOCKS
    assert old in whole
    with pytest.raises(TableError) as caught:
        read(tmp_path, whole.replace(old, new, 1))

    assert code == caught.value.code
    assert text in str(caught.value)
    assert "t.toml" in str(caught.value)
