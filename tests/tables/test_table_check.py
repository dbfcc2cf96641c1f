"""`porter table --check`: an author hears of every fault at once, with its place."""

from __future__ import annotations

import random
import tomllib

import numpy as np
import pytest
from click.testing import CliRunner
from memory_checkpoint import MemoryCheckpoint

import porter.tables.reader
from porter.checks.table_faults import fits, state_dict_faults, table_faults
from porter.cli.table import table
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables, mappings_folder
from porter.tables.strict_toml import Section

GOOD = mappings_folder() / "model_garden" / "mobilenet_v4.toml"
SMALL = load_tables().variants["mobilenetv4_conv_small"]

OLD = "[template.old.rules]\nx = { target = 'x', kind = 'dense', shape = '1 1' }\n"
# (what is there, what to write in its place, what the line must say)
MANY = [
    ('title = "Model Garden MobileNetV4"', "title = 4", "key 'title'; expected str, found int 4"),
    ('argument = "num_classes"', 'argument = "num_classes"\nsize = 1', "[free.classes]: unknown key 'size'"),
    ('kind = "conv2d", shape = "kernel kernel in out"', 'kind = "conv3d", shape = "3"', "unknown kind"),
    ("crop_pct = 0.875", "crop_pct = '1'", ".input]: key 'crop_pct'; expected float, found str"),
    ("mid = 192, start_dw = 5", "mid = 192, strat_dw = 5", "[variant.mobilenetv4_conv_small.blocks[5]]"),
    ('target = { model = "mobilenetv4_conv_large" }', "target = {}", "conv_large.target]: key 'model'"),
]


@pytest.fixture
def faulty(tmp_path):
    """Write the MobileNetV4 table with six faults in six places."""
    text = GOOD.read_text()
    for old, new, _ in MANY:
        assert old in text
        text = text.replace(old, new, 1)
    file = tmp_path / "faulty.toml"
    file.write_text(text)
    return file


def test_every_fault_is_told_with_its_place(faulty):
    """Six faults give at least six lines, each with file and section, and no traceback."""
    lines, variants = table_faults(faulty)

    assert variants == []
    for _, _, told in MANY:
        assert any(told in line for line in lines), told
    assert all(line.startswith(f"{faulty}: ") for line in lines)
    assert len({line for line in lines if "crop_pct" not in line}) == len(MANY) - 1


@pytest.mark.parametrize(
    "file", sorted(mappings_folder().glob("*/*.toml")), ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_a_true_table_has_no_faults(file):
    """The tables that come with porter pass their own check."""
    assert table_faults(file)[0] == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('target = "blocks.1.0"', 'target = "blocks.1.1"', "'blocks.1.1.conv.weight' is assigned twice"),
        ("[template.stem]\n", OLD + "[template.stem]\n", "[template.old.rules] 'x' never applies"),
        ("schema = 1", "schema = 7", "schema; expected 1, found 7"),
        ("[target]", "[goal]", "key 'target' is missing"),
    ],
)  # fmt: skip
def test_faults_of_a_whole_table_are_told(tmp_path, old, new, told):
    """What only shows when everything is put together is told too."""
    file = tmp_path / "t.toml"
    file.write_text(GOOD.read_text().replace(old, new, 1))

    assert any(told in line for line in table_faults(file)[0])


def test_targets_are_held_against_the_state_dict():
    """A tensor that one side lacks, and one of another shape, are told with the rule."""
    shapes = {e.target: tuple({"channels": 3, "classes": 1000}.get(d, d) for d in e.target_shape)
              for e in SMALL.entries} | {name: () for _, name in SMALL.counters}  # fmt: skip
    assert state_dict_faults(SMALL, shapes) == []

    del shapes["conv_stem.weight"]
    shapes |= {"bn1.bias": (7,), "extra": (1,)}

    missing, misshapen, extra = state_dict_faults(SMALL, shapes)
    assert "stem: stem._conv0: mobilenetv4_conv_small has no tensor 'conv_stem.weight'" in missing
    assert "'bn1.bias'; expected shape (32,), found (7,)" in misshapen
    assert "no rule makes mobilenetv4_conv_small's 'extra'" in extra


