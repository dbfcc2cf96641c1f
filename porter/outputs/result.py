"""What a port did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from porter.outputs.output import Output
from porter.planning.plan import Plan
from porter.transfer.transfer import TransferReport


@dataclass(frozen=True, slots=True, repr=False)
class PortResult:
    """What a port did.

    Attributes:
        output: The plan in the form that was written.
        report: Bytes, time, source digests and findings about the values.
        out: The file or folder that was written.
    """

    output: Output
    report: TransferReport
    out: Path

    @property
    def plan(self) -> Plan:
        """Every assignment and the ledger."""
        return self.output.plan

    @property
    def loading_line(self) -> str:
        """One line of Python that loads the output into the library it was written for, strictly."""
        return self.output.loading_line(self.out)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Other ways to load the output, or a part of it, one line or program each."""
        return tuple(self.output.alternatives(self.out))

    def __repr__(self) -> str:
        """Say in a few lines what was written and how it is loaded."""
        report, notes = self.report, (*self.plan.notes, *self.output.notes)
        lines = [
            f"PortResult: {self.plan.variant.name} to {self.output.title}",
            f"  wrote  {self.out} ({report.nbytes / 1e6:.1f} MB, {report.tensors} tensors)",
            f"  load   {self.loading_line}",
        ]
        if notes or report.findings:
            lines.append(f"  {len(notes)} note(s), {len(report.findings)} finding(s) about the values")
        return "\n".join(lines)
