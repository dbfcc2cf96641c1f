"""Let the live check find what the port would refuse: networks that contradict their weights.

    python benchmarks/live_contradictions.py FOLDER LIBRARY/FAMILY ...

FOLDER holds what `unchanged.py` wrote; FAMILY may be one of its small ones, MobileNetV2-32. Configs are
changed in .h5 and .keras, graphs in SavedModels and frozen graphs. What the port refuses is checked by
copies of the tables without recorded networks, which switches the refusal off. Prints a line for each file
and kind of change:

- found: no parity, with the first stage that differs;
- adopted: the port follows the file, and there is parity;
- refused: the variables themselves are another network's, so that nothing is ported;
- unloadable: TensorFlow or Keras itself cannot load or run the changed file;
- MISSED: parity with a network that the port does not follow, or parity lost where it does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from config_edits import EDITS, edited
from families import SIZE
from graph_edits import GRAPH_EDITS, graph_edited
from unchanged import OWN

import porter
from porter.checks.check import Check, check_all_against_tensorflow
from porter.core.data_files import shipped_folder
from porter.errors import PlanError, PorterError
from porter.parity.outcome import ParityReport, Verdict
from porter.planning.plan import plan
from porter.tables.known_tables import Tables
from porter.tables.shipped import load_tables

TABLES = {
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3": "mobilenet_v3",
    "EfficientNetB": "efficientnet",
    "EfficientNetV2": "efficientnet_v2",
    "ResNet": "resnet",
    "DenseNet": "densenet",
}
FILES = ("model.keras", "model.h5", "exported", "saved", "frozen.pb")  # as far as a library writes them
CONFIGS = (".keras", ".h5")
UNRUN = "TensorFlow could not run the file's own network"
_TOGETHER = 10


def main() -> int:
    """Print every outcome and their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("families", nargs="+", metavar="LIBRARY/FAMILY")
    asked = parser.parse_args()
    folder: Path = asked.folder
    counts: Counter[str] = Counter()
    for family in asked.families:
        tables = unrecorded(folder, family.rpartition("/")[2])
        for original in (folder / family / name for name in FILES):
            if original.exists():
                for kind, words in found(original, folder / "changed" / family, tables):
                    counts[kind] += 1
                    print(f"{kind:<10} {family}/{original.name}: {words}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return int(bool(counts["MISSED"]))


def unrecorded(folder: Path, family: str) -> Tables:
    """Return a copy of the family's table whose variants have no record of their network."""
    name = max((prefix for prefix in TABLES if family.startswith(prefix)), key=len)
    copy = folder / f"{TABLES[name]}.toml"
    text = (shipped_folder("mappings") / "keras" / copy.name).read_text()
    copy.write_text(text.replace("[variant.keras_", "[variant.own_"))
    return load_tables(copy)


def found(original: Path, folder: Path, tables: Tables) -> Iterator[tuple[str, str]]:
    """Yield the kind of what became of each change of a file, and what to print of it."""
    files = list(changed(original, folder / original.name))
    for start in range(0, len(files), _TOGETHER):
        for file, outcome in outcomes(files[start : start + _TOGETHER], tables):
            kind, words = judged(outcome, adopted=is_ported(file))
            yield kind, f"{file.stem}: {words}"
    shutil.rmtree(folder / original.name)


def changed(original: Path, folder: Path) -> Iterator[Path]:
    """Write the file once with every change that has something to change in it."""
    folder.mkdir(parents=True, exist_ok=True)
    is_config = original.suffix in CONFIGS
    for name in EDITS if is_config else GRAPH_EDITS:
        target = folder / f"{name}{original.suffix}"
        is_changed = (
            edited(original, target, EDITS[name][0])
            if is_config
            else graph_edited(original, target, GRAPH_EDITS[name][0])
        )
        if is_changed:
            yield target


def outcomes(files: Sequence[Path], tables: Tables) -> Iterator[tuple[Path, ParityReport | PorterError]]:
    """Check files with one process per framework; where one stops that, halves of them."""
    checks = []
    planned = []
    for file in files:
        try:
            with porter.open_checkpoint(file) as checkpoint:
                variant = plan(checkpoint, None if is_ported(file) else tables).variant
        except PlanError as error:
            yield file, error
            continue
        planned.append(file)
        checks.append(Check(variant, sizes=(size_of(file),), dtypes=("float64",), checkpoint=file))
    try:
        together = list(check_all_against_tensorflow(checks))
    except PorterError as error:
        if len(planned) == 1:
            yield planned[0], error
            return
        for half in (planned[: len(planned) // 2], planned[len(planned) // 2 :]):
            yield from outcomes(half, tables)
        return
    yield from ((file, checked.report) for file, checked in zip(planned, together, strict=True))


def is_ported(file: Path) -> bool:
    """Whether the refusal, switched on, lets the changed file pass: then the port is to follow the change."""
    try:
        with porter.open_checkpoint(file) as checkpoint:
            plan(checkpoint)
    except PlanError:
        return False
    return True


def size_of(file: Path) -> tuple[int, int]:
    """Return height and width of the images that a family was written for."""
    told = file.parent.parent.name.rpartition("-")[2]
    side = int(told) if told.isdecimal() else SIZE
    return side, side


def judged(outcome: ParityReport | PorterError, *, adopted: bool) -> tuple[str, str]:
    """Return the kind of an outcome and what to print of it; `adopted` if the port follows the change."""
    if isinstance(outcome, PorterError):
        kind = "refused" if isinstance(outcome, PlanError) else "MISSED"
        return "unloadable" if UNRUN in str(outcome) else kind, str(outcome).replace("\n", " | ")
    if not any(note.startswith(OWN) for note in outcome.notes):
        return "unloadable", outcome.notes[0][:160]
    if outcome.verdict is Verdict.PARITY:
        return ("adopted" if adopted else "MISSED"), "parity"
    bad = outcome.first_bad_stage
    return ("MISSED" if adopted or not bad else "found"), f"{outcome.verdict.value}, first at {bad}"


if __name__ == "__main__":
    sys.exit(main())
