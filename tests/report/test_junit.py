from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from porter.report.junit import junit, junit_of_many

# Children and attributes of the JUnit schema that the Jenkins xUnit plug-in validates against.
SCHEMA = {
    "testsuites": ({"testsuite"}, {"name", "time", "tests", "failures", "disabled", "errors"}),
    "testsuite": (
        {"properties", "testcase", "system-out", "system-err"},
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "hostname", "id", "package"},
    ),
    "properties": ({"property"}, set()),
    "property": (set(), {"name", "value"}),
    "testcase": ({"skipped", "error", "failure"}, {"name", "classname", "time", "status", "assertions"}),
    "skipped": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "failure": (set(), {"type", "message"}),
}


def parse(report):
    """The document as a reader sees it."""
    return ET.fromstring(junit(report).encode())  # noqa: S314 - we wrote it ourselves


def check_schema(element):
    """Hold one element and all below it against the schema."""
    children, attributes = SCHEMA[element.tag]

    assert {child.tag for child in element} <= children
    assert set(element.attrib) <= attributes
    for child in element:
        check_schema(child)


@pytest.mark.parametrize("kind", ["passing", "failing", "broken"])
def test_the_document_follows_the_schema(kind, request):
    """Nothing but the elements and attributes that consumers know is written."""
    check_schema(parse(request.getfixturevalue(kind)))


@pytest.mark.parametrize("kind", ["passing", "failing", "broken"])
def test_the_counts_are_those_of_the_elements(kind, request):
    """The counts in the attributes equal what is in the document."""
    root = parse(request.getfixturevalue(kind))

    for suite in root:
        assert int(suite.get("tests")) == len(suite.findall("testcase"))
        assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))
    assert int(root.get("failures")) == len(root.findall(".//failure"))
    assert int(root.get("tests")) == len(root.findall(".//testcase"))


def test_every_case_and_stage_is_a_test(failing):
    """There is one suite per case and one test per stage of it."""
    root = parse(failing)

    assert [suite.get("name") for suite in root] == [case.name for case in failing.cases]
    assert all(len(suite.findall("testcase")) == 40 for suite in root)


def test_a_bad_stage_fails_only_where_the_case_decides(failing):
    """A stage over tolerance is a failure in float64 and skipped in float32, which informs."""
    root = parse(failing)
    bad = {
        suite.get("name"): [child.tag for child in suite.find("testcase[@name='blocks.1.2']")]
        for suite in root
    }

    assert bad["float64@224x224"] == ["failure"]
    assert bad["float64@225x225"] == []
    assert bad["float32@224x224"] == ["skipped"]


def test_the_failure_carries_the_diagnosis(failing):
    """The text of the guilty stage's failure holds the likely cause."""
    root = parse(failing)
    failure = root.find(".//testcase[@name='blocks.1.2']/failure")

    assert failure.text.startswith("padding: at 224 and 200")


def test_a_stale_reference_is_an_error(passing):
    """A stale golden does not look like a pass to a consumer that counts errors."""
    root = parse(replace(passing, stale="the table has changed"))

    assert root.get("errors") == "1"
    assert root.find(".//error").get("message") == "STALE: the table has changed"


def test_characters_that_xml_cannot_hold_are_replaced(passing):
    """A control character in a name does not make the document unreadable."""
    root = parse(replace(passing, title="a\x00b\x1b[31m<&>"))

    assert root.get("name") == "a?b?[31m<&>"


def test_what_cannot_be_decided_is_an_error(undecided):
    """No consumer takes a check without float64 for a pass."""
    document = parse(undecided)
    error = document.find(".//error")

    check_schema(document)
    assert document.get("errors") == "1"
    assert error.get("type") == "undecided"
    assert error.get("message").startswith("NOT DECIDABLE: only float32 was compared")


def test_many_reports_are_suites_of_one_document(passing, failing, many):
    """Each suite begins with its checkpoint; a check that could not be made is an error of its own."""
    root = ET.fromstring(junit_of_many("3 checkpoints", many).encode())  # noqa: S314 - we wrote it ourselves

    check_schema(root)
    assert {suite.get("name").partition(": ")[0] for suite in root} == {each.name for each in many}
    alone = [parse(report) for report in (passing, failing)]
    for count in ("tests", "failures", "errors"):
        both = sum(int(each.get(count)) for each in alone)
        assert int(root.get(count)) == both + (count != "failures")
    assert [error.get("message") for error in root.iter("error")] == ["is <junk>"]
