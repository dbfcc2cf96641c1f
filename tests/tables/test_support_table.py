"""The README's support table, and that what is said to work is proved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from porter.errors import ParityError
from porter.parity.golden_files import golden_folder
from porter.parity.measurements import Measurement, Support, read_measurements, support, write_measurements
from porter.report.support import support_table
from porter.tables.shipped import load_tables

README = Path(__file__).parents[2] / "README.md"
VARIANTS = list(load_tables().variants.values())


def test_readme_table_is_the_generated_one():
    """The support table is what `porter variants --markdown` prints, letter for letter."""
    written = re.search(
        r"<!-- support table: .*? -->\n(.*)<!-- end of support table -->", README.read_text(), re.DOTALL
    )

    assert written is not None
    assert written.group(1) == support_table(VARIANTS, read_measurements())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_network_is_proved(variant):
    """Every table that comes with porter was measured in its present state and has a golden."""
    assert support(variant, read_measurements()) is Support.WORKS, (
        "benchmarks/measure.py, porter golden record"
    )


def test_no_measurement_or_golden_is_left_over():
    """A measurement or golden without a network would keep a claim alive that nothing checks."""
    names = {variant.name for variant in VARIANTS}

    assert set(read_measurements()) <= names
    assert {path.stem for path in golden_folder().glob("*.safetensors")} - {"same_padding"} <= names


def test_changed_table_is_stale_and_large_error_is_no_parity(tmp_path):
    """A measurement of another state of the table, one above the tolerance, NaN, or none proves nothing."""
    variant = VARIANTS[0]

    def judged(digest, worst):
        found = {variant.name: Measurement(digest, {"96x96": worst}, "2026-01-01", {})}
        return support(variant, found, tmp_path)

    assert judged("another", 1e-15) is Support.STALE
    assert judged(variant.digest, 1e-10) is Support.NO_PARITY
    assert judged(variant.digest, float("nan")) is Support.NO_PARITY
    assert judged(variant.digest, 1e-15) is Support.NO_GOLDEN
    assert support(variant, {}, tmp_path) is Support.NOT_MEASURED


def test_measurements_survive_a_round_trip(tmp_path):
    """What is written is what is read."""
    measured = {"b": Measurement("d", {"96x96": 1e-15}, "2026-01-01", {"torch": "2"})}

    write_measurements(measured, tmp_path)

    assert read_measurements(tmp_path) == measured


def test_damaged_measurements_are_refused(tmp_path):
    """A file that is no list of measurements is named, not ignored."""
    (tmp_path / "measured.json").write_text('{"a": {"nothing": 1}}')

    with pytest.raises(ParityError, match="cannot be read") as refused:
        read_measurements(tmp_path)

    assert refused.value.code == "measurements/unreadable"
