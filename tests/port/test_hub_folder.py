"""`port-weights --hub-folder`: timm loads it offline, the card is true, and it is whole or not there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from porter.cli.main import main
from porter.errors import OutputError
from porter.outputs.output_options import OutputOptions
from porter.outputs.port import carry_out
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

ROOT = Path(__file__).parents[2]
TABLES = load_tables()
sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoints"))


def run(*arguments):
    """Call ``porter port-weights``."""
    return CliRunner().invoke(main, ["port-weights", *map(str, arguments)])


@pytest.fixture(scope="module")
def source(module_folder):
    """Return a function from variant to a checkpoint of seeded weights, stored once per module."""
    import bundle_writer

    done = {}

    def store(name):
        if name not in done:
            checkpoint = RandomCheckpoint(TABLES.variant(name), 0)
            bundle = bundle_writer.Bundle()
            for key in checkpoint.specs:
                bundle.put(key, checkpoint.read(key))
            done[name] = bundle.store(module_folder(name) / "ckpt")
        return done[name]

    return store


LOAD = """
import sys
import timm, torch
from timm.data import resolve_model_data_config
model = timm.create_model("local-dir:" + sys.argv[1], pretrained=True).eval()
other = timm.create_model("local-dir:" + sys.argv[1], pretrained=True, num_classes=7, in_chans=1).eval()
assert other(torch.zeros(1, 1, 64, 64)).shape == (1, 7)
print(sum(p.double().sum().item() for p in model.state_dict().values()))
print(resolve_model_data_config(model))
"""


@pytest.mark.torch
@pytest.mark.parametrize("name", ["conv_small"])
def test_timm_loads_the_folder_offline(source, tmp_path, name):
    """Every weight, the arguments of the network and its preprocessing arrive; classes can be changed."""
    pytest.importorskip("timm", reason="needs timm")
    folder = tmp_path / "model"
    assert run(source(name), "--hub-folder", folder, "--variant", TABLES.variant(name).name).exit_code == 0

    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, folder],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    total, described = done.stdout.splitlines()
    expected = sum(values.astype(float).sum() for values in load_file(folder / "model.safetensors").values())

    assert float(total) == pytest.approx(expected, rel=1e-9)
    assert "'input_size': [3, 224, 224]" in described
    assert f"'crop_pct': {TABLES.variant(name).input.crop_pct}" in described


@pytest.mark.torch
def test_network_that_timm_lacks_is_loaded_by_porter(source, tmp_path):
    """The line that is printed, and stands in the card, loads the folder."""
    pytest.importorskip("timm", reason="needs timm")
    import porter

    folder, name = tmp_path / "model", "garden_mobilenetv1_050"
    line = run(source(name), "--hub-folder", folder, "--variant", name).stdout.splitlines()[-1]
    assert line == f"porter.load_model({str(folder)!r})"
    assert "porter.load_model('model')" in (folder / "README.md").read_text()

    stored = load_file(folder / "model.safetensors")
    for key, values in porter.load_model(folder).state_dict().items():
        assert (values.numpy() == stored[key]).all(), key


def test_folder_holds_three_files_and_the_card_says_where_it_comes_from(source, tmp_path):
    """Files, their digests, the command and the measured parity stand in the card; the names fit."""
    folder = tmp_path / "my model"
    result = run(source("conv_small"), "--hub-folder", folder, "--dtype", "float16", "--bn-eps", "1e-6")
    card = (folder / "README.md").read_text()

    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert f"timm.create_model('local-dir:{folder}', pretrained=True)" in result.stdout
    assert "\nport-weights ckpt --bn-eps 1e-06 --dtype float16 --hub-folder 'my model'\n" in card
    assert len(re.findall(r"SHA-256 `[0-9a-f]{64}`", card)) == 3
    assert "| 224x224 | " in card
    assert "1e-06 (chosen with --bn-eps)" in card
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "mobilenetv4_conv_small"
    assert config["model_args"] == {"pad_type": "same", "bn_eps": 1e-6}
    assert config["pretrained_cfg"]["first_conv"] == "conv_stem"
    assert config["pretrained_cfg"]["classifier"] == "classifier"


def test_command_of_the_card_makes_the_same_folder(source, tmp_path, monkeypatch):
    """The card's command, run again where the source is, gives the same folder; it shows no other path."""
    import shlex

    monkeypatch.chdir(source("conv_small").parent)
    first, second = tmp_path / "one", tmp_path / "two"
    run(source("conv_small"), "--hub-folder", first, "--weights", "raw", "-q")
    command = re.search(r"```bash\n(port-weights .*)\n", (first / "README.md").read_text()).group(1)
    assert command.endswith(" -q")
    words = [str(second) if word == first.name else word for word in shlex.split(command)]
    assert run(*words[1:]).exit_code == 0

    for name in ("config.json", "model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_path_that_is_no_text_is_escaped(source, tmp_path):
    """A folder whose name is not UTF-8 is no reason to lose a port that is done."""
    hub = tmp_path / os.fsdecode(b"hub\xff")
    done = run(source("conv_small"), "--hub-folder", hub)

    assert done.exit_code == 0, done.output
    assert "\\udcff" in (hub / "README.md").read_text()


def test_nothing_is_left_where_the_source_is_damaged(source, tmp_path):
    """The folder is whole or not there."""
    original = Path(source("conv_small"))
    for path in original.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "ckpt.data-00000-of-00001").open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    before = sorted(tmp_path.iterdir())
    result = run(tmp_path / "ckpt", "--hub-folder", tmp_path / "model")

    assert result.exit_code == 1
    assert "bundle/bad-checksum" in result.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("options", [["--fold-bn"], ["--target", "transformers"], ["out"]])
def test_options_that_do_not_go_together_are_usage_errors(tmp_path, options):
    """The folder is for plain timm, and it is written instead of OUT."""
    result = run("source", *options, "--hub-folder", tmp_path / "model")

    assert result.exit_code == 2
    assert "--hub-folder" in result.stderr


def test_network_that_takes_bgr_is_refused(tmp_path):
    """Timm would give it RGB images: nothing in a hub folder can say otherwise."""
    checkpoint = RandomCheckpoint(TABLES.variant("keras_resnet50"), 0)
    made = plan(checkpoint, TABLES, variant="keras_resnet50")

    with pytest.raises(OutputError, match="--channel-order rgb") as refused:
        carry_out(checkpoint, made, tmp_path / "hub", form=OutputOptions(target="hub-folder"))
    assert refused.value.code == "output/bgr"
    assert list(tmp_path.iterdir()) == []


def test_headless_network_has_no_classes(source):
    """A backbone's configuration asks for no classifier."""
    from porter.outputs.hub_folder import config

    checkpoint = RandomCheckpoint(TABLES.variant("conv_small"), 0)
    made = plan(checkpoint, TABLES, variant="mobilenetv4_conv_small", backbone_only=True)

    assert config(made)["num_classes"] == 0
