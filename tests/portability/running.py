"""Running `read_and_port.py` in a process of another kind."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(python, sources, out, **environment):
    """Run `read_and_port.py` and return what it printed."""
    done = subprocess.run(
        [python, Path(__file__).with_name("read_and_port.py"), sources, out],
        capture_output=True, text=True, check=False, cwd=out.parent, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
