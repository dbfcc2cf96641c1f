"""The forms of a port: the same rules for command and library, and what is said of the result."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import porter
from porter.cli.main import main
from porter.errors import OutputError
from porter.outputs.forms import chosen_output
from porter.outputs.output_options import OutputOptions
from porter.planning.plan import plan
from porter.planning.port_options import PortOptions
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables, mappings_folder

NAME = "mlperf_tiny_vww"
sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoints"))


def run(*arguments):
    """Call ``porter port-weights``."""
    return CliRunner().invoke(main, ["port-weights", *map(str, arguments)])


@pytest.fixture(scope="module")
def source(module_folder):
    """Seeded weights of the smallest network, in a training directory; return the checkpoint's prefix."""
    import bundle_writer

    checkpoint = RandomCheckpoint(load_tables().variants[NAME], 0)
    bundle = bundle_writer.Bundle()
    for key in checkpoint.specs:
        bundle.put(key, checkpoint.read(key))
    folder = module_folder("training")
    (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-7"\n')
    return bundle.store(folder / "ckpt-7")


# What the library is asked for, the same for the command, the code of both refusals
TOGETHER = [
    ("out.pth", {}, [], "output/suffix"),
    ("out", {"target": "netspresso"}, ["--target", "netspresso"], "output/suffix"),
    (
        "out",
        {"target": "netspresso", "max_shard_size": "5MB"},
        ["--target", "netspresso", "--max-shard-size", "5MB"],
        "output/shards",
    ),
    (
        "out",
        {"target": "transformers", "fold_bn": True},
        ["--target", "transformers", "--fold-bn"],
        "output/folded",
    ),
    (
        "out.safetensors",
        {"target": "netspresso", "fold_bn": True},
        ["--target", "netspresso", "--fold-bn"],
        "output/folded",
    ),
    (
        "out",
        {"target": "hub-folder", "fold_bn": True},
        ["--target", "hub-folder", "--fold-bn"],
        "output/hub-folder",
    ),
    (
        "out",
        {"target": "hub-folder", "max_shard_size": 10**9},
        ["--target", "hub-folder", "--max-shard-size", "1GB"],
        "output/hub-folder",
    ),
]


@pytest.mark.parametrize(("out", "choices", "options", "code"), TOGETHER)
def test_command_and_library_refuse_the_same(tmp_path, out, choices, options, code):
    """Before anything is opened: the source is not there, and nobody asks for it."""
    with pytest.raises(OutputError) as refused:
        porter.port("nowhere", tmp_path / out, **choices)
    result = run("nowhere", tmp_path / out, *options)

    assert refused.value.code == code
    assert result.exit_code == 2
    assert f"[{code}]" in " ".join(result.output.split())


@pytest.mark.parametrize("size", ["0", "5 apples", "-1", "", -1, 0])
def test_impossible_length_of_a_shard_is_refused(tmp_path, size):
    """By both; the command calls it wrong usage."""
    with pytest.raises(OutputError) as refused:
        porter.port("nowhere", tmp_path / "out", max_shard_size=size)

    assert refused.value.code == "output/shard-size"
    assert run("nowhere", tmp_path / "out", "--max-shard-size", size).exit_code == 2


def test_library_takes_sizes_as_people_write_them(source, tmp_path):
    """``"200KB"`` gives the shards that the command writes for it."""
    run(source, tmp_path / "command", "--max-shard-size", "200KB")
    porter.port(source, tmp_path / "library", max_shard_size="200KB")

    found = {path.name: path.read_bytes() for path in (tmp_path / "library").iterdir()}
    assert len(found) > 2
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "command").iterdir()}


def test_library_writes_hub_folders(source, tmp_path):
    """The files are the command's; the card shows a call that makes the folder again."""
    run(source, "--hub-folder", tmp_path / "command", "--bn-eps", "1e-4")
    result = porter.port(source, tmp_path / "hub", target="hub-folder", bn_eps=1e-4)
    card = (tmp_path / "hub" / "README.md").read_text()
    call = re.search(r"```python\n(porter\.port\(.*)\n```", card).group(1)

    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "hub" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    assert result.loading_line == f"porter.load_model({str(tmp_path / 'hub')!r})"
    assert call == "porter.port('ckpt-7', 'hub', target='hub-folder', bn_eps=0.0001)"


def test_hub_folder_may_be_named_either_way(source, tmp_path):
    """``--hub-folder DIR`` is ``DIR --target hub-folder``."""
    assert run(source, tmp_path / "one", "--target", "hub-folder").exit_code == 0
    assert run(source, "--hub-folder", tmp_path / "two").exit_code == 0

    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("choices", [{}, {"target": "hub-folder"}, {"max_shard_size": "1GB"}])
def test_results_are_a_few_readable_lines(source, tmp_path, choices):
    """What was written, and how it is loaded; not every assignment."""
    result = porter.port(source, tmp_path / "out.safetensors", **choices)
    told = repr(result)

    assert NAME in told
    assert str(tmp_path / "out.safetensors") in told
    assert result.loading_line in told
    assert len(told.splitlines()) <= 5
    assert len(told) < 1000
    assert NAME in repr(result.plan)
    assert len(repr(result.plan)) < 200


