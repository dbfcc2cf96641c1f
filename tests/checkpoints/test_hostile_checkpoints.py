import json
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_corpus import CASES

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes(module_folder):
    """What opening each malformed checkpoint did, in one child process with 300 MB to spare."""
    folder = module_folder("hostile")
    command = [sys.executable, HERE / "hostile_corpus.py", folder]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, cwd=HERE.parent.parent,
        env={"PYTHONPATH": str(HERE.parent.parent), "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", CASES)
def test_malformed_checkpoint_is_refused_by_its_code(outcomes, name):
    """A malformed checkpoint gives CheckpointError with the code of its cause, in 300 MB, in one line."""
    code, text, _ = outcomes[name]
    assert CASES[name][0] == code, text
    assert len(text) > 20
    assert "\n" not in text


def test_corpus_is_large_and_its_codes_tell_causes_apart():
    """The corpus has at least 130 cases and 60 different codes."""
    assert len(CASES) >= 130
    assert len({code for code, _ in CASES.values()}) >= 60


def test_missing_data_file_is_named_and_counted(outcomes):
    """The refusal says which data file is missing and how many there are."""
    text = outcomes["a data file is missing"][1]
    assert "ckpt.data-00002-of-00003" in text
    assert "expected 3 data files, found 2" in text


def test_stale_state_file_is_named(outcomes):
    """The refusal of a stale state file names it, the missing checkpoint and what lies beside it."""
    text = outcomes["state file stale: a foreign absolute path"][1]
    assert "/checkpoint: " in text
    assert "expected ckpt-9, found ckpt-1" in text
