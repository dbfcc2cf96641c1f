"""Small tables of one variant, and what becomes of arrays that are ported with them."""

from __future__ import annotations

from memory_checkpoint import MemoryCheckpoint
from safetensors.numpy import load_file

from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.transfer import transfer

HEAD = """
schema = 1
family = "f"
title = "Tiny"
version = 1
[source]
builder = "b"
{source}
[target]
library = "timm"
[part.backbone]
path = "{path}"
[part.head]
path = "{path}"
absent = {{ num_classes = 0 }}
[free.classes]
argument = "num_classes"
default = 1000
[free.channels]
argument = "in_chans"
default = 3
[input]
mean = [0.5]
std = [0.5]
crop_pct = 0.9
interpolation = "bilinear"
{input}
"""
VARIANT = """
[variant.tiny]
source = {}
target = { model = "tiny" }
input = { size = 32 }
"""


def head(source="", path="", images=""):
    """Return the sections that every table has."""
    return HEAD.format(source=source, path=path, input=images)


def read(tmp_path, text):
    """Load the one variant of a table from text."""
    (tmp_path / "t.toml").write_text(text)
    return load_tables(tmp_path / "t.toml").variants["tiny"]


def made(tmp_path, text, arrays=None, **choices):
    """Plan a port of `arrays` (by default random weights) with a table of one variant."""
    variant = read(tmp_path, text)
    checkpoint = RandomCheckpoint(variant, 0) if arrays is None else MemoryCheckpoint(arrays)
    return checkpoint, plan(checkpoint, load_tables(tmp_path / "t.toml"), **choices)


def ported(tmp_path, text, arrays=None, dtype=None, **choices):
    """Return the ported arrays and the plan."""
    checkpoint, planned = made(tmp_path, text, arrays, **choices)
    transfer(checkpoint, planned.assignments, tmp_path / "o", dtype=dtype)
    return load_file(tmp_path / "o"), planned
