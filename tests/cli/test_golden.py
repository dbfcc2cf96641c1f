"""`porter golden`: a line for each golden that is verified, what is stale, and how to record one."""

from __future__ import annotations

import pytest
from cli.command_line import run

from porter.parity.golden_files import golden_path
from porter.tables.shipped import load_tables


@pytest.mark.torch
def test_verify_gives_a_line_per_golden(tmp_path):
    """Verdict and worst deviation of each golden in the folder; the exit code is 0."""
    pytest.importorskip("timm", reason="needs timm")
    path = golden_path(load_tables().variant("conv_small"))
    (tmp_path / path.name).write_bytes(path.read_bytes())

    result = run("golden", "verify", "--folder", tmp_path)

    assert result.exit_code == 0
    assert result.stdout.startswith("mobilenetv4_conv_small")
    assert "parity" in result.output


def test_verify_of_a_stale_golden_exits_with_1(tmp_path):
    """CI notices that a table changed without its golden."""
    shipped = load_tables().variant("conv_small").table.read_text()
    assert shipped.count("default = 1e-3") == 1
    edited = tmp_path / "edited.toml"
    edited.write_text(shipped.replace("default = 1e-3", "default = 1e-5"))

    result = run("golden", "verify", "conv_small", "--table", edited)

    assert result.exit_code == 1
    assert "stale" in result.output
    assert "no parity" not in result.output


def test_verify_of_an_empty_folder_is_wrong_usage(tmp_path):
    """Nothing to verify is not success."""
    assert run("golden", "verify", "--folder", tmp_path).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument 'VARIANT...' (or '--checkpoint' and '--out')"),
        (("--checkpoint", "ckpt"), "--checkpoint needs --out"),
        (("conv_small", "--checkpoint", "ckpt", "--out", "x"), "--variant names its network"),
        (("--checkpoint", "ckpt", "--out", "x", "--folder", "f"), "--checkpoint goes with --out"),
        (("conv_small", "--weights", "raw"), "--weights goes with --checkpoint"),
        (("conv_small", "--image", "dog.jpg"), "--image goes with --checkpoint"),
        (("--checkpoint", "no-such-file", "--out", "x"), "no-such-file"),
    ],
)
def test_options_of_record_that_do_not_go_together_are_wrong_usage(arguments, words):
    """A golden is of variants, or of a checkpoint; what belongs to the other one is refused at once."""
    result = run("golden", "record", *arguments)

    assert result.exit_code == 2
    assert words in result.output
