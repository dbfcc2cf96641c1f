"""Match the networks of porter's tables with their own tables hidden.

Usage: ``benchmarks/match.py [--smallest N] [--results FILE] [--live-every N] [--saved-model] [VARIANT ...]``

All networks that code of TensorFlow's builds are matched (of every table the N smallest, if said), or those
that are named. `benchmarks/match_built.py` builds each, gives it weights of which no two are equal, and saves
it: Keras's whole, others as a checkpoint, which the code that builds them belongs to, or as a SavedModel;
`porter.match` then finds the mapping to the table's PyTorch network from that file alone. Prints a line for
each: proved or what is open first, whether the port by the table found is the port by porter's own, and the
seconds of the match, for every Nth (each if not said) beside those of one live check of the network at the
same sizes; then the shares. Each is a line of JSON in FILE too, which another run continues;
`benchmarks/match_others.py` reads it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import porter
from porter.checkpoints import open_checkpoint
from porter.core.checkpoint import Checkpoint
from porter.errors import PorterError
from porter.matching.match import match
from porter.matching.result import MatchResult
from porter.planning.port_options import PortOptions
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

_ROOT = Path(__file__).parent.parent
_FILES = ("model.h5", "saved", "checkpoint")
_SIZES = ("64x64", "75x75", "64x85")
Row = dict[str, Any]


def main() -> None:
    """Match the networks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--smallest", type=int)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--saved-model", action="store_true")
    parser.add_argument("--live-every", type=int, default=1, metavar="N")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    own = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), str(Path(__file__).parent), own])
    variants = load_tables().variants
    names = given.names or list(_smallest_first(list(variants.values()), given.smallest))
    rows = rows_of(given.results)
    for number, name in enumerate(names):
        if name in rows:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = _row(
                variants[name],
                Path(folder),
                as_saved_model=given.saved_model,
                live=number % given.live_every == 0,
            )
        print(_line(rows[name]), flush=True)
        if given.results:
            with given.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[name]) + "\n")
    print("\n".join(_summary([rows[name] for name in names])))


def rows_of(file: Path | None) -> dict[str, Row]:
    """Return what was written to a file of results, by network; the last of several lines of one counts."""
    if file is None or not file.exists():
        return {}
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {row["name"]: row for row in rows}


def _smallest_first(variants: list[Variant], count: int | None) -> Iterator[str]:
    """Yield the smallest network of every table, then all others by size, at most `count` of a table."""
    by_table = defaultdict(list)
    for variant in variants:
        if variant.source.name != "stand_in.variant":  # the network of another table once more
            by_table[variant.table].append(variant)
    groups = [sorted(group, key=_size)[:count] for group in by_table.values()]
    yield from (each.name for each in sorted((group[0] for group in groups), key=_size))
    yield from (each.name for each in sorted((each for group in groups for each in group[1:]), key=_size))


def _size(variant: Variant) -> int:
    shapes = [[each for each in entry.target_shape if isinstance(each, int)] for entry in variant.entries]
    return sum(map(math.prod, shapes))


