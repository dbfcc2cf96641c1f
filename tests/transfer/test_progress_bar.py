"""The bar is there for whoever watches a large port, and for nobody else."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from porter.transfer.progress_bar import SHOWN_FROM_BYTES, progress_bar


def test_nobody_watches_a_log(capsys):
    """With stderr in a file there is no callback, so that nothing is drawn."""
    with progress_bar() as progress:
        assert progress is None

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("watched", ["terminal", "notebook"])
def test_whoever_watches_sees_a_large_port_advance(watched, monkeypatch, capsys):
    """A terminal and a notebook get a callback, which draws from a size that takes a while."""
    if watched == "notebook":
        monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    else:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    with progress_bar() as progress:
        progress(1, SHOWN_FROM_BYTES - 1)
        small = capsys.readouterr().err
        progress(SHOWN_FROM_BYTES, SHOWN_FROM_BYTES)

    assert small == ""
    assert "####] 100%" in " ".join(capsys.readouterr().err.split())


def test_quiet_is_quiet(monkeypatch):
    """``-q`` draws nothing, whoever watches."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    with progress_bar(quiet=True) as progress:
        assert progress is None
