"""Who is taken for whom: every variant's random checkpoint against every variant's table.

Usage: python benchmarks/recognition.py [--full]

For each network A the tables are asked what a checkpoint of A holds, as a port asks them. The answer must be
A, or a tie that is named: A's twin with equal names and shapes, or a refusal that says which networks fit
alike. With ``--full`` the table of every other B must refuse the checkpoint, also where the index would not
have asked it. Prints a row for each A with a tie or a fault, then the totals; exits with 1 where anything is
wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from porter.errors import PlanError
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.known_tables import Tables
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant


def main() -> None:
    """Fill the matrix and print what is not plain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    tables = load_tables()
    variants = list(tables.variants.values())
    counts: Counter[str] = Counter()
    for variant in variants:
        answer, told = _answer(variant, tables)
        counts[answer] += 1
        others = [other for other in variants if other is not variant] if options.full else []
        takers = [other for other in others if _takes(other, variant)]
        taken = [other.name for other in takers if not _alike(other, variant)]
        counts["pairs refused"] += len(others) - len(takers)
        counts["pairs with equal names and shapes"] += len(takers) - len(taken)
        counts["pairs wrong"] += len(taken)
        if answer != "right" or taken:
            print(f"{variant.name:<44}{answer:<10}{told}{' TAKEN BY ' + ', '.join(taken) if taken else ''}")
    print(f"{len(variants)} variants: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    sys.exit(1 if counts["wrong"] or counts["pairs wrong"] else 0)


def _answer(variant: Variant, tables: Tables) -> tuple[str, str]:
    """Return right, tie or wrong, and what a person is told."""
    try:
        made = plan(RandomCheckpoint(variant, 0), tables)
    except PlanError as error:
        named = error.code == "plan/ambiguous-variant" and variant.name in str(error)
        return ("tie" if named else "wrong"), str(error).splitlines()[0]
    if made.variant.name == variant.name:
        return "right", ""
    notes = [note for note in made.notes if f"--variant {variant.name} " in note]
    return ("tie", notes[0]) if notes else ("wrong", f"taken for {made.variant.name} without a word")


def _takes(other: Variant, variant: Variant) -> bool:
    """Whether `other`'s table alone would port a checkpoint of `variant`."""
    try:
        plan(RandomCheckpoint(variant, 0), Tables({other.name: other}))
    except PlanError:
        return False
    return True


def _alike(one: Variant, other: Variant) -> bool:
    """Whether nothing in a checkpoint tells two networks apart."""
    a, b = ({(v.full_source(e), e.source_shape) for e in v.entries} for v in (one, other))
    return a == b


if __name__ == "__main__":
    main()
