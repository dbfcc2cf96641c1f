"""The support table, and that what is said to work is proved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from porter.errors import ParityError
from porter.parity.golden_files import golden_folder
from porter.parity.measurements import Measurement, Support, read_measurements, support, write_measurements
from porter.report.name_lists import collapsed
from porter.report.support import support_table
from porter.tables.shipped import load_tables

SUPPORTED = Path(__file__).parents[2] / "docs" / "supported.md"
README = Path(__file__).parents[2] / "README.md"
VARIANTS = list(load_tables().variants.values())


def test_support_table_is_the_generated_one():
    """The support table is what `porter variants --markdown` prints, letter for letter."""
    written = re.search(
        r"<!-- support table: .*? -->\n(.*)<!-- end of support table -->", SUPPORTED.read_text(), re.DOTALL
    )

    assert written is not None
    assert written.group(1) == support_table(VARIANTS, read_measurements())


def test_readme_counts_every_network_once():
    """The README's table of families adds up to all networks."""
    counts = re.findall(r"^\| [^|]+ \| (\d+) \| [^|]+ \|$", README.read_text(), re.MULTILINE)

    assert sum(map(int, counts)) == len(VARIANTS)


def spelled_out(text):
    """Yield every name that braces stand for, innermost braces first."""
    braces = re.search(r"\{([^{}]*)\}", text)
    if braces is None:
        yield text
        return
    run = re.fullmatch(r"(\d)\.\.(\d)", braces[1])
    endings = range(int(run[1]), int(run[2]) + 1) if run else braces[1].split(", ")
    for ending in endings:
        yield from spelled_out(f"{text[: braces.start()]}{ending}{text[braces.end() :]}")


def test_support_table_holds_every_network_once():
    """Names are shortened, none is lost: the braces spell out to all networks, and to nothing else."""
    rows = [row.split(" | ") for row in support_table(VARIANTS, {}).splitlines() if " | " in row][2:]

    cells = [cell for row in rows for cell in re.findall("`(.*?)`", row[3])]

    # Braces inside braces repeat what does not depend on them, hence the set per cell.
    named = [name for cell in cells for name in set(spelled_out(cell))]

    assert sorted(named) == sorted(variant.name for variant in VARIANTS)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a_b0", "a_b1", "a_b2", "a_s", "c_x"], ["a_{b{0..2}, s}", "c_x"]),
        (["a_b0", "a_b0_se", "a_b1", "a_b1_se", "a_b2", "a_b2_se"], ["a_{b{0..2}, b{0..2}_se}"]),
        (["a_b0", "a_b1"], ["a_{b0, b1}"]),
        (["a_b0", "a_b2", "a_b3"], ["a_{b0, b2, b3}"]),
        (["v4_s", "w_v4_s", "w_v4_m"], ["v4_s", "w_v4_{s, m}"]),
    ],
)
def test_names_share_what_they_have_in_common(names, expected):
    """Consecutive numbers become a range, a common beginning is written once, a gap stays a gap."""
    assert collapsed(names) == expected


def test_rows_with_a_note_carry_its_number():
    """Who reads *works* sees that there is more to know, and finds it below the table."""
    table = support_table(VARIANTS, read_measurements())

    row = next(line for line in table.splitlines() if line.startswith("| slim MobileNetV1 "))
    mark = row.split(" | ")[1].removeprefix("works ")
    note = next(variant.note for variant in VARIANTS if variant.name == "slim_mobilenetv1_100")
    assert f"- {mark} {note}\n" in table


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
