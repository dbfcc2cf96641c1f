"""The programs in examples/ do what the README says of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.torch
@pytest.mark.tensorflow
def test_first_port_runs_and_gives_equal_logits():
    """TensorFlow writes, porter ports, timm loads, and the logits agree to float32 rounding."""
    pytest.importorskip("official", reason="needs tf-models-official")

    run = subprocess.run(
        [sys.executable, EXAMPLES / "first_port.py"], capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr[-2000:]
    assert "536 mapped" in run.stdout
    assert "logits    differ by" in run.stdout
