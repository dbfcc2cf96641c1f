"""Every public name has an example that runs, and everything public is shown in a few readable lines."""

from __future__ import annotations

import doctest
import os

import numpy as np
import pytest
from checkpoints.bundle_writer import Bundle

import porter
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.recordings.recording import Recording

VARIANT = "keras_mobilenetv1_025"
NEEDS = {
    "CheckReport": ("torch", "timm"),
    "agree": ("torch",),
    "capture": ("torch",),
    "check": ("torch", "timm"),
    "load_model": ("torch", "timm"),
    "match": ("torch", "timm", "torchvision"),
}
NAMES = [name for name in porter.__all__ if name != "__version__"]
OPTIONS = doctest.ELLIPSIS | doctest.REPORT_NDIFF


@pytest.fixture(scope="module")
def folder(module_folder):
    """A folder with ``ckpt-1``, a small network with random weights as TensorFlow would have written it."""
    weights = RandomCheckpoint(porter.load_tables().variant(VARIANT), seed=0)
    bundle = Bundle()
    for key in weights.specs:
        bundle.put(key, np.asarray(weights.read(key)))
    folder = module_folder("examples")
    bundle.store(folder / "ckpt-1")
    return folder


def marked(name):
    """A public name, marked by what its example needs."""
    return pytest.param(name, marks=[pytest.mark.torch] if name in NEEDS else [])


@pytest.mark.parametrize("name", [marked(name) for name in NAMES])
def test_the_example_of_a_public_name_runs(name, folder, monkeypatch, capsys):
    """What a docstring shows is what happens; a name without an example fails."""
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(folder)
    # doctest compares with what a terminal of any width, and no progress bar, would show.
    monkeypatch.setenv("COLUMNS", "80")
    public = getattr(porter, name)
    (found,) = doctest.DocTestFinder(recurse=False).find(public, name, globs={"porter": porter, "np": np})
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)

    runner.run(found)

    assert runner.tries > 0, f"porter.{name} has no example in its docstring"
    assert runner.failures == 0, capsys.readouterr().out


def objects(folder):
    """What a notebook shows most: a checkpoint, tables, a network, a recording and a report."""
    rng = np.random.default_rng(0)
    stages = {f"blocks.{i}": rng.random((1, 4, 4, 3)) for i in range(200)}
    recording = Recording.from_arrays(rng.random((1, 8, 8, 3)), stages, layout="NHWC", framework="numpy")
    tables = porter.load_tables()
    with porter.open_checkpoint(os.fspath(folder / "ckpt-1")) as checkpoint:
        return checkpoint, tables, tables.variant(VARIANT), recording, porter.compare(recording, recording)


def test_everything_public_is_shown_in_a_few_lines(folder):
    """However large, it says what it is and not all that it holds."""
    checkpoint, tables, variant, recording, report = map(repr, objects(folder))

    for shown in (checkpoint, tables, variant, recording, report):
        assert 1 <= len(shown.splitlines()) <= 8
        assert max(map(len, shown.replace(os.fspath(folder), "").splitlines())) <= 120
    assert "137 tensors, 1.9 MB" in checkpoint
    assert tables.startswith(f"Tables of {len(porter.load_tables().variants)} networks")
    assert VARIANT in variant
    assert "float64@8x8: batch 1, 200 stages (blocks.0, blocks.1, blocks.2, blocks.3, ...)" in recording
    assert report.splitlines()[1:] == ["  parity", "  float64@8x8: 201 of 201 stages passed, worst 0.0e+00"]
