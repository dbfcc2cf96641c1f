"""How figures, deviations and values are written in every kind of report."""

from __future__ import annotations

import math

from porter.parity.outcome import (
    CaseResult,
    Deviation,
    ImageResult,
    ParityReport,
    StageResult,
    Status,
    Verdict,
)
from porter.recordings.recording import Provenance

_SHORT = {
    Status.MISSING: "missing",
    Status.EXTRA: "extra",
    Status.SHAPE: "shape!",
    Status.NONFINITE: "nan/inf",
    Status.CONSTANT: "const",
}
_VERDICTS = {
    Verdict.PARITY: "PARITY",
    Verdict.NO_PARITY: "NO PARITY",
    Verdict.STALE: "STALE",
    Verdict.NOTHING: "NOTHING COMPARED",
    Verdict.UNDECIDED: "NOT DECIDABLE",
}


def error(value: float) -> str:
    """Return an error with two digits, at most seven characters: ``3.1e-13``, ``0``."""
    if math.isnan(value):
        return "-"
    return f"{value:.1e}" if value else "0"


def bound(value: float) -> str:
    """Return a tolerance: ``1e-11`` if one digit is exact, else two digits."""
    return next((text for text in (f"{value:.0e}",) if float(text) == value), error(value))


def share(value: float) -> str:
    """Return a share of elements as a percentage that is never rounded to none or all."""
    if math.isnan(value):
        return "-"
    if 0 < value < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < value < 1 else f"{100 * value:.3g}%"


def size(case: CaseResult) -> str:
    """Return the spatial size of a case, ``224x224``."""
    return "x".join(map(str, case.size)) or "-"


def relative(deviation: Deviation | None) -> str:
    """Return the relative error, or the reason why there is none; "" if the column was not run."""
    if deviation is None:
        return ""
    return _SHORT.get(deviation.status) or error(deviation.relative)


def verdict(report: ParityReport) -> str:
    """Return the verdict in capitals."""
    return _VERDICTS[report.verdict]


def guilty(stage: StageResult) -> tuple[str, Deviation]:
    """Return the column and the deviation that speak against a stage: the local one if it failed."""
    if stage.local is not None and not stage.local.passed:
        return "local", stage.local
    return "propagated", stage.propagated


def sentence(deviation: Deviation) -> str:
    """Return what is wrong with a deviation, or how near it came, as a sentence without its full stop."""
    if deviation.detail and deviation.status not in (Status.PASSED, Status.OVER):
        return f"{deviation.status.value}: {deviation.detail.rstrip('.')}"
    text = f"error {error(deviation.relative)} of the stage's scale, {bound(deviation.tolerance)} allowed"
    if deviation.passed or deviation.worst is None:
        return text
    where = deviation.worst.statistic or f"element {deviation.worst.index}"
    return (
        f"{text}; {share(deviation.share_over)} of {deviation.compared} elements over; worst at {where}: "
        f"expected {deviation.worst.expected:.9g}, got {deviation.worst.actual:.9g}"
    )


def notes(report: ParityReport) -> list[str]:
    """Return every note of the report and of its two sides, once."""
    return list(dict.fromkeys(report.notes + report.expected.notes + report.actual.notes))


def side(provenance: Provenance) -> str:
    """Return what was run, with versions, in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    return f"{provenance.framework}: {provenance.source}" + (f" ({versions})" if versions else "")


def preparation(image: ImageResult) -> str:
    """Return how far preparations of an image are apart, as one sentence."""
    timm = f"{error(image.target_difference)} after timm's own transform"
    if image.source_difference is None:
        return (
            "The source has no code that prepares images: both networks got what the ported file's "
            f"metadata say. Values differ from that by at most {timm}."
        )
    return (
        "Prepared values differ from the source's own by at most "
        f"{error(image.source_difference)} as both networks got them, and by {timm}."
    )
