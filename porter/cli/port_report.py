"""What `port-weights` says when it is done: for people, and as one JSON document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.outputs.output import Output
from porter.planning.ledger import Bucket
from porter.planning.plan import Plan
from porter.transfer.transfer import TransferReport

# If most networks have nothing, a count of nothing is not worth its place.
_RARE = (Bucket.FOLDED, Bucket.LEFT_OUT)
# What follows the name of a checkpoint in the name of its first file.
_ENDING = re.compile(r"\.index$|-\d{5}-of-\d{5}$")


class Report(NamedTuple):
    """What was done, or would be.

    Attributes:
        source: What the person named.
        checkpoint: What was opened for it.
        output: The plan in the form that was chosen.
        out: What was written, or would be; None if the person named nothing.
        written: Sizes, digests and findings; None after a dry run.
    """

    source: Path
    checkpoint: Checkpoint
    output: Output
    out: Path | None
    written: TransferReport | None

    def warnings(self) -> Iterator[str]:
        """Yield what the person should know before trusting the result."""
        yield from self.output.plan.notes
        yield from self.output.notes
        if self.written is not None:
            yield from map(str, self.written.findings)

    def lines(self, *, verbose: bool) -> Iterator[str]:
        """Yield the lines that are printed."""
        port_plan = self.output.plan
        yield f"network   {port_plan.variant.name}: {port_plan.variant.title} to {self.output.title}"
        yield f"source    {_resolved(self.source, self.checkpoint)} ({self.checkpoint.format})"
        yield f"weights   {_weights(port_plan)}"
        yield f"layers    {port_plan.network}"
        if port_plan.cut is not None:
            yield f"cut       {port_plan.cut.words}"
        if port_plan.bn_eps is not None:
            yield f"bn_eps    {port_plan.bn_eps:g} ({port_plan.bn_eps_source})"
        if port_plan.class_names is not None:
            yield f"names     of {len(port_plan.class_names.names)} classes ({port_plan.class_names.source})"
        size = port_plan.input_spec.size
        yield f"images    {size}x{size} pixels ({port_plan.size_source})"
        yield from _ledger(port_plan, verbose=verbose)
        if self.written is None or self.out is None:
            yield "dry run   nothing was read or written"
            return
        written = self.written
        yield from self.output.remarks(verbose=verbose)
        yield f"wrote     {self.out} ({written.nbytes / 1e6:.1f} MB, {written.tensors} tensors)"
        yield self.output.loading_line(self.out)
        yield from self.output.alternatives(self.out)

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        port_plan, written = self.output.plan, self.written
        said: dict[str, Any] = {
            "schema": "porter-port",
            "schema_version": 1,
            "variant": port_plan.variant.name,
            "model": port_plan.variant.target.name,
            "arguments": dict(port_plan.arguments),
            "source": str(_resolved(self.source, self.checkpoint)),
            "source_format": self.checkpoint.format,
            "weights": {"read": port_plan.weights, "from_average": port_plan.from_average},
            "network": {
                "compared": port_plan.network,
                "classifier_activation": port_plan.classifier_activation,
            },
            "bn_eps": {"value": port_plan.bn_eps, "source": port_plan.bn_eps_source},
            "input_size": {"value": port_plan.input_spec.size, "source": port_plan.size_source},
            "target": self.output.library,
            "notes": [*port_plan.notes, *self.output.notes],
            **_tensors(self.output),
            "folding": None,
            "out": None,
        }
        if written is not None and self.out is not None:
            said["out"] = {
                "path": str(self.out),
                "size": written.nbytes,
                "source_files": [file._asdict() for file in written.sources],
                "findings": [finding._asdict() for finding in written.findings],
                "load": self.output.loading_line(self.out),
            }
        return {**said, **self.output.details()}


def _resolved(source: Path, checkpoint: Checkpoint) -> Path:
    """Return what was opened: of a training directory, the step that was chosen."""
    if not source.is_dir() or not checkpoint.files:
        return source
    first = checkpoint.files[0]
    return first.with_name(_ENDING.sub("", first.name)) if _ENDING.search(first.name) else source


def _ledger(port_plan: Plan, *, verbose: bool) -> Iterator[str]:
    counts = Counter(line.bucket for line in port_plan.ledger)
    yield "ledger    " + ", ".join(
        f"{counts[bucket]} {bucket.value}" for bucket in Bucket if counts[bucket] or bucket not in _RARE
    )
    if verbose:
        width = max(len(line.path) for line in port_plan.ledger)
        for line in port_plan.ledger:
            yield f"  {line.bucket.value:<12} {line.path:<{width}}  {line.reason}"


def _weights(port_plan: Plan) -> str:
    if port_plan.weights == "raw":
        return "as trained (no moving average is read)"
    total = sum(bool(assignment.parts) for assignment in port_plan.assignments)
    rest = total - port_plan.from_average
    raw = f", as trained for {rest} that have none" if rest else ""
    return f"moving average for {port_plan.from_average} variables{raw}"


def _tensors(output: Output) -> dict[str, Any]:
    """Return both sides of the port: what became of every variable, and where every tensor comes from."""
    return {
        "ledger": [
            {"key": line.key, "path": line.path, "bucket": line.bucket.value, "reason": line.reason}
            for line in output.plan.ledger
        ],
        "targets": [
            {
                "name": assignment.target,
                "shape": list(assignment.shape),
                "sources": [part.key for part in assignment.sources],
                "layouts": [part.layout.pattern for part in assignment.sources],
            }
            for assignment in output.assignments
        ],
    }
