"""The shell of porter's HTML pages and their tables: one file, no scripts, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template


def page(title: str, told: str, body: str) -> str:
    """Return a whole page that follows the reader's light or dark colours and fits a phone.

    Args:
        title: Its heading, plain text.
        told: The outcome in a word or two, for the browser's tab.
        body: HTML.
    """
    template = Template(files("porter.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), verdict=told, body=body)


def table(headings: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table that scrolls by itself on a narrow screen; `rows` are HTML."""
    head = "".join(
        f'<th scope="col"{" class=n" if i else ""}>{escape(heading)}</th>'
        for i, heading in enumerate(headings)
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(name: str, cells: Iterable[str], *, bad: bool) -> str:
    """Return a row of plain texts, marked if it is bad."""
    tail = "".join(cell(each, "n") for each in cells)
    return f'<tr class="{"bad" if bad else ""}"><th scope="row">{escape(name)}</th>{tail}</tr>'


def cell(written: str, names: str) -> str:
    """Return a cell of plain text with the style sheet's class names."""
    return f'<td class="{names}">{escape(written)}</td>'
