"""The documentation site builds without a warning, and no link in any document leads nowhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)")


@pytest.fixture(scope="module")
def site(module_folder):
    """The built site."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("needs the [docs] extra")
    folder = module_folder("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


def test_every_public_name_is_in_the_reference(site):
    """The page of names lists what `porter` exports, each with its docstring."""
    import porter

    page = (site / "python" / "index.html").read_text(encoding="utf-8")

    for name in set(porter.__all__) - {"__version__"}:
        assert re.search(rf'<h2 id="porter\.{name}"', page), name


def test_names_of_pages_become_links(site):
    """A page that is named in the text can be followed, and examples are there in full."""
    usage = (site / "usage" / "index.html").read_text(encoding="utf-8")
    workflows = (site / "ci" / "index.html").read_text(encoding="utf-8")

    assert "<code>docs/" not in usage
    assert 'href="../containers/"' in usage
    assert "actions/checkout" in workflows


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(path):
    """Every relative link is a file, seen from the document's own folder."""
    targets = LINK.findall(path.read_text(encoding="utf-8"))

    missing = [t for t in targets if not (path.parent / t.partition("#")[0]).exists()]

    assert missing == []
