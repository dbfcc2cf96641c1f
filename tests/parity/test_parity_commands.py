"""`parity-check` and `porter golden` on the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from porter.cli.golden import golden
from porter.cli.parity_check import parity_check
from porter.parity.golden_files import golden_path
from porter.runners import process


def run(command, *arguments):
    """Call a command in this process."""
    return CliRunner().invoke(command, [str(a) for a in arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing option '--variant'"),
        (("--variant", "conv_small", "--size", "0"), "neither a number of pixels"),
        (("--variant", "conv_small", "--size", "1x2x3"), "neither a number of pixels"),
        (("--variant", "conv_small", "--size", "-5"), "neither a number of pixels"),
        (("--variant", "conv_small", "--batch", "0"), "--batch"),
        (("--variant", "conv_small", "--dtype", "int8"), "--dtype"),
        (("--variant", "conv_small", "--against", "golden", "--seed", "1"), "--seed needs TensorFlow"),
        (("--variant", "conv_small", "--against", "golden", "--size", "96"), "--size needs TensorFlow"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, words):
    """Options that make no sense are refused before anything runs."""
    result = run(parity_check, *arguments)

    assert result.exit_code == 2
    assert words in result.output


def test_unknown_variant_is_wrong_usage_and_offers_near_ones():
    """A misspelt name gives one line with near names and no traceback."""
    result = run(parity_check, "--variant", "hybrid_mediun")

    assert result.exit_code == 2
    assert "mobilenetv4_hybrid_medium" in result.output
    assert "Traceback" not in result.output


@pytest.mark.torch
def test_golden_check_prints_one_json_document(tables):
    """--json prints the report and nothing else on stdout; the exit code is 0 for parity."""
    pytest.importorskip("timm", reason="needs timm")

    result = run(parity_check, "--variant", "conv_small", "--against", "golden", "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["verdict"] == "parity"
    assert document["schema"] == "porter-parity-report"


@pytest.mark.torch
def test_without_tensorflow_the_golden_is_used_and_said(monkeypatch):
    """Where TensorFlow is not installed the check falls back, and the report says so."""
    pytest.importorskip("timm", reason="needs timm")
    monkeypatch.setitem(
        process._NEEDS, "tensorflow", (("no_tensorflow",), "pip install 'porter[tensorflow]'")
    )

    result = run(parity_check, "--variant", "conv_small", "--json")

    assert result.exit_code == 0
    assert "because no_tensorflow is not installed" in json.loads(result.stdout)["notes"][0]


def test_without_tensorflow_what_a_golden_cannot_do_says_what_to_install(monkeypatch):
    """Stored weights need TensorFlow: no fallback, one line."""
    monkeypatch.setitem(
        process._NEEDS, "tensorflow", (("no_tensorflow",), "pip install 'porter[tensorflow]'")
    )

    result = run(parity_check, "--variant", "conv_small", "--seed", "3")

    assert result.exit_code == 1
    assert "pip install 'porter[tensorflow]'" in result.output


def test_without_torch_the_message_says_what_to_install(monkeypatch):
    """Without torch nothing can be checked."""
    for name in ("tensorflow", "torch"):
        monkeypatch.setitem(process._NEEDS, name, ((f"no_{name}",), f"pip install 'porter[{name}]'"))

    result = run(parity_check, "--variant", "conv_small")

    assert result.exit_code == 1
    assert "pip install 'porter[torch]'" in result.output


@pytest.mark.torch
def test_verify_gives_a_line_per_golden(tables, tmp_path):
    """Verdict and worst deviation of each golden in the folder; the exit code is 0."""
    pytest.importorskip("timm", reason="needs timm")
    path = golden_path(tables.variant("conv_small"))
    (tmp_path / path.name).write_bytes(path.read_bytes())

    result = run(golden, "verify", "--folder", tmp_path)

    assert result.exit_code == 0
    assert result.output.startswith("mobilenetv4_conv_small")
    assert "parity" in result.output


def test_verify_of_a_stale_golden_exits_with_1(edited_table, tables, tmp_path):
    """CI notices that a table changed without its golden."""
    variant = edited_table(("default = 1e-3", "default = 1e-5"))

    result = run(golden, "verify", "conv_small", "--table", variant.table)

    assert result.exit_code == 1
    assert "stale" in result.output
    assert "no parity" not in result.output


def test_verify_of_an_empty_folder_is_wrong_usage(tmp_path):
    """Nothing to verify is not success."""
    assert run(golden, "verify", "--folder", tmp_path).exit_code == 2
