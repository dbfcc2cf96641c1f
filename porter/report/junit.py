"""A parity report as JUnit XML: a test suite per case, a test case per stage."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from porter.parity.outcome import CaseResult, ParityReport, StageResult, Verdict
from porter.report.named_report import NamedReport
from porter.report.notation import guilty, sentence, verdict


def junit(report: ParityReport) -> str:
    """Return the document, with the elements and attributes that Jenkins, GitLab and GitHub actions read.

    A stage over tolerance is a failure in a case that decides, and skipped with its reason in one that
    only informs. A stale reference, one with which nothing was compared, or a check that is not decidable
    is an error of its own suite, so that no consumer takes it for a pass.
    """
    root = ET.Element("testsuites", name=_clean(report.title))
    _add(root, report, "")
    return _written(root)


def junit_of_many(title: str, checked: Iterable[NamedReport]) -> str:
    """Return one document of many reports: the suites of each begin with its name, e.g. its checkpoint.

    A check that could not be made is an error of a suite of its own.
    """
    root = ET.Element("testsuites", name=_clean(title))
    for name, report, error in checked:
        if report is None:
            _add_error(root, f"{name}: check", name, "failed", error)
        else:
            _add(root, report, f"{name}: ")
    return _written(root)


def _add(root: ET.Element, report: ParityReport, before: str) -> None:
    title = f"{before}{report.title}"
    if report.verdict in (Verdict.STALE, Verdict.NOTHING, Verdict.UNDECIDED):
        told = report.stale or report.undecided or "no case that decides was compared"
        _add_error(root, f"{before}verdict", title, report.verdict.name.lower(), f"{verdict(report)}: {told}")
    for case in report.cases:
        _add_case(root, report, case, before)


def _written(root: ET.Element) -> str:
    # The Jenkins schema has no "skipped" here.
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add_error(root: ET.Element, name: str, classname: str, kind: str, told: str) -> None:
    counts = {"name": _clean(name), "tests": "1", "failures": "0", "errors": "1", "skipped": "0"}
    suite = ET.SubElement(root, "testsuite", counts)
    test = ET.SubElement(suite, "testcase", classname=_clean(classname), name="verdict", time="0")
    ET.SubElement(test, "error", type=kind, message=_clean(told))


def _add_case(root: ET.Element, report: ParityReport, case: CaseResult, before: str) -> None:
    suite = ET.SubElement(root, "testsuite", name=_clean(f"{before}{case.name}"))
    properties = ET.SubElement(suite, "properties")
    for side, provenance in (("expected", report.expected), ("actual", report.actual)):
        facts = {"source": provenance.source, **provenance.versions}
        for name, value in facts.items():
            ET.SubElement(properties, "property", name=f"{side}.{name}", value=_clean(str(value)))
    bad = [stage for stage in case.stages if not stage.passed]
    for stage in case.stages:
        _add_stage(suite, report, case, stage, before)
    suite.set("tests", str(len(case.stages)))
    suite.set("failures", str(len(bad) if case.decides else 0))
    suite.set("errors", "0")
    suite.set("skipped", str(0 if case.decides else len(bad)))


def _add_stage(
    suite: ET.Element, report: ParityReport, case: CaseResult, stage: StageResult, before: str
) -> None:
    names = {"classname": _clean(f"{before}{report.title}.{case.name}"), "name": _clean(stage.name)}
    test = ET.SubElement(suite, "testcase", names, time="0")
    if stage.passed:
        return
    column, deviation = guilty(stage)
    told = f"{column}: {sentence(deviation)}"
    if not case.decides:
        ET.SubElement(test, "skipped", message=_clean(f"informs only; {told}"))
        return
    failure = ET.SubElement(test, "failure", type=deviation.status.name.lower(), message=_clean(told))
    found = [f for f in report.findings if f.stage == stage.name]
    failure.text = _clean("\n".join(f"{f.cause}: {f.evidence} Look at {f.look_at}." for f in found)) or None


def _clean(told: str) -> str:
    # XML 1.0 has no way at all to write most control characters.
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in told)
