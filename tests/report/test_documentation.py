"""The documentation of the report says everything that is in it, and the CI example can be run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "parity-report.md").read_text()


def names(value):
    """Every field name of the fixed part of a document, and every status."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield key
            if key not in ("versions", "ledger"):
                yield from names(entry)
    elif isinstance(value, list) and value:
        yield from names(value[0])


@pytest.mark.parametrize("kind", ["failing", "broken"])
def test_every_field_of_the_document_is_described(kind, request):
    """Each field name that `to_json` writes stands in the schema."""
    document = request.getfixturevalue(kind).to_json()

    assert {name for name in names(document) if f"`{name}`" not in PAGE} == set()


def test_every_cause_is_described():
    """Each code that the diagnosis can give stands in the table of causes."""
    code = "".join(path.read_text() for path in (ROOT / "porter" / "diagnosis").glob("*.py"))
    given = set(re.findall(r'(?:Clue|Hypothesis|_changed)\(\s*"([a-z0-9-]+)"', code))
    table = PAGE.partition("### Codes of causes")[2].partition("\n## ")[0]
    known = set(re.findall(r"`([a-z0-9-]+)`", table))
    known |= {f"preprocessing{suffix}" for suffix in known if suffix.startswith("-")}
    known |= {f"precision{suffix}" for suffix in known if suffix.startswith("-")}

    assert len(given) > 10
    assert given - known - {"preprocessing"} == set()


@pytest.mark.parametrize(
    ("name", "needed"), [("github-actions.yml", "--variant"), ("own-weights.yml", "--ported")]
)
def test_the_example_uses_options_that_exist(name, needed):
    """The workflows that people copy call parity-check with options it has."""
    from porter.cli.parity_check import parity_check

    example = re.sub("#.*", "", (ROOT / "examples" / name).read_text())
    used = set(re.findall(r"(?<=\s)--(?:variant|against|json|junit|html|[a-z-]+)(?=[\s=])", example))
    known = {opt for parameter in parity_check.params for opt in parameter.opts}

    assert {needed, "--against", "--json", "--junit", "--html"} <= used
    assert used <= known
