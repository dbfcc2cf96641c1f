"""Live float64 checks of every pair, written to golden/measured.json, which the support table is made from.

Usage: python benchmarks/measure.py [VARIANT...] [--missing]

Without names every variant is measured; with ``--missing`` those only that have no measurement, or one of
another state of their table. Sizes: those of the variant's table, and 96 where the network takes several.
The file and the README's support table are written after each variant, so that an interrupted run keeps what
it has.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from porter.check import Check, check_against_tensorflow
from porter.errors import PorterError
from porter.measurements import Measurement, Support, read_measurements, support, write_measurements
from porter.report.support import support_table
from porter.table_file import load_tables
from porter.tables import Tables, Variant

_README = Path(__file__).parent.parent / "README.md"
_START, _END = "<!-- support table: porter variants --markdown -->\n", "<!-- end of support table -->"
_SMALL_EVEN = 96


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
    failed = [variant.name for variant in wanted if not _measured(variant, tables)]
    sys.exit(f"not in parity: {', '.join(failed)}" if failed else 0)


def _measured(variant: Variant, tables: Tables) -> bool:
    usual = variant.input.check_sizes
    sizes = (*usual, _SMALL_EVEN) if len(usual) > 1 else usual
    check = Check(variant, sizes=tuple((size, size) for size in dict.fromkeys(sizes)), dtypes=("float64",))
    try:
        checked = check_against_tensorflow(check)
    except PorterError as error:
        print(f"{variant.name}: {error}", flush=True)
        return False
    report = checked.report
    found = Measurement(
        table_digest=variant.digest,
        worst={f"{case.size[0]}x{case.size[1]}": float(f"{case.worst:.1e}") for case in report.cases},
        created=checked.actual.provenance.created,
        versions={**checked.expected.provenance.versions, **checked.actual.provenance.versions},
    )
    measured = {**read_measurements(), variant.name: found}
    write_measurements(measured)
    _write_readme(support_table(tables.variants.values(), measured))
    print(f"{variant.name}: {found.largest:.1e} {'parity' if report.passed else 'NO PARITY'}", flush=True)
    return report.passed


def _write_readme(table: str) -> None:
    before, _, rest = _README.read_text().partition(_START)
    _, _, after = rest.partition(_END)
    _README.write_text(before + _START + table + _END + after)


if __name__ == "__main__":
    main()
