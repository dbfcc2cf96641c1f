"""One of many reports, as a document of all of them takes it."""

from __future__ import annotations

from typing import NamedTuple

from porter.parity.outcome import ParityReport


class NamedReport(NamedTuple):
    """A check by the name of what was checked.

    Attributes:
        name: For example the checkpoint's path.
        report: What the check found; None if it could not be made.
        error: Why it could not.
    """

    name: str
    report: ParityReport | None
    error: str = ""
