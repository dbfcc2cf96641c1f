"""`porter export-onnx`: one file, and what it says of it."""

from __future__ import annotations

import json

import pytest
from cli.command_line import run
from safetensors import safe_open
from safetensors.numpy import save_file

from porter.outputs.metadata import describe
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.transfer import transfer

pytestmark = [pytest.mark.onnx, pytest.mark.torch]


@pytest.fixture(scope="module")
def ported(module_folder):
    """A network ported from seeded weights."""
    pytest.importorskip("onnxscript", reason="needs the [onnx] extra")
    checkpoint = RandomCheckpoint(load_tables().variant("conv_small"), 0)
    made = plan(checkpoint, variant="mobilenetv4_conv_small")
    out = module_folder("ported") / "conv_small.safetensors"
    transfer(checkpoint, made.assignments, out, metadata=describe(made, checkpoint.format, None))
    return out


def test_command_writes_the_file_and_says_what_it_takes(ported, tmp_path):
    """One line each for network, input, output and file; nothing of the exporter's own chatter."""
    out = tmp_path / "model.onnx"
    result = run("export-onnx", ported, out, "--size", "64", "--fold-bn")

    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "network", "input", "output", "folded", "wrote",
    ]  # fmt: skip
    assert "batch 1, 64x64" in result.output
    assert result.stderr == ""
    assert out.stat().st_size > 10_000_000


def test_size_and_dynamic_exclude_each_other(ported, tmp_path):
    """Both together are wrong usage."""
    assert run("export-onnx", ported, tmp_path / "o", "--size", "64", "--dynamic").exit_code == 2


def test_file_that_porter_did_not_write_is_refused(tmp_path):
    """One line, exit code 1, and no output."""
    (tmp_path / "foreign").write_bytes(b"nothing")
    result = run("export-onnx", tmp_path / "foreign", tmp_path / "out.onnx")

    assert result.exit_code == 1
    assert "Name a file that port-weights wrote. [load/unreadable]" in result.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_a_port_by_an_own_table_says_which_table_it_wants(ported, tmp_path):
    """A network that no shipped table has names the table that its file was ported with."""
    source = tmp_path / "own.safetensors"
    with safe_open(ported, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    table = json.dumps({**json.loads(metadata["porter.table"]), "file": "mine.toml"})
    save_file(arrays, source, {**metadata, "porter.variant": "my_network", "porter.table": table})

    result = run("export-onnx", source, tmp_path / "model.onnx")

    assert result.exit_code == 1
    assert "--table mine.toml" in result.output
    assert "onnx/unknown-variant" in result.output
