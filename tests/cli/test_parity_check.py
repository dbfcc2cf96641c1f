"""`parity-check`: wrong usage, the document, and what it does without TensorFlow or torch."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from cli.command_line import run

from porter.cli.golden import golden
from porter.cli.parity_check import parity_check
from porter.cli.port_weights import port_weights
from porter.planning.port_options import PortOptions
from porter.runners import process


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
        (("--variant", "conv_small", "--against", "goldne"), "neither a file nor one of tensorflow, golden"),
        (("--variant", "conv_small", "--target", "transformers"), "--target says under whose names"),
        (("--against", __file__), "--against FILE needs --ported"),
        (("--against", __file__, "--ported", "x", "--variant", "conv_small"), "leave --variant out"),
        (("--against", __file__, "--ported", "x", "--size", "96"), "--size needs TensorFlow"),
        (("--ported", "model.safetensors"), "or --against FILE"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, words):
    """Options that make no sense are refused before anything runs."""
    result = run("parity-check", *arguments)

    assert result.exit_code == 2
    assert words in result.output


def test_unknown_variant_is_wrong_usage_and_offers_near_ones():
    """A misspelt name gives one line with near names and no traceback."""
    result = run("parity-check", "--variant", "hybrid_mediun")

    assert result.exit_code == 2
    assert "mobilenetv4_hybrid_medium" in result.output
    assert "Traceback" not in result.output


@pytest.mark.torch
def test_golden_check_prints_one_json_document():
    """--json prints the report and nothing else on stdout; the exit code is 0 for parity."""
    pytest.importorskip("timm", reason="needs timm")

    result = run("parity-check", "--variant", "conv_small", "--against", "golden", "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["verdict"] == "parity"
    assert document["schema"] == "porter-parity-report"


@pytest.mark.torch
def test_without_tensorflow_the_golden_is_used_and_said(monkeypatch):
    """Where TensorFlow is not installed the check falls back, and the report says so."""
    pytest.importorskip("timm", reason="needs timm")
    monkeypatch.setitem(
        process._NEEDS, "tensorflow", (("no_tensorflow",), "pip install 'port-weights[tensorflow]'")
    )

    result = run("parity-check", "--variant", "conv_small", "--json")

    assert result.exit_code == 0
    assert "because no_tensorflow is not installed" in json.loads(result.stdout)["notes"][0]


def test_without_tensorflow_what_a_golden_cannot_do_says_what_to_install(monkeypatch):
    """Stored weights need TensorFlow: no fallback, one line."""
    monkeypatch.setitem(
        process._NEEDS, "tensorflow", (("no_tensorflow",), "pip install 'port-weights[tensorflow]'")
    )

    result = run("parity-check", "--variant", "conv_small", "--seed", "3")

    assert result.exit_code == 1
    assert "pip install 'port-weights[tensorflow]'" in result.output


def test_without_torch_the_message_says_what_to_install(monkeypatch):
    """Without torch nothing can be checked."""
    for name in ("tensorflow", "torch"):
        monkeypatch.setitem(process._NEEDS, name, ((f"no_{name}",), f"pip install 'port-weights[{name}]'"))

    result = run("parity-check", "--variant", "conv_small")

    assert result.exit_code == 1
    assert "pip install 'port-weights[torch]'" in result.output


@pytest.mark.torch
def test_each_phase_is_a_line_where_nobody_watches():
    """With stderr in a log every phase is a line with the time; stdout holds the report alone."""
    pytest.importorskip("timm", reason="needs timm")

    result = run("parity-check", "--variant", "conv_small", "--against", "golden", "--json")

    (line,) = result.stderr.splitlines()
    assert re.fullmatch(r"\[ *\d+ s\] checking conv_small: running PyTorch against the golden", line)
    assert json.loads(result.stdout)["verdict"] == "parity"


@pytest.mark.parametrize(
    ("command", "others"), [(parity_check, {"variant", "dtype"}), (golden.commands["record"], set())]
)
def test_every_option_of_a_port_is_one_of_the_check(command, others):
    """What changes a port can be told to the check, and to what records it, by the same names."""
    names = {field.name for field in dataclasses.fields(PortOptions)} - others
    of_port, of_check = (
        {param.name: param.opts for param in each.params if param.name in names}
        for each in (port_weights, command)
    )

    assert of_check == of_port
    assert set(of_check) == names


@pytest.mark.torch
def test_file_that_is_no_golden_is_one_line(tmp_path):
    """A golden of a variant, or any other file, is not what a person's own port is held against."""
    (tmp_path / "model.safetensors").write_bytes(b"")

    result = run("parity-check", "--ported", tmp_path / "model.safetensors", "--against", __file__)

    assert result.exit_code == 1
    assert "not a readable golden" in result.output
    assert "Traceback" not in result.output
