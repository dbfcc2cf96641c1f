"""A pattern in the numbers that points to a cause."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clue:
    """What one test says.

    Attributes:
        cause: Stable code of the finding.
        weight: How far the numbers force the cause, 0..1. 1 is proof.
        evidence: One sentence with numbers, without its full stop.
        place: The layer or tensor to look at, or "" for the stage as a whole.
    """

    cause: str
    weight: float
    evidence: str
    place: str = ""
