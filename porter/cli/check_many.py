"""What `parity-check` says of many checkpoints: a line for each, and a summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.transfer.atomic_file import write_whole

if TYPE_CHECKING:
    from porter.checks.check_many import CheckedCheckpoint


def check_many(
    checkpoints: Sequence[Path],
    variant: str | None,
    asked: dict[str, Any],
    *,
    as_json: bool,
    junit: Path | None,
    html: Path | None,
) -> None:
    """Check them all, write the reports, and end the command: with exit code 1 if one has no parity."""
    from porter.checks import check_many as many

    def tell(checked: CheckedCheckpoint) -> None:
        click.echo(json.dumps(checked.to_json()) if as_json else _line(checked))

    asked["dtypes"] = asked.pop("dtypes") or ("float64", "float32")
    found = many.check_many(checkpoints, variant, done=tell, **asked)
    passed, seconds = sum(each.passed for each in found), sum(each.seconds for each in found)
    if as_json:
        click.echo(json.dumps({"checkpoints": len(found), "passed": passed, "seconds": round(seconds, 3)}))
    else:
        click.echo(f"{passed} of {len(found)} checkpoints have parity, {seconds:.1f} s")
    _write_reports(found, junit, html)
    click.get_current_context().exit(0 if passed == len(found) else 1)


def _write_reports(found: Sequence[CheckedCheckpoint], junit: Path | None, html: Path | None) -> None:
    from porter.report.html import html_of_many
    from porter.report.junit import junit_of_many
    from porter.report.named_report import NamedReport

    title = f"{len(found)} checkpoints against tensorflow"
    named = [NamedReport(str(each.checkpoint), each.outcome, str(each.error or "")) for each in found]
    if junit is not None:
        write_whole(junit, junit_of_many(title, named))
    if html is not None:
        write_whole(html, html_of_many(title, named))


def _line(checked: CheckedCheckpoint) -> str:
    if checked.outcome is None:
        code = f" [{checked.error.code}]" if checked.error else ""
        is_named = checked.error is not None and str(checked.checkpoint) in str(checked.error.file)
        named = "" if is_named else f"{checked.checkpoint}: "
        return f"{'failed':<8} {named}{checked.error}{code}"
    word = "parity" if checked.passed else "differs"
    cases = [case.worst for case in checked.outcome.cases if case.decides]
    told = f"worst {max(cases, default=float('nan')):.1e}"
    if not checked.passed:
        told = f"first bad stage {checked.first_bad_stage}" if checked.first_bad_stage else "not decided"
        told += "".join(f", likely cause: {cause.cause}" for cause in checked.outcome.findings[:1])
    return f"{word:<8} {checked.checkpoint}: {told} ({checked.seconds:.1f} s)"
