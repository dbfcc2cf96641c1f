"""Port and check unchanged files of every family and container: none is refused or raises an alarm.

    python benchmarks/unchanged.py plan|check FOLDER [LIBRARY/FAMILY ...]

Writes the files to FOLDER first where they are missing (an hour). Prints a line for each file. ``plan`` plans
a port of it, and is content if its own network was compared with the table's and nothing about its images
stays unread. ``check`` runs the network that it carries: the verdict, the worst float64 deviation, stages
compared and whose network ran; it leaves out families that are deeper than another. The exit status is 1
unless every file is read, or has parity with its own network and every stage compared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from families import DEEPER

import porter
from porter.checks.check import Check, check_all_against_tensorflow
from porter.errors import PorterError
from porter.parity.outcome import ParityReport
from porter.planning.plan import plan

LIBRARIES = ("tf_keras", "keras", "garden")
OWN = "TensorFlow ran the file's own network"
COMPARED, UNSAID = " layers as ", "in front of the network"
_TOGETHER = 12  # files in one process: starting a framework takes longer than checking one
_WRITER = Path(__file__).with_name("write_unchanged.py")


def main() -> int:
    """Print every outcome and their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("mode", choices=("plan", "check"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("families", nargs="*", metavar="LIBRARY/FAMILY")
    asked = parser.parse_args()
    mode, folder = asked.mode, asked.folder
    counts: Counter[str] = Counter()
    for family in asked.families or written(folder):
        if mode == "check" and family.partition("/")[2] in DEEPER:
            continue
        files = sorted((folder / family).iterdir())
        for file, kind, words in map(read, files) if mode == "plan" else checked(files):
            counts[kind] += 1
            print(f"{kind:<8} {file.relative_to(folder)}: {words}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return int(not set(counts) <= {"parity", "read"})


def read(file: Path) -> tuple[Path, str, str]:
    """Plan a port of a file; say whether its network was compared and its images are understood."""
    try:
        with porter.open_checkpoint(file) as checkpoint:
            made = plan(checkpoint)
    except PorterError as error:
        return file, "REFUSED", str(error).replace("\n", " | ")
    is_read = COMPARED in made.network and not any(UNSAID in note for note in made.notes)
    return file, "read" if is_read else "UNREAD", " | ".join((made.variant.name, made.network, *made.notes))


def checked(files: Sequence[Path]) -> Iterator[tuple[Path, str, str]]:
    """Check files in groups."""
    for start in range(0, len(files), _TOGETHER):
        for file, outcome in outcomes(files[start : start + _TOGETHER]):
            yield file, *judged(outcome)


def written(folder: Path) -> Iterator[str]:
    """Let each library write its families; yield their folders' names as they are there."""
    for library in LIBRARIES:
        command = [sys.executable, _WRITER, folder, library]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
            yield from (f"{library}/{Path(line.strip()).name}" for line in run.stdout or ())
        if run.returncode:
            raise SystemExit(f"{library} failed: run {_WRITER.name} alone")


def outcomes(files: Sequence[Path]) -> Iterator[tuple[Path, ParityReport | PorterError]]:
    """Check files with one process per framework; where one stops that, halves of them."""
    planned: list[tuple[Path, Check]] = []
    for file in files:
        try:
            with porter.open_checkpoint(file) as checkpoint:
                variant = plan(checkpoint).variant
            planned.append((file, Check(variant, checkpoint=file)))
        except PorterError as error:
            yield file, error
    try:
        together = list(check_all_against_tensorflow([check for _, check in planned]))
    except PorterError as error:
        if len(planned) == 1:
            yield planned[0][0], error
            return
        for half in (planned[: len(planned) // 2], planned[len(planned) // 2 :]):
            yield from outcomes([file for file, _ in half])
        return
    for (file, _), checked in zip(planned, together, strict=True):
        yield file, checked.report


def judged(outcome: ParityReport | PorterError) -> tuple[str, str]:
    """Return the kind of an outcome and what to print of it."""
    if isinstance(outcome, PorterError):
        return "error", str(outcome).replace("\n", " | ")
    notes = " | ".join(outcome.notes)
    own = any(note.startswith(OWN) for note in outcome.notes)
    decided = [case for case in outcome.cases if case.decides]
    worst = max((case.worst for case in decided), default=float("nan"))
    stages = len(decided[0].stages) if decided else 0
    quiet = not any(word in notes for word in ("not compared", "no scale", "scales its images"))
    kind = "parity" if outcome.passed and own and quiet else "ALARM" if own else "builder"
    first = f", first bad {outcome.first_bad_stage}" if outcome.first_bad_stage else ""
    return kind, f"{outcome.verdict.value}, worst {worst:.1e}, {stages} stages{first}; {notes}"


if __name__ == "__main__":
    sys.exit(main())
