"""What `port-weights` says when it is done: for people, and as one JSON document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.outputs.port import PortResult
from porter.planning.ledger import Bucket
from porter.planning.plan import Plan

if TYPE_CHECKING:  # see `porter.outputs.port`
    from porter.networks.bn_folding import Folding
    from porter.outputs.renaming.aim import Aim

# Where most networks have nothing, a count of nothing is not worth its place.
_RARE = (Bucket.FOLDED, Bucket.LEFT_OUT)


def warnings(made: Plan, aimed: Aim | None, result: PortResult | None) -> Iterator[str]:
    """Yield what the person should know before trusting the result."""
    yield from made.notes
    if aimed is not None:
        yield from aimed.notes
    if result is not None:
        yield from map(str, result.report.findings)


def lines(
    made: Plan, aimed: Aim | None, source: Path, container: str, result: PortResult | None, *, verbose: bool
) -> Iterator[str]:
    """Yield the lines that are printed; `result` is None after a dry run."""
    yield f"network   {made.variant.name}: {made.variant.title} to {aimed.table.title if aimed else 'timm'}"
    yield f"source    {source} ({container})"
    yield f"weights   {_weights(made)}"
    yield f"layers    {made.network}"
    if made.bn_eps is not None:
        yield f"bn_eps    {made.bn_eps:g} ({made.bn_eps_source})"
    yield f"images  {made.input_spec.size}x{made.input_spec.size} pixels ({made.size_source})"
    counts = Counter(line.bucket for line in made.ledger)
    yield "ledger    " + ", ".join(
        f"{counts[bucket]} {bucket.value}" for bucket in Bucket if counts[bucket] or bucket not in _RARE
    )
    if verbose:
        width = max(len(line.path) for line in made.ledger)
        for line in made.ledger:
            yield f"  {line.bucket.value:<12} {line.path:<{width}}  {line.reason}"
    if result is None:
        yield "dry run   nothing was read or written"
        return
    report = result.report
    if result.folding is not None:
        yield from _folding(result.folding, verbose=verbose)
    yield f"wrote     {result.out} ({report.nbytes / 1e6:.1f} MB, {report.tensors} tensors)"
    yield result.loading_line
    if result.folding is not None:
        from porter.outputs.folded import plain_recipe

        recipe = plain_recipe(made, result.out, is_sharded=result.is_sharded)
        if recipe is not None:
            yield f"or, without porter:\n\n{recipe}"


def _folding(folding: Folding, *, verbose: bool) -> Iterator[str]:
    from porter.outputs.folded import REASON

    yield f"folded    {len(folding.folded)} norms and layer scales into the convolutions in front of them"
    if verbose:
        yield from (f"  folded       {name}" for name in folding.folded)
    if folding.unfolded:
        yield f"left      {len(folding.unfolded)}: {', '.join(folding.unfolded)} ({REASON})"


def _weights(made: Plan) -> str:
    if made.weights == "raw":
        return "as trained (no moving average is read)"
    total = sum(bool(assignment.parts) for assignment in made.assignments)
    rest = total - made.from_average
    raw = f", as trained for {rest} that have none" if rest else ""
    return f"moving average for {made.from_average} variables{raw}"


def document(made: Plan, aimed: Aim | None, container: str, result: PortResult | None) -> dict[str, Any]:
    """Return the JSON document; `result` is None after a dry run."""
    said: dict[str, Any] = {
        "schema": "porter-port",
        "schema_version": 1,
        "variant": made.variant.name,
        "model": made.variant.target.name,
        "arguments": dict(made.arguments),
        "source_format": container,
        "weights": {"read": made.weights, "from_average": made.from_average},
        "network": {"compared": made.network, "classifier_activation": made.classifier_activation},
        "bn_eps": {"value": made.bn_eps, "source": made.bn_eps_source},
        "input_size": {"value": made.input_spec.size, "source": made.size_source},
        "target": aimed.table.target if aimed else "timm",
        "notes": [*made.notes, *(aimed.notes if aimed else ())],
        "ledger": [
            {"key": line.key, "path": line.path, "bucket": line.bucket.value, "reason": line.reason}
            for line in made.ledger
        ],
        "targets": [
            {
                "name": assignment.target,
                "shape": list(assignment.shape),
                "sources": [part.key for part in assignment.sources],
                "layouts": [part.layout.pattern for part in assignment.sources],
            }
            for assignment in (aimed or made).assignments
        ],
        "folding": None,
        "out": None,
    }
    if result is not None:
        report = result.report
        said["out"] = {
            "path": str(result.out),
            "size": report.nbytes,
            "source_files": [file._asdict() for file in report.sources],
            "findings": [asdict(finding) for finding in report.findings],
            "load": result.loading_line,
        }
    if result is not None and result.folding is not None:
        said["folding"] = {"folded": result.folding.folded, "unfolded": result.folding.unfolded}
    return said
