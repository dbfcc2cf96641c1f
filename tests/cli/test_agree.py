"""`porter agree` on the command line: what it refuses before a framework starts; tests/agreement runs it."""

from __future__ import annotations

import pytest
from cli.command_line import run


@pytest.fixture
def given(tmp_path):
    """A source and a port that nothing may open yet."""
    for name in ("ckpt-1.index", "model.safetensors"):
        (tmp_path / name).touch()
    return tmp_path / "ckpt-1", tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus-per-worker", "1"], "--engine ray"),
        (["--ray-address", "auto"], "--engine ray"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_agree_refuses_options_that_do_not_go_together(given, tmp_path, words, said):
    """Usage, exit code 2, and no folder is made."""
    before = sorted(tmp_path.iterdir())
    result = run("agree", *given, "--data", tmp_path, "--out", tmp_path / "out", *words)

    assert result.exit_code == 2
    assert said in result.stderr
    assert sorted(tmp_path.iterdir()) == before
