"""Let the live check find what the port would refuse: configs that contradict their weights.

    python benchmarks/live_contradictions.py FOLDER LIBRARY/FAMILY ...

FOLDER holds what `unchanged.py` wrote; FAMILY may be one of its small ones, MobileNetV2-32. Both files of
Keras are changed, .h5 and .keras. The tables are copies without recorded networks, which switches the
refusal off. Prints a line for each family and kind of change:

- found: no parity, with the first stage that differs;
- adopted: the port follows the file, and there is parity;
- refused: the variables themselves are another network's, so that nothing is ported;
- unloadable: Keras itself cannot load or run the changed file;
- MISSED: parity with a network that the port does not follow, or parity lost where it does.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from config_edits import EDITS, edited
from families import SIZE
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
}
SUFFIXES = (".keras", ".h5")
_TOGETHER = 10


def main(folder: Path, *families: str) -> int:
    """Print every outcome and their counts."""
    counts: Counter[str] = Counter()
    for family in families:
        tables = unrecorded(folder, family.rpartition("/")[2])
        files = [
            file
            for suffix in SUFFIXES
            for file in changed(folder / family / f"model{suffix}", folder / "changed" / family)
        ]
        for start in range(0, len(files), _TOGETHER):
            for file, outcome in outcomes(files[start : start + _TOGETHER], tables):
                kind, words = judged(file.stem, outcome)
                counts[kind] += 1
                print(f"{kind:<10} {family}{file.suffix}: {file.stem}: {words}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return int(bool(counts["MISSED"]))


def unrecorded(folder: Path, family: str) -> Tables:
    """Return a copy of the family's table whose variants have no record of their network."""
    name = max((prefix for prefix in TABLES if family.startswith(prefix)), key=len)
    copy = folder / f"{TABLES[name]}.toml"
    text = (shipped_folder("mappings") / "keras" / copy.name).read_text()
    copy.write_text(text.replace("[variant.keras_", "[variant.own_"))
    return load_tables(copy)


def changed(file: Path, folder: Path) -> Iterator[Path]:
    """Write the file once with every change that has something to change in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (edit, _) in EDITS.items():
        target = folder / f"{name}{file.suffix}"
        if edited(file, target, edit):
            yield target


def outcomes(files: Sequence[Path], tables: Tables) -> Iterator[tuple[Path, ParityReport | PorterError]]:
    """Check files with one process per framework; where one stops that, halves of them."""
    checks = []
    planned = []
    for file in files:
        try:
            with porter.open_checkpoint(file) as checkpoint:
                variant = plan(checkpoint, tables).variant
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


def size_of(file: Path) -> tuple[int, int]:
    """Return height and width of the images that a family was written for."""
    told = file.parent.name.rpartition("-")[2]
    side = int(told) if told.isdecimal() else SIZE
    return side, side


def judged(change: str, outcome: ParityReport | PorterError) -> tuple[str, str]:
    """Return the kind of an outcome and what to print of it."""
    if isinstance(outcome, PorterError):
        return "refused" if isinstance(outcome, PlanError) else "MISSED", str(outcome).replace("\n", " | ")
    if not any(note.startswith(OWN) for note in outcome.notes):
        return "unloadable", outcome.notes[0][:160]
    adopted = EDITS[change][1] == "adopted"
    if outcome.verdict is Verdict.PARITY:
        return ("adopted" if adopted else "MISSED"), "parity"
    bad = outcome.first_bad_stage
    return ("MISSED" if adopted or not bad else "found"), f"{outcome.verdict.value}, first at {bad}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
