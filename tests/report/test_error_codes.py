"""The page of error codes says what the code raises."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import error_codes  # noqa: E402


def test_the_page_is_current():
    """If this fails, run ``python tools/error_codes.py``."""
    assert error_codes.PAGE.read_text(encoding="utf-8") == error_codes.page()


def test_every_code_that_a_test_expects_is_on_the_page():
    """The search through the code misses none."""
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    expected = set(re.findall(r'\.code == "([a-z0-9]+/[a-z0-9-]+)"', tests))

    assert len(expected) > 50
    assert expected - set(error_codes.codes()) == set()


def test_every_code_says_something():
    """No row is empty: a sentence, and what to do."""
    rows = [line.split(" | ") for line in error_codes.page().splitlines() if line.startswith("| `")]

    assert len(rows) > 400
    assert [row for row in rows if len(row) != 3 or not all(cell.strip(" |") for cell in row)] == []
