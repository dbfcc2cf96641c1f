"""Live float64 checks of every pair, written to golden/measured.json, which the support table is made from.

Usage: python benchmarks/measure.py [VARIANT...] [--missing]

Without names every variant is measured; with ``--missing`` those only that have no measurement, or one of
another state of their table. Sizes: those of the variant's table, and 96 where the network takes several.
Four variants at a time share one process per framework. The file and the support table of docs/supported.md
are written after each, so that an interrupted run keeps what it has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from porter.checks.check import Check, Checked, check_all_against_tensorflow
from porter.errors import PorterError
from porter.parity.measurements import Measurement, Support, read_measurements, support, write_measurements
from porter.report.support import support_table
from porter.tables.known_tables import Tables
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

_SUPPORTED = Path(__file__).parent.parent / "docs" / "supported.md"
_START, _END = "<!-- support table: porter variants --markdown -->\n", "<!-- end of support table -->"
_SMALL_EVEN = 96
_AT_A_TIME = 4


def main() -> None:
    """Measure what was asked for; exit with 1 where a network is not in parity or could not be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("variants", nargs="*")
    parser.add_argument("--missing", action="store_true")
    options = parser.parse_args()
    tables = load_tables()
    wanted = [tables.variant(name) for name in options.variants] or list(tables.variants.values())
    if options.missing:
        known = read_measurements()
        done = {Support.WORKS, Support.NO_GOLDEN}
        wanted = [variant for variant in wanted if support(variant, known) not in done]
    failed = [name for group in _groups(wanted) for name in _failures(group, tables)]
    sys.exit(f"not in parity: {', '.join(failed)}" if failed else 0)


def _groups(variants: list[Variant]) -> Iterator[list[Variant]]:
    """Yield a few variants at a time: one import of each framework serves them; recordings are large."""
    for start in range(0, len(variants), _AT_A_TIME):
        yield variants[start : start + _AT_A_TIME]


def _failures(variants: list[Variant], tables: Tables) -> Iterator[str]:
    """Measure, write down what was found, and yield the names of those that are not in parity."""
    try:
        for variant, checked in zip(
            variants, check_all_against_tensorflow([*map(_check, variants)]), strict=True
        ):
            if not _noted(variant, checked, tables):
                yield variant.name
    except PorterError as error:
        print(f"{', '.join(variant.name for variant in variants)}: {error}", flush=True)
        yield from (variant.name for variant in variants)


def _check(variant: Variant) -> Check:
    usual = variant.input.check_sizes
    sizes = (*usual, _SMALL_EVEN) if len(usual) > 1 else usual
    return Check(variant, sizes=tuple((size, size) for size in dict.fromkeys(sizes)), dtypes=("float64",))


def _noted(variant: Variant, checked: Checked, tables: Tables) -> bool:
    report = checked.report
    found = Measurement(
        table_digest=variant.digest,
        worst={f"{case.size[0]}x{case.size[1]}": float(f"{case.worst:.1e}") for case in report.cases},
        created=checked.actual.provenance.created,
        versions={**checked.expected.provenance.versions, **checked.actual.provenance.versions},
    )
    measured = {**read_measurements(), variant.name: found}
    write_measurements(measured)
    _write_table(support_table(tables.variants.values(), measured))
    print(f"{variant.name}: {found.largest:.1e} {'parity' if report.passed else 'NO PARITY'}", flush=True)
    return report.passed


def _write_table(table: str) -> None:
    before, _, rest = _SUPPORTED.read_text().partition(_START)
    _, _, after = rest.partition(_END)
    _SUPPORTED.write_text(before + _START + table + _END + after)


if __name__ == "__main__":
    main()
