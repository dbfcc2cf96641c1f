"""Lines of a found table that repeat are written once, and mean the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.matching.repeated_lines import with_ranges
from porter.matching.table_writing import _group
from porter.tables.shipped import load_tables

HEAD = """
schema = 1
family = "own"
title = "Own"
version = 1
[source]
builder = "file"
[part.model]
path = ""
[target]
library = "timm"
[bn_eps]
argument = "bn_eps"
default = 1e-3
source = "test"
[input]
size = 8
mean = [0.5]
std = [0.5]
crop_pct = 1.0
interpolation = "bilinear"
[template.conv]
rules = { "" = { target = "", kind = "conv2d", shape = "h h i o" } }
[variant.own]
source = {}
target = { model = "resnet18" }
"""


def line(source, target, i, o, **more):
    """Return the line of a convolution."""
    return {"source": f"model/{source}", "target": target, "template": "conv", "h": 3, "i": i, "o": o, **more}


def blocks(count, *, wider=0, first=0):
    """Return the lines of blocks of two layers, each of which takes `wider` channels more."""
    for n in range(count):
        yield line(f"layer-{2 * n + first}", f"s.b{n}.one", 8 + wider * n, 4)
        yield line(f"layer-{2 * n + first + 1}", f"s.b{n}.two", 4, 8, stage=f"s.b{n}")


def expanded(folder: Path, texts):
    """Return what a table of these lines holds."""
    table = folder / "t.toml"
    table.write_text(f"{HEAD}blocks = [\n" + "\n".join(texts) + "\n]\n")
    variant = load_tables(table).variant("own")
    return variant.entries, variant.stages


@pytest.mark.parametrize(
    ("lines", "written"),
    [
        pytest.param([*blocks(5)], 4, id="blocks of one width"),
        pytest.param([*blocks(3, wider=4)], 4, id="each block takes more than the one before"),
        pytest.param([line("stem", "stem", 3, 8), *blocks(2), line("end", "end", 8, 9)], 6, id="ends stay"),
        pytest.param([*blocks(2, wider=4)], 4, id="two of different widths stay"),
        pytest.param([line(f"l{n}", f"features.{3 * n}", 8, 8) for n in range(4)], 1, id="single layers"),
        pytest.param([line(f"l{n:02}", f"f.{n}", 8, 8) for n in range(4)], 4, id="01 cannot be counted"),
        pytest.param([line(f"l{n * n}", f"f.{n}", 8, 8) for n in range(4)], 4, id="uneven steps"),
        pytest.param([line(f"l{9 - n}", f"f.{n}", 8, 8) for n in range(4)], 4, id="numbers that fall"),
    ],
)
def test_lines_with_ranges_mean_what_the_single_lines_say(tmp_path, lines, written):
    """Same variables, same stages, in the same order."""
    texts = [text for group in with_ranges(lines) for text in _group(group)]

    assert len(texts) == written
    singles = [text for each in lines for text in _group((each,))]
    assert expanded(tmp_path, texts) == expanded(tmp_path, singles)