def _row(variant: Variant, folder: Path, *, as_saved_model: bool, live: bool) -> Row:
    """Build, match and compare one network."""
    row: Row = {"name": variant.name, "builder": variant.source.name}
    os.environ["MATCH_VARIANT"] = variant.name
    command = [sys.executable, str(Path(__file__).with_name("match_built.py")), str(folder)]
    with _timed(row, "build"):
        made = subprocess.run(
            [*command, *(["--saved-model"] if as_saved_model else [])],
            env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if made.returncode:
        words = (made.stderr.strip().splitlines() or ["no file"])[-1][:200]
        return {**row, "outcome": "not built", "words": words}
    file = next(file for name in _FILES if (file := folder / name).exists() or _is_checkpoint(file))
    row["file"] = file.name
    try:
        row |= _inputs(variant, file, _told(folder))
        with _timed(row, "match"):
            found = _matched(variant, file)
        sizes = list(dict.fromkeys(run.size for run in found.proof))
        row |= {"sizes": sizes, "parameters": list(found.parameters.items())}
        row |= _outcome(found, variant, file, folder)
    except PorterError as error:
        row |= {"outcome": "refused", "words": str(error)[:300]}
    except Exception as error:  # noqa: BLE001 (the others are run all the same, and it is told)
        row |= {"outcome": "failed", "words": f"{type(error).__name__}: {error}"[:300]}
    if live:
        _live(variant, row.get("sizes") or _SIZES, row)
    return row


@contextmanager
def _timed(row: Row, what: str) -> Iterator[None]:
    """Add the seconds of what runs inside to a row."""
    started = time.perf_counter()
    try:
        yield
    finally:
        row[f"{what}_seconds"] = round(time.perf_counter() - started, 1)


def _matched(variant: Variant, file: Path) -> MatchResult:
    arguments = [f"{key}={json.dumps(value)}" for key, value in variant.target.arguments.items()]
    target = f"timm:{variant.target.name}"
    if variant.network is not None:
        target, arguments = "match_network:build", [f"variant={variant.name}"]
    function = "match_built:build" if _is_checkpoint(file) else ""
    return match(file, target, function=function, arguments=arguments, adjust=True)


def _outcome(found: MatchResult, variant: Variant, file: Path, folder: Path) -> Row:
    """Say what was found, and whether the port by it is the port by the variant's own table."""
    if found.status == "draft":
        return {"outcome": "draft", "words": f"{len(found.open)} open, {found.open[0][:300]}"}
    try:
        differing = _differing(found, variant, file, folder)
    except PorterError as error:
        return {"outcome": "proved, not compared", "words": str(error)[:300]}
    if differing:
        return {"outcome": "proved, other port", "words": f"{differing} first"}
    return {"outcome": "proved", "words": f"{len(found.layers)} layers, worst {found.worst:.1e}"}


def _differing(found: MatchResult, variant: Variant, file: Path, folder: Path) -> str:
    """Port by the table found and by the variant's own; return the first tensor that differs, or ""."""
    found.save(folder / "found.toml")
    porter.port(file, folder / "found.safetensors", tables=porter.load_tables(folder / "found.toml"))
    porter.port(file, folder / "own.safetensors", variant=variant.name)
    ours, own = (load_file(folder / f"{name}.safetensors") for name in ("found", "own"))
    names = (each for each in ours.keys() | own.keys() if not each.endswith("num_batches_tracked"))
    for name in sorted(names):
        if name not in ours or name not in own or not np.array_equal(ours[name], own[name]):
            return name
    return ""


def _inputs(variant: Variant, file: Path, told: list[tuple[str, list[int], str]]) -> Row:
    """Return what other methods are given, and what they should find.

    Returns:
        ``variables``: name and shape of each in the order in which TensorFlow made them; ``truth``: the
        variables, by their places there, that the variant's own table puts into each parameter.
    """
    places = {digest: place for place, (_, _, digest) in enumerate(told)}
    truth = {}
    with open_checkpoint(file) as checkpoint:
        plan = porter.plan(checkpoint, options=PortOptions(variant=variant.name))
        for each in plan.assignments:
            parts = [places[_digest(checkpoint, part.key)] for part in each.parts]
            if parts or each.fill is not None:
                truth[each.target] = parts
    return {"variables": [(name, shape) for name, shape, _ in told], "truth": truth}


def _told(folder: Path) -> Any:
    return json.loads((folder / "variables.json").read_text(encoding="utf-8"))


def _is_checkpoint(file: Path) -> bool:
    return file.with_name(f"{file.name}.index").exists()


def _digest(checkpoint: Checkpoint, key: str) -> str:
    return hashlib.sha256(np.ascontiguousarray(checkpoint.read(key)).tobytes()).hexdigest()


def _live(variant: Variant, sizes: Iterable[str], row: Row) -> None:
    """Time the live check of a network with random weights, a command of its own."""
    options = [word for size in sizes for word in ("--size", size)]
    command = [sys.executable, "-m", "porter.cli.main", "parity-check", "--variant", variant.name, *options]
    with _timed(row, "live"):
        done = subprocess.run(command, capture_output=True, check=False)
    row["live_exit"] = done.returncode


def _line(row: Row) -> str:
    seconds = ", ".join(
        f"{what} {row[f'{what}_seconds']:.0f} s"
        for what in ("build", "match", "live")
        if f"{what}_seconds" in row
    )
    return f"{row['name']}: {row['outcome']} ({seconds}): {row['words']}"


def _summary(rows: list[Row]) -> Iterator[str]:
    outcomes = Counter(row["outcome"] for row in rows)
    yield ""
    yield f"{len(rows)} networks: " + ", ".join(
        f"{outcome} {count} ({count / len(rows):.1%})" for outcome, count in outcomes.most_common()
    )
    by_builder = defaultdict(list)
    for row in rows:
        by_builder[row["builder"]].append(row["outcome"] == "proved")
    yield from (f"  {builder}: {sum(each)} of {len(each)} proved" for builder, each in by_builder.items())
    proved = [row for row in rows if row["outcome"] == "proved"]
    if proved:
        seconds = sorted(row["match_seconds"] for row in proved)
        yield f"a match: median {statistics.median(seconds):.0f} s, {seconds[0]:.0f} to {seconds[-1]:.0f} s"
    ratios = [row["match_seconds"] / row["live_seconds"] for row in proved if not row.get("live_exit", 1)]
    if ratios:
        yield (
            f"beside one live check at the same sizes ({len(ratios)} networks): median "
            f"{statistics.median(ratios):.2f} times its seconds, {min(ratios):.2f} to {max(ratios):.2f}"
        )
    yield from (f"not proved: {_line(row)}" for row in rows if row["outcome"] != "proved")


if __name__ == "__main__":
    main()
