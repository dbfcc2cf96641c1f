"""Check unchanged files of many families, each by the network that it carries itself: no alarm may be raised.

    python benchmarks/unchanged.py FOLDER [LIBRARY/FAMILY ...]

Writes the files to FOLDER first where they are missing (minutes). Prints a line for each file: its verdict,
the worst float64 deviation, stages compared and whose network ran. The exit status is 1 unless every file
has parity with its own network and every stage was compared.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import porter
from porter.checks.check import Check, check_all_against_tensorflow
from porter.errors import PorterError
from porter.parity.outcome import ParityReport
from porter.planning.plan import plan

LIBRARIES = ("tf_keras", "keras", "garden")
OWN = "TensorFlow ran the file's own network"
_TOGETHER = 12  # files in one process: starting a framework takes longer than checking one
_WRITER = Path(__file__).with_name("write_unchanged.py")


def main(folder: Path, *families: str) -> int:
    """Print every outcome and their counts."""
    counts: Counter[str] = Counter()
    files = [file for family in families or written(folder) for file in sorted((folder / family).iterdir())]
    for start in range(0, len(files), _TOGETHER):
        for file, outcome in outcomes(files[start : start + _TOGETHER]):
            kind, words = judged(outcome)
            counts[kind] += 1
            print(f"{kind:<8} {file.relative_to(folder)}: {words}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return int(set(counts) != {"parity"})


def written(folder: Path) -> Iterator[str]:
    """Let each library write its families; yield their folders' names."""
    for library in LIBRARIES:
        run = subprocess.run([sys.executable, _WRITER, folder, library], check=False, capture_output=True)
        if run.returncode:
            raise SystemExit(run.stderr.decode()[-2000:])
        yield from (f"{library}/{each.name}" for each in sorted((folder / library).iterdir()))


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
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
