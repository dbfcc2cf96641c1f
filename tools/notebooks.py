"""Tutorials as notebooks: `python tools/notebooks.py` writes NAME.ipynb beside every docs/tutorials/NAME.md.

Blocks of ``python`` that begin with ``# NAME.py`` become files, blocks of ``console`` become commands, and
the text between them stays text. A test runs the blocks of every page in order, and holds the notebooks
against the pages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TUTORIALS = Path(__file__).parent.parent / "docs" / "tutorials"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\w+\.py)\n")


def cells(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, name, text) of every part of a page, in order.

    The kind is ``"text"``, ``"file"`` (with its name) or ``"commands"`` (a line each, without the prompt).

    Raises:
        ValueError: a block is of another kind.
    """
    end = 0
    for block in _BLOCK.finditer(page):
        yield "text", "", page[end : block.start()].strip()
        end = block.end()
        language, body = block.groups()
        if language == "console":
            lines = body.splitlines()
            yield "commands", "", "\n".join(line.removeprefix("$ ") for line in lines)
        elif language == "python" and (file := _FILE.match(body)):
            yield "file", file[1], body
        else:
            raise ValueError(f"neither commands nor a file: {body.splitlines()[0]}")
    yield "text", "", page[end:].strip()


def notebook(page: str) -> str:
    """Return a page as a Jupyter notebook, format 4.5."""
    written: list[dict[str, Any]] = []
    for number, (kind, name, text) in enumerate(cells(page)):
        if not text:
            continue
        if kind == "text":
            written.append({"cell_type": "markdown", "id": f"text-{number}", "metadata": {}, "source": text})
            continue
        source = f"%%writefile {name}\n{text}" if kind == "file" else _shell(text)
        code = {"cell_type": "code", "id": f"code-{number}", "metadata": {}, "source": source.rstrip("\n")}
        written.append({**code, "execution_count": None, "outputs": []})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document = {"cells": written, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _shell(commands: str) -> str:
    return "\n".join(f"!{line}" for line in commands.splitlines())


if __name__ == "__main__":
    for path in sorted(TUTORIALS.glob("*.md")):
        path.with_suffix(".ipynb").write_text(notebook(path.read_text(encoding="utf-8")), encoding="utf-8")
