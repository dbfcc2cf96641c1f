"""`porter variants`: what is known, and what a table of one's own changes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cli.command_line import run

from porter.tables.shipped import load_tables


def test_variants_lists_both_sides():
    """A row says which TensorFlow network becomes which PyTorch one."""
    lines = run("variants").output.splitlines()
    assert any("MobileNetV4HybridMedium" in line for line in lines)
    assert max(map(len, lines)) <= 180
    slim = next(line for line in lines if line.startswith("slim_mobilenetv1_100"))
    note = load_tables().variants["slim_mobilenetv1_100"].note
    assert f"[{slim[-2]}] {note}" in lines
    listed = json.loads(run("variants", "--json").output)
    assert "mobilenetv4_hybrid_medium" in {row["variant"] for row in listed}


def test_table_of_ones_own_replaces_the_shipped_ones(tmp_path):
    """``--table FILE`` is all that a command knows then."""
    shipped = Path(__file__).parent.parent.parent / "mappings/model_garden/mobilenet_v4.toml"
    own = tmp_path / "own.toml"
    own.write_text(re.sub(r"\[variant\.[a-z0-9]+_", "[variant.mine_", shipped.read_text()))

    document = json.loads(run("variants", "--table", own, "--json").stdout)

    assert {entry["variant"].partition("_")[0] for entry in document} == {"mine"}
    assert {entry["status"] for entry in document} == {"not measured"}


def test_broken_table_is_named(tmp_path):
    """A person who writes a table sees file and reason."""
    file = tmp_path / "broken.toml"
    file.write_text("schema = ")

    result = run("variants", "--table", file)

    assert result.exit_code == 1
    assert "broken.toml: not valid TOML" in result.stderr
