"""A check of the ONNX export: PyTorch and ONNX side by side, and TensorFlow as a third witness."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from porter.checks.check import Check, Checked, count_ledger, image_results_of, settle, silent
from porter.parity import witnesses
from porter.parity.compare import compare
from porter.parity.outcome import CaseResult, ParityReport
from porter.parity.tolerances import Tolerances
from porter.planning.plan import Plan
from porter.recordings.recording import Recording
from porter.runners.process import Child, missing_packages, require, wait_for


def check_against_onnx(
    check: Check,
    tolerances: Tolerances | None = None,
    *,
    port_plan: Plan | None = None,
    phase: Callable[[str], None] = silent,
) -> Checked:
    """Run PyTorch and the exported ONNX file in parallel and compare every stage.

    The dynamic export is checked: one file for every size. Where the network has none, a static one per size
    is. float64, which decides, is computed by ONNX's reference evaluator; float32 by onnxruntime, as the
    graph is written and once more as onnxruntime optimises it. Where TensorFlow is installed and takes the
    sizes, it is the third witness.

    Args:
        check: What to check.
        tolerances: The defaults if None.
        port_plan: The plan of the port that is checked, if the caller has it.
        phase: Called with each phase, in words, as it begins.

    Raises:
        MissingDependencyError: torch, onnx or onnxruntime is not installed.
        ParityError: a framework failed, crashed or hung.
        PorterError: a framework's process refused its job; the error is that process's own.
    """
    require("onnx")
    port_plan = port_plan or check.planned()
    frameworks = ["torch", "onnx", *_third(check)]
    check = replace(check, variant=replace(check.variant, input=check.variant.input._replace(square=False)))
    with tempfile.TemporaryDirectory(prefix="porter-") as name, ExitStack() as stack:
        folder = Path(name)
        inputs = folder / "inputs.safetensors"
        check = settle(check, port_plan, inputs)
        jobs = {f: check.job(inputs, folder / f"{f}.safetensors", local=False) for f in frameworks}
        phase(f"running {', '.join(frameworks)}")
        children = [stack.enter_context(Child(framework, job)) for framework, job in jobs.items()]
        for child in children:
            wait_for(child, children, check.timeout)
        phase("comparing every stage")
        recordings = {framework: Recording.load(job.out) for framework, job in jobs.items()}
        optimised = Recording.load(jobs["onnx"].optimised_out)
        sides = recordings["torch"], recordings["onnx"]
        images = image_results_of(check, inputs, *sides, (jobs["onnx"], jobs["torch"]))
    title = f"{check.variant.name}: onnx against torch"
    report = compare(*sides, tolerances=tolerances, title=title)
    again = compare(sides[0], optimised, tolerances=tolerances)
    cases = (*report.cases, *_renamed(again))
    report = replace(report, ledger=count_ledger(port_plan), cases=cases, images=images)
    return Checked(with_third_witness(report, recordings, tolerances), *sides)


def with_third_witness(
    report: ParityReport, recordings: dict[str, Recording], tolerances: Tolerances | None = None
) -> ParityReport:
    """Add to a report who of three witnesses is the outlier; with fewer, that this could not be said."""
    if len(recordings) < 3:
        note = "TensorFlow is not a witness: it is not installed, or does not take these sizes"
        return replace(report, notes=(*report.notes, note))
    compared = witnesses.compare_outputs(recordings, tolerances)
    return replace(
        report,
        notes=(*report.notes, *witnesses.summaries(compared)),
        findings=(*report.findings, *witnesses.findings(compared)),
    )


def _third(check: Check) -> list[str]:
    oblong = check.variant.input.square and any(height != width for height, width in check.sizes)
    return [] if oblong or missing_packages("tensorflow") else ["tensorflow"]


def _renamed(report: ParityReport) -> list[CaseResult]:
    """Return the float32 cases, named so that they stand beside those of the graph as written."""
    return [
        replace(case, name=case.name.replace("@", " optimised@"), dtype=f"{case.dtype} optimised")
        for case in report.cases
        if case.dtype != "float64"
    ]
