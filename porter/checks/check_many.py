"""`porter.check_many`: many checkpoints in one pair of framework processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.checks.checking import check
from porter.checks.framework_pair import FrameworkPair, serving
from porter.errors import ParityError, PorterError
from porter.formats.hdf5.reader import one_reader
from porter.parity.outcome import ParityReport
from porter.runners.process import require
from porter.tables.shipped import load_tables

_ONE_ALONE = ("against", "ported", "target")


@dataclass(frozen=True, slots=True)
class CheckedCheckpoint:
    """What a check of one checkpoint found.

    Attributes:
        checkpoint: As it was named.
        outcome: Every figure; None if the check could not be made. The recordings are not kept.
        seconds: How long it took.
        error: Why the check could not be made.
    """

    checkpoint: Path
    outcome: ParityReport | None
    seconds: float
    error: PorterError | None = None

    @property
    def passed(self) -> bool:
        """Whether the verdict is parity."""
        return self.outcome is not None and self.outcome.passed

    @property
    def first_bad_stage(self) -> str | None:
        """Name of the first stage that deviates, or None."""
        return None if self.outcome is None else self.outcome.first_bad_stage

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON-ready data."""
        return {
            "checkpoint": str(self.checkpoint),
            "passed": self.passed,
            "first_bad_stage": self.first_bad_stage,
            "seconds": round(self.seconds, 3),
            "report": None if self.outcome is None else self.outcome.to_json(),
            "error": None if self.error is None else {**self.error.to_json(), "message": str(self.error)},
        }


def _silent(_checked: CheckedCheckpoint) -> None:
    """Say nothing of a check that is done."""


def check_many(
    checkpoints: Sequence[str | os.PathLike[str]],
    variant: str | None = None,
    *,
    done: Callable[[CheckedCheckpoint], None] = _silent,
    **asked: Any,
) -> tuple[CheckedCheckpoint, ...]:
    """Check many checkpoints against TensorFlow, in one process per framework.

    Each check is what `check` does of that checkpoint alone: the frameworks are imported once, and networks
    of porter's builders are built once. One that fails, or cannot be made, stops no other.

    Args:
        checkpoints: Each is restored by TensorFlow and ported for PyTorch.
        variant: The network of all of them; what each checkpoint says if None.
        done: Called with each finding, as it is there.
        **asked: Arguments of `check`, the same for all; not those about a ported file or another reference.

    Returns:
        One finding for each checkpoint, in order.

    Raises:
        ParityError: no checkpoint was given, or `asked` is about one alone.
        MissingDependencyError: TensorFlow or torch is not installed.

    Example:
        >>> porter.check_many([])
        Traceback (most recent call last):
        porter.errors.ParityError: no checkpoint was given to check
    """
    if not checkpoints:
        raise ParityError("check/nothing-named", "no checkpoint was given to check")
    for name in _ONE_ALONE:
        if name in asked:
            raise ParityError(
                "check/of-one-alone", "goes with one checkpoint at a time, against TensorFlow", found=name
            )
    require("tensorflow")
    require("torch")
    tables = asked.pop("tables", None) or load_tables()
    found = []
    with FrameworkPair() as pair, serving(pair), one_reader():
        for checkpoint in map(Path, checkpoints):
            started = time.perf_counter()
            outcome, error = None, None
            try:
                outcome = check(variant, checkpoint, against="tensorflow", tables=tables, **asked).outcome
            except PorterError as refused:
                error = refused
            found.append(CheckedCheckpoint(checkpoint, outcome, time.perf_counter() - started, error))
            done(found[-1])
    return tuple(found)
