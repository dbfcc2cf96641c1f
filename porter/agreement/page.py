"""An agreement as one self-contained page: no scripts, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from porter.parity.image_row import ImageRow

Flip = tuple[ImageRow, str, str, str]


def page(title: str, verdict: str, text: str, flips: Sequence[Flip], *, agrees: bool) -> str:
    """Return the page.

    Args:
        title: Of the page.
        verdict: One sentence.
        text: The report as text.
        flips: Rows with what source and port say in words, and a small image as a data URL or "".
        agrees: Whether there is no difference beyond rounding.
    """
    template = Template(files("porter.report").joinpath("page.html").read_text(encoding="utf-8"))
    kind = "parity" if agrees else "undecided"
    body = [f'<div class="verdict {kind}"><p>{escape(verdict)}</p></div>', f"<pre>{escape(text)}</pre>"]
    if flips:
        body.append("<h2>Images that get another first class</h2>")
        body.append('<div style="display: flex; flex-wrap: wrap; gap: 1rem">')
        body += [_figure(*flip) for flip in flips]
        body.append("</div>")
    return template.substitute(
        title=escape(title), verdict="AGREEMENT" if agrees else "DIFFERENCES", body="\n".join(body)
    )


def _figure(row: ImageRow, source: str, ported: str, thumbnail: str) -> str:
    image = f'<img src="{thumbnail}" alt="{escape(row.key)}">' if thumbnail else "(no image)"
    return (
        f'<figure style="width: 12rem; margin: 0">{image}<figcaption>{escape(row.key)}<br>source: '
        f"{escape(source)}<br>port: {escape(ported)}<br>difference {row.difference:.2g}, made by "
        f"{row.cause}</figcaption></figure>"
    )