@pytest.mark.parametrize("choices", [{}, {"max_shard_size": "5MB"}, {"target": "hub-folder"}])
def test_network_that_timm_lacks_is_not_sent_to_timm(tmp_path, choices):
    """Of somebody's own table: the line loads the tensors into whatever model the person has for them."""
    table, shipped = tmp_path / "own.toml", mappings_folder() / "model_garden" / "mobilenet_v4.toml"
    text = shipped.read_text()
    lines = {}
    for model in ("mobilenetv4_conv_small", "my_network"):
        table.write_text(text.replace('model = "mobilenetv4_conv_small"', f'model = "{model}"', 1))
        tables = load_tables(table)
        checkpoint = RandomCheckpoint(tables.variants["mobilenetv4_conv_small"], 0)
        made = plan(checkpoint, tables, variant="mobilenetv4_conv_small")
        form = OutputOptions(**choices)
        lines[model] = chosen_output(form)(made, PortOptions(), form).loading_line(Path("o.safetensors"))

    assert made.variant.target.name == "my_network"
    assert lines["my_network"].startswith("model.load_state_dict(")
    assert "load_state_dict" not in lines["mobilenetv4_conv_small"]


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "resnet50", "vit_tiny_patch16_224"])
def test_network_that_timm_has_is_known_without_importing_it(name, tmp_path):
    """Whether a table that names it came with porter or not."""
    pytest.importorskip("torch", reason="needs the [torch] extra")
    from dataclasses import replace

    from porter.outputs.timm_call import is_timm_network

    variant = load_tables().variants["mobilenetv4_conv_small"]
    own = replace(variant, table=tmp_path / "own.toml", target=replace_name(variant.target, name))

    assert is_timm_network(own)
    assert not is_timm_network(replace(own, target=replace_name(variant.target, "no_" + name)))


def replace_name(target, name):
    """Return the PyTorch side of a variant under another name."""
    from dataclasses import is_dataclass, replace

    return replace(target, name=name) if is_dataclass(target) else target._replace(name=name)


@pytest.mark.parametrize(
    ("make", "options", "code"),
    [
        (lambda out: out.mkdir(), [], "output/is-directory"),
        (lambda out: out.symlink_to("elsewhere"), [], "output/is-symlink"),
        (lambda out: out.write_text(""), ["--max-shard-size", "1MB"], "output/not-a-folder"),
        (lambda out: (out / "file").mkdir(parents=True), ["--target", "hub-folder"], "output/not-empty"),
        (lambda out: out.parent.rmdir(), [], "output/no-folder"),
        (lambda out: out.parent.rmdir(), ["--max-shard-size", "1MB"], "output/no-folder"),
    ],
)
def test_dry_run_refuses_what_a_real_run_refuses_about_out(source, tmp_path, make, options, code):
    """With the same code, and it leaves nothing."""
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder / "out.safetensors")
    before = sorted(tmp_path.rglob("*"))
    real = run(source, folder / "out.safetensors", *options)
    dry = run(source, folder / "out.safetensors", *options, "--dry-run")

    assert f"[{code}]" in real.stderr
    assert (dry.exit_code, dry.stderr) == (real.exit_code, real.stderr)
    assert sorted(tmp_path.rglob("*")) == before


def test_dry_run_does_not_take_the_source_for_out(source, tmp_path):
    """A source that would be replaced is refused; a good OUT leaves nothing behind."""
    folder = tmp_path / "training"
    shutil.copytree(source.parent, folder)
    data = folder / "ckpt-7.data-00000-of-00001"
    named = folder / "model.safetensors"
    named.hardlink_to(data)

    assert "[output/is-source]" in run(folder, named, "--dry-run").stderr
    for out, options in (("o.safetensors", []), ("o", ["--target", "hub-folder"])):
        done = run(folder, tmp_path / out, *options, "--dry-run")
        assert done.exit_code == 0, done.output
        assert not (tmp_path / out).exists()


def test_quiet_and_verbose_exclude_each_other(source, tmp_path):
    """They cannot both be meant."""
    result = run(source, tmp_path / "o.safetensors", "-q", "-v")

    assert result.exit_code == 2
    assert not (tmp_path / "o.safetensors").exists()


def test_names_that_nothing_has_are_wrong_usage(source, tmp_path):
    """Exit code 2, with the code that scripts match on; a source that is refused is 1."""
    out = tmp_path / "o.safetensors"
    wrong = [
        ([source, out, "--variant", "typo"], "table/unknown-variant"),
        ([source, out, "--preset", "typo"], "plan/pictures"),
        ([tmp_path / "nowhere", out], "checkpoint/not-found"),
        ([source, tmp_path / "nowhere" / "o.safetensors"], "output/no-folder"),
        ([source, out, "--table", tmp_path / "nowhere.toml"], "table/unreadable"),
    ]
    for arguments, code in wrong:
        result = run(*arguments)
        assert (result.exit_code, f"[{code}]" in result.stderr) == (2, True), result.stderr
    (tmp_path / "table.toml").mkdir()
    assert run(source, out, "--table", tmp_path / "table.toml").exit_code == 1
    assert run(source, out, "--weights", "ema").exit_code == 1


def test_source_names_the_step_that_was_chosen(source, tmp_path):
    """Of a training directory; a prefix is shown as it was given."""
    for number, given in enumerate((source.parent, source)):
        out = tmp_path / f"{number}.safetensors"
        lines = run(given, out).stdout
        document = json.loads(run(given, out, "--json").stdout)

        assert f"source    {source} (" in lines
        assert document["source"] == str(source)
