"""What the documentation site needs beyond the pages: names of pages in the text become links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_NAMED = re.compile(r"(?<!\[)`docs/([A-Za-z-]+\.md)`")


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Turn each `docs/PAGE.md` of a page's text into a link with that page's title."""
    folder = Path(config["docs_dir"])

    def link(found: re.Match[str]) -> str:
        title = (folder / found[1]).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        return f"[{title}]({found[1]})"

    return _NAMED.sub(link, markdown)
