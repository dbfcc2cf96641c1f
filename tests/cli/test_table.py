"""`porter table`: an expanded table in three formats."""

from __future__ import annotations

import csv
import io
import json

from cli.command_line import run


def test_table_prints_one_line_per_tensor_in_three_formats():
    """Text, CSV and JSON hold the same entries."""
    text = run("table", "conv_small").output
    rows = list(csv.DictReader(io.StringIO(run("table", "conv_small", "--format", "csv").output)))
    document = json.loads(run("table", "conv_small", "--format", "json").output)

    assert len(rows) == len(document["entries"]) == 232
    assert "layer_with_weights-0/layer_with_weights-0/_conv0/kernel" in text
    assert rows[0]["source shape"] == "3x3xchannelsx32"
    assert rows[0]["layout"] == "h w i o -> o i h w"
    assert rows[0]["target"] == "conv_stem.weight"
