"""Report files that the command writes."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.torch


def test_one_check_writes_every_kind_of_report(tmp_path):
    """Text or JSON goes to stdout, JUnit and HTML to the files named; all say the same."""
    pytest.importorskip("timm", reason="needs the [torch] extra")
    from porter.cli.parity_check import parity_check

    junit, html = tmp_path / "parity.xml", tmp_path / "parity.html"
    options = ["--variant", "conv_small", "--against", "golden", "--json"]
    done = CliRunner().invoke(parity_check, [*options, "--junit", str(junit), "--html", str(html)])
    report = json.loads(done.stdout)

    assert (done.exit_code, report["verdict"], report["findings"]) == (0, "parity", [])
    root = ET.parse(junit).getroot()  # noqa: S314 - we wrote it ourselves
    assert [suite.get("name") for suite in root] == [case["name"] for case in report["cases"]]
    assert "<b>PARITY</b>" in html.read_text()


def test_a_report_that_cannot_be_written_is_one_line(tmp_path):
    """A folder that does not exist is a refusal with its code, before anything is checked."""
    pytest.importorskip("timm", reason="needs the [torch] extra")
    from porter.cli.parity_check import parity_check

    options = ["--variant", "conv_small", "--against", "golden", "--html", str(tmp_path / "no" / "p.html")]
    done = CliRunner().invoke(parity_check, options)

    assert done.exit_code == 2
    assert "[output/no-folder]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