def test_rules_that_do_not_match_a_checkpoint_are_named():
    """Each line has block, template and rule, the path, and both shapes."""
    whole = RandomCheckpoint(SMALL, 0)
    arrays = {key: np.zeros(spec.shape, np.float32) for key, spec in whole.specs.items()}
    arrays["layer_with_weights-0/layer_with_weights-3/_conv0/kernel"] = np.zeros((3, 3, 32, 64), np.float32)
    del arrays["layer_with_weights-0/layer_with_weights-7/_expand_norm/beta"]

    (fit,) = fits([SMALL], MemoryCheckpoint(arrays))
    (true,) = fits([SMALL], whole)

    assert (fit.found, fit.total) == (228, 230)
    shapes = "has shape (3, 3, 32, 64), expected (3, 3, 32, 96)"
    assert fit.faults == (
        f"blocks.1.0: conv_bn._conv0: layer_with_weights-3/_conv0/kernel {shapes}",
        "blocks.2.2: uib._expand_norm: layer_with_weights-7/_expand_norm/beta is missing",
    )
    assert (true.found, true.total, true.faults) == (232, 232, ())


def test_command_prints_every_fault_and_exits_with_1(faulty):
    """Its output has the lines; the last one counts them."""
    run = CliRunner().invoke(table, ["--check", str(faulty)])

    assert run.exit_code == 1
    assert run.output.splitlines()[-1].startswith(f"{faulty}: ")
    assert "[variant.mobilenetv4_conv_small.blocks[5]]" in run.output


def test_command_needs_a_variant_or_a_file():
    """Without both it is a matter of usage."""
    assert CliRunner().invoke(table, []).exit_code == 2


VALUES = [0, -1, 1.5, True, "", "x", "{1..2}", "a/b", "{}", "fold", "in*in", [], [1], ["x"], {}, {"x": {}}]
KEYS = ["x", "when", "bias", "join", "repeat", "gain", "in", "out", "first", "path"]


def places(node):
    """Yield (container, key) of everything in a parsed table."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3"])
def test_damaged_table_is_read_or_told_and_never_crashes(monkeypatch, name):
    """Three hundred tables with one to four values changed, added or taken out: faults, never exceptions."""
    text = (mappings_folder() / "model_garden" / f"{name}.toml").read_text()
    told = 0
    for seed in range(300):
        chance = random.Random(seed)  # noqa: S311 (repeatable, not secret)
        document = tomllib.loads(text)
        for _ in range(chance.randint(1, 4)):
            container, key = chance.choice(list(places(document)))
            change = chance.random()
            if change < 0.6 and (isinstance(container, dict) or key < len(container)):
                container[key] = chance.choice(VALUES)
            elif change < 0.8:
                container.pop(key)
            elif isinstance(container, dict):
                container[chance.choice(KEYS)] = chance.choice(VALUES)
        monkeypatch.setattr(
            porter.tables.reader, "parse_toml", lambda file, _, d=document: Section(d, file, "")
        )
        told += bool(table_faults(GOOD)[0])

    assert told > 200


@pytest.mark.torch
@pytest.mark.parametrize("argument", ["norm_epsilon", "drop_rate"])
def test_epsilon_must_be_an_argument_that_the_network_takes(tmp_path, argument):
    """Such a port does not load, or the network takes the epsilon for something else."""
    pytest.importorskip("timm", reason="needs the [torch] extra")
    source = mappings_folder() / "mlperf_tiny" / "visual_wake_words.toml"
    file = tmp_path / "t.toml"
    true = CliRunner().invoke(table, ["--check", str(source)])
    file.write_text(source.read_text().replace('argument = "bn_eps"', f'argument = "{argument}"', 1))

    run = CliRunner().invoke(table, ["--check", str(file)])

    assert true.exit_code == 0, true.output
    assert run.exit_code == 1
    assert f"does not take its epsilon as '{argument}'" in run.output
