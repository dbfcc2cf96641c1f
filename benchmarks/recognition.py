"""Who is taken for whom: every variant's random checkpoint against every variant's table.

Usage: python benchmarks/recognition.py [--full | --converted]

For each network A the tables are asked what a checkpoint of A holds, as a port asks them. The answer must be
A, or a tie that is named: A's twin with equal names and shapes, or a refusal that says which networks fit
alike. With ``--full`` the table of every other B must refuse the checkpoint, also where the index would not
have asked it. ``--converted`` asks the same of the networks as TensorFlow Lite's converter leaves them,
without names and with their norms in the convolutions, of every variant that has a record: what fits whole
must be one network of timm with the same tensors. Prints a row for each A with a tie or a fault, then the
totals; exits with 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from porter.errors import PlanError
from porter.planning.network.record import recorded
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.known_tables import Tables
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

sys.path[:0] = [str(Path(__file__).parent.parent / part) for part in ("", "tests/planning")]

from converted_record import ConvertedRecord  # noqa: E402  (found by the line above)

_BEGINS = "begins alike"


def main() -> None:
    """Fill the matrix and print what is not plain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--converted", action="store_true")
    options = parser.parse_args()
    tables = load_tables()
    if options.converted:
        sys.exit(_converted(tables))
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


def _converted(tables: Tables) -> int:
    """Ask every table for every network as a converter leaves it; return 1 where one is taken for another."""
    known = [variant for variant in tables.variants.values() if recorded(variant) is not None]
    counts: Counter[str] = Counter()
    for variant in known:
        own = _ported(variant, tables, variant.name)
        others = {other.name: _ported(variant, tables, other.name) for other in known if other is not variant}
        whole = {name: found for name, found in others.items() if found not in (None, _BEGINS)}
        taken = [name for name, found in whole.items() if not _is_one(own, found)]
        counts["read whole" if own is not None else "refused"] += 1
        counts["pairs refused"] += sum(found is None for found in others.values())
        counts["pairs that begin alike"] += sum(found == _BEGINS for found in others.values())
        counts["pairs of one network"] += len(whole) - len(taken)
        counts["pairs wrong"] += len(taken)
        if taken:
            print(f"{variant.name:<44}TAKEN BY {', '.join(taken)}")
    print(f"{len(known)} variants: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return int(bool(counts["pairs wrong"]))


def _is_one(own: object, found: object) -> bool:
    """Whether two ports are one: all tensors alike, or two networks of timm with the same weights in them."""
    if not isinstance(own, tuple) or not isinstance(found, tuple):
        return False
    used = [sorted(key for keys in tensors.values() for key in keys) for _, tensors in (own, found)]
    return own == found or (own[0] != found[0] and used[0] == used[1])


def _ported(variant: Variant, tables: Tables, name: str) -> object:
    """Return timm's network and each of its tensors if a table's variant takes what is left of a network.

    None if it is refused, and `_BEGINS` if it is another network with the same first layers, of which the
    port has the variant's modules and a head of its own.
    """
    try:
        made = plan(ConvertedRecord(variant), tables, variant=name)
    except PlanError:
        return None
    if made.cut is not None or made.head:
        return _BEGINS
    tensors = {each.target: [part.key for part in each.sources] for each in made.assignments}
    return made.variant.target.name, tensors


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
