"""The index of the tables: the same variants with less reading, and never a wrong answer."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from memory_checkpoint import MemoryCheckpoint

from porter.errors import PlanError
from porter.planning.recognition import _candidates, recognise
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.index import NAME, indexed_tables, make_index
from porter.tables.known_tables import Tables
from porter.tables.reader import read_table
from porter.tables.shipped import load_tables, mappings_folder

FOLDER = mappings_folder()
FILES = sorted(FOLDER.glob("*/*.toml"))


def test_index_is_that_of_the_tables():
    """``python -m porter.tables.index`` was run after the last change of a table."""
    assert make_index(FOLDER) == (FOLDER / NAME).read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_variant_read_by_itself_is_the_variant_of_the_whole_table(file):
    """Leaving the other variants of a file unread changes nothing of the one that is read."""
    indexed = load_tables().variants

    variants = read_table(file)

    assert variants
    assert {name: indexed[name] for name in variants} == variants


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_variant_is_among_the_candidates_for_its_own_weights(file):
    """The few variables in the index never rule out the right network, and leave few others."""
    tables = load_tables()

    names = list(read_table(file))
    assert names
    for name in names:
        found = {v.name for v in _candidates(RandomCheckpoint(tables.variants[name], 0), tables)}
        assert name in found
        assert len(found) <= 5


def test_foreign_checkpoint_makes_no_variant_expand():
    """A checkpoint without a single familiar name is refused without reading the tables in full."""
    tables = load_tables()
    foreign = MemoryCheckpoint({"dense/kernel": np.zeros((3, 4)), "dense/bias": np.zeros(4)})

    with pytest.raises(PlanError, match=f"any of the {len(tables.variants)} known networks"):
        recognise(foreign, tables)

    assert tables.variants._known == {}


def test_nearest_network_is_that_of_the_tables_in_full():
    """A checkpoint with a part of a network is told the same nearest network with the index as without it.

    Those after it may be fewer: the index picks a few that are tried, since trying all takes seconds.
    """
    tables = load_tables()
    whole = RandomCheckpoint(tables.variants["mobilenetv4_conv_small"], 0)
    part = MemoryCheckpoint({key: whole.read(key) for key in list(whole.specs)[:40]})

    advice = []
    for known in (tables, Tables(dict(tables.variants))):
        with pytest.raises(PlanError, match="no network fits") as refusal:
            recognise(part, known)
        advice.append(str(refusal.value).splitlines()[1:])

    assert advice[0][0] == advice[1][0]
    assert "mobilenetv4_conv_small" in advice[0][0]


@pytest.fixture
def copied(tmp_path):
    """Copy one table with a true index to a folder of its own."""
    (tmp_path / "model_garden").mkdir()
    shutil.copy(FOLDER / "model_garden" / "mobilenet_v4.toml", tmp_path / "model_garden")
    (tmp_path / NAME).write_text(make_index(tmp_path))
    return tmp_path


def test_true_index_is_used(copied):
    """Names and signatures are known without expanding a variant."""
    tables = indexed_tables(copied)

    assert set(tables.variants) == set(tables.signatures)


def test_index_of_other_tables_is_ignored(copied):
    """A table that was edited since is read in full."""
    with (copied / "model_garden" / "mobilenet_v4.toml").open("a") as file:
        file.write("# edited\n")

    assert indexed_tables(copied) is None


def test_index_without_a_new_table_is_ignored(copied):
    """A table that came after the index is not forgotten."""
    shutil.copy(copied / "model_garden" / "mobilenet_v4.toml", copied / "model_garden" / "new.toml")

    assert indexed_tables(copied) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", json.dumps({"schema": 3})])
def test_damaged_index_is_ignored(copied, text):
    """Whatever is in the index, the tables themselves decide."""
    (copied / NAME).write_text(text)

    assert indexed_tables(copied) is None
