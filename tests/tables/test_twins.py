"""Networks with equal names and shapes: one is meant, and the tie is named."""

from __future__ import annotations

import pytest

from porter.errors import PlanError
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

TABLES = load_tables()
TWINS = sorted(name for name, variant in TABLES.variants.items() if variant.twin is not None)


@pytest.mark.parametrize("name", TWINS)
def test_twin_has_the_names_and_shapes_of_its_original(name):
    """What a table calls a twin cannot be told apart by names and shapes, and is another network."""
    twin = TABLES.variants[name]
    original = TABLES.variants[twin.twin.of]

    def variables(variant):
        return {(variant.full_source(entry), entry.source_shape) for entry in variant.entries}

    assert original.twin is None
    assert variables(twin) == variables(original)
    assert twin.target != original.target


@pytest.mark.parametrize("name", TWINS[:3])
def test_original_is_meant_and_the_tie_is_named(name):
    """A checkpoint ports without a word of the person, who is told what else it could be."""
    twin = TABLES.variants[name]

    made = plan(RandomCheckpoint(twin, 0), TABLES)
    (note,) = [note for note in made.notes if f"--variant {name} " in note]

    assert made.variant.name == twin.twin.of
    assert twin.twin.differs in note


@pytest.mark.parametrize("name", TWINS[:3])
def test_asking_for_a_network_settles_the_tie(name):
    """With --variant either is ported, and nothing is said of the other."""
    twin = TABLES.variants[name]

    for wanted in (name, twin.twin.of):
        made = plan(RandomCheckpoint(twin, 0), TABLES, variant=wanted)

        assert made.variant.name == wanted
        assert not any("--variant" in note for note in made.notes)


def test_strangers_with_equal_names_and_shapes_stay_ambiguous(tmp_path):
    """Where no table says which one is meant, the person must."""
    table = TABLES.variants[TWINS[0]].table.read_text()
    lines = [line for line in table.splitlines() if not line.startswith("twin = ")]
    (tmp_path / "t.toml").write_text("\n".join(lines))
    tables = load_tables(tmp_path / "t.toml")

    with pytest.raises(PlanError, match="alike") as refused:
        plan(RandomCheckpoint(tables.variants[TWINS[0]], 0), tables)

    assert refused.value.code == "plan/ambiguous-variant"
