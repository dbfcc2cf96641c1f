"""What a process that ports is asked, and what it answers; both travel as one line of JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from porter.errors import PorterError, error_from_json
from porter.outputs.output_options import OutputOptions
from porter.planning.port_options import PortOptions

Status = Literal["ported", "unchanged", "planned", "failed", "not begun"]


@dataclass(frozen=True, slots=True)
class Task:
    """One port to make.

    Attributes:
        source: The checkpoint.
        out: The file or folder to write.
        options: What was chosen about the port.
        form: What was chosen about its form.
        table: A mapping table in place of those that come with porter.
        dry_run: Whether nothing is written.
    """

    source: Path
    out: Path
    options: PortOptions
    form: OutputOptions
    table: Path | None = None
    dry_run: bool = False

    def to_line(self) -> str:
        """Return the task as one line of JSON."""
        return json.dumps(asdict(self), default=str) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Task:
        """Read what `to_line` wrote."""
        said = json.loads(line)
        return cls(
            Path(said["source"]),
            Path(said["out"]),
            PortOptions(**said["options"]),
            OutputOptions(**said["form"]),
            None if said["table"] is None else Path(said["table"]),
            said["dry_run"],
        )


@dataclass(frozen=True, slots=True)
class PortedSource:
    """What became of one source.

    Attributes:
        source: The checkpoint, as it was named.
        out: Its port.
        status: ``"ported"``; ``"unchanged"`` if the same port was there; ``"planned"`` after a dry run;
            ``"failed"``; ``"not begun"`` because another had failed.
        variant: The network; None if it is not known.
        nbytes: Length of the port in bytes; None if nothing was written.
        seconds: How long it took.
        load: One line of Python that loads the port.
        notes: What a person should know before trusting the port, findings about its values included.
        error: Why it failed.
    """

    source: Path
    out: Path
    status: Status
    variant: str | None = None
    nbytes: int | None = None
    seconds: float = 0.0
    load: str | None = None
    notes: tuple[str, ...] = ()
    error: PorterError | None = None

    @property
    def passed(self) -> bool:
        """Whether the port is there, or would be."""
        return self.status in ("ported", "unchanged", "planned")

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON-ready data."""
        return {
            "source": str(self.source),
            "out": str(self.out),
            "status": self.status,
            "variant": self.variant,
            "size": self.nbytes,
            "seconds": round(self.seconds, 3),
            "load": self.load,
            "notes": list(self.notes),
            "error": None if self.error is None else {**self.error.to_json(), "message": str(self.error)},
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> PortedSource:
        """Read what `to_json` returned."""
        described = said["error"] and {k: v for k, v in said["error"].items() if k != "message"}
        return cls(
            Path(said["source"]),
            Path(said["out"]),
            said["status"],
            said["variant"],
            said["size"],
            said["seconds"],
            said["load"],
            tuple(said["notes"]),
            error_from_json(described) if described else None,
        )


@dataclass(frozen=True, slots=True, repr=False)
class ManyPorts:
    """What became of many sources.

    Attributes:
        ports: One for each source, in the order of the sources.
        seconds: How long all of them took.
    """

    ports: tuple[PortedSource, ...]
    seconds: float = field(compare=False)

    @property
    def passed(self) -> bool:
        """Whether every port is there, or would be."""
        return all(port.passed for port in self.ports)

    @property
    def failed(self) -> tuple[PortedSource, ...]:
        """Those that failed."""
        return tuple(port for port in self.ports if port.status == "failed")

    @property
    def counts(self) -> dict[str, int]:
        """How many ended in which way."""
        return dict(Counter(port.status for port in self.ports))

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON-ready data."""
        return {"sources": len(self.ports), "counts": self.counts, "seconds": round(self.seconds, 3)}

    def __repr__(self) -> str:
        """Say in a line how many ended in which way, and then which failed."""
        told = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        return "\n".join([f"ManyPorts: {told}", *(f"  {port.source}: {port.error}" for port in self.failed)])
