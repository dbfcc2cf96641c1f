"""Every tutorial runs from top to bottom, as a page and as a notebook."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli.command_line import run
from warm_frameworks import run_with_tensorflow

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
# What must be read in what the page's commands print.
SAID = {
    "garden-checkpoint": [
        "232 mapped",
        "PARITY",
        "NO PARITY: first bad stage is stem",
        "torch.Size([1, 10])",
    ],
    "keras-head": ["global_avg_pool, dense 32, relu, dense 3, softmax", "largest difference", "PARITY"],
    "same-padding": ["\n33 0\n", "layers changed", "folded for one size"],
    "ci-from-a-golden": ["port in parity", "PARITY", "NO PARITY", "kernel-layout: blocks.3.1"],
    "deployment": ["norms and layer scales", "wrote     own.onnx", "folded.safetensors: logits differ"],
}


def tool():
    """Import the tool that makes the notebooks."""
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "tools" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_notebook_is_the_page(page):
    """``python tools/notebooks.py`` was run after the last change of a page; Jupyter takes it."""
    stored = page.with_suffix(".ipynb").read_text(encoding="utf-8")

    assert stored == tool().notebook(page.read_text(encoding="utf-8"))
    document = json.loads(stored)
    kinds = {cell["cell_type"] for cell in document["cells"]}
    assert kinds == {"markdown", "code"}
    if importlib.util.find_spec("nbformat"):
        import nbformat

        nbformat.validate(nbformat.reads(stored, as_version=4))


@pytest.mark.tensorflow
@pytest.mark.torch
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tutorial_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    """Every file of the page is written and every command run, in its order, with the exit code it states."""
    for package in ("official", "timm", "onnxruntime", "h5py"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    monkeypatch.chdir(tmp_path)
    said = []

    for kind, name, text in tool().cells(page.read_text(encoding="utf-8")):
        if kind == "file":
            (tmp_path / name).write_text(text, encoding="utf-8")
        for line in text.splitlines() if kind == "commands" else []:
            command, _, expected = line.partition(" # exit code ")
            code, printed = execute(shlex.split(command))
            assert code == int(expected or 0), f"{command}\n{printed}"
            said.append(printed)

    for words in SAID[page.stem]:
        assert words in "\n".join(said), words


def execute(words):
    """Run one command as the page's reader would; return its exit code and what it printed."""
    if words[0] != "python":
        done = run(*(words[1:] if words[0] == "porter" else words))
        return done.exit_code, done.output
    if re.search(r"^import (keras|tensorflow)", Path(words[1]).read_text(), re.MULTILINE):
        return 0, run_with_tensorflow(Path(words[1]).absolute())
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    done = subprocess.run(
        [sys.executable, *words[1:]], capture_output=True, text=True, check=False, env={**os.environ, **paths}
    )
    return done.returncode, done.stdout + done.stderr
