"""What a check found, ready to be read: in a notebook, on a terminal, by a script."""

from __future__ import annotations

import html
import json
import math
from dataclasses import dataclass
from typing import Any

from porter.parity.outcome import CaseResult, Cause, ParityReport, Verdict
from porter.recordings.recording import Recording
from porter.report.html import html as to_html
from porter.report.junit import junit as to_junit
from porter.report.notation import error
from porter.report.text import text as to_text

_FRAME = (
    '<iframe title="parity report" srcdoc="{page}" style="width: 100%; height: 40em; border: 0"></iframe>'
)


@dataclass(frozen=True, slots=True, repr=False)
class CheckReport:
    """The outcome of a check, with the recordings that it rests on.

    Attributes:
        outcome: Every figure, as data.
        expected: The reference's recording.
        actual: The ported network's recording.

    Example:
        >>> report = porter.check("keras_mobilenetv1_025", against="golden")
        >>> report.verdict.value, report.first_bad_stage
        ('parity', None)
    """

    outcome: ParityReport
    expected: Recording
    actual: Recording

    @property
    def passed(self) -> bool:
        """Whether the verdict is parity."""
        return self.outcome.passed

    @property
    def verdict(self) -> Verdict:
        """The answer; only `Verdict.PARITY` is good."""
        return self.outcome.verdict

    @property
    def first_bad_stage(self) -> str | None:
        """Name of the guilty stage of the first failing case that decides, or None."""
        return self.outcome.first_bad_stage

    @property
    def findings(self) -> tuple[Cause, ...]:
        """Likely causes of a failure, most likely first; none of a passed check."""
        return self.outcome.findings

    @property
    def cases(self) -> tuple[CaseResult, ...]:
        """One per element type and input size."""
        return self.outcome.cases

    @property
    def worst(self) -> float:
        """Largest deviation of the cases that decide, relative to its stage's scale; NaN if there is none."""
        values = [case.worst for case in self.cases if case.decides]
        return math.nan if not values or any(map(math.isnan, values)) else max(values)

    def text(self, *, colour: bool = False) -> str:
        """Return the report as lines of at most 80 characters, coloured for a terminal if `colour`."""
        return to_text(self.outcome, colour=colour)

    def html(self) -> str:
        """Return the report as one self-contained page with plots."""
        return to_html(self.outcome)

    def junit(self) -> str:
        """Return the report as JUnit XML, a test case per stage."""
        return to_junit(self.outcome)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready data; docs/parity-report.md describes the schema."""
        return self.outcome.to_json()

    def json(self) -> str:
        """Return the report as a JSON document."""
        return json.dumps(self.to_json(), indent=2)

    def __repr__(self) -> str:
        """Return the answer in a line or two."""
        line = f"<{self.verdict.value.upper()}: {self.outcome.title}; {len(self.cases)} cases"
        if self.outcome.stale is not None:
            return f"{line}; {self.outcome.stale}>"
        if self.passed or self.first_bad_stage is None:
            return f"{line}, worst {error(self.worst)}>"
        cause = f", likely cause: {self.findings[0].cause}" if self.findings else ""
        return f"{line}; first bad stage: {self.first_bad_stage}{cause}>"

    def _repr_html_(self) -> str:
        """Return the page in a frame: its styles stay out of the notebook."""
        return _FRAME.format(page=html.escape(self.html(), quote=True))
