"""One live check per session, shared by all tests that look at it; and a way to run PyTorch against it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from porter.checks.check import Check, check_against_tensorflow, write_inputs
from porter.parity.compare import compare
from porter.recordings.recording import Recording
from porter.runners.process import Child, missing_packages, wait_for
from porter.tables.shipped import load_tables

# Small, and of every kind: even, odd, and oblong with one even and one odd side.
SIZES = ((64, 64), (65, 65), (64, 97))


@pytest.fixture(scope="session")
def tables():
    """Every table that comes with porter."""
    return load_tables()


@pytest.fixture(scope="session")
def live(tables):
    """The live check of the smallest network, both element types, three sizes, two images."""
    _need("tensorflow", "torch")
    return check_against_tensorflow(Check(tables.variant("conv_small"), sizes=SIZES, batch=2))


@pytest.fixture(scope="session")
def port_against(live, tmp_path_factory):
    """Return a function that runs the port by another table against TensorFlow's recording of `live`."""

    def run(variant, sizes=SIZES, seed=0):
        folder = tmp_path_factory.mktemp("port")
        check = Check(variant, sizes=sizes, dtypes=("float64",), batch=2, seed=seed)
        inputs = write_inputs(replace(check, seed=0), folder / "inputs")
        live.expected.save(folder / "reference")
        job = check.job(inputs, folder / "out", local=True)
        with Child("torch", job) as child:
            child.name_reference(folder / "reference")
            wait_for(child, [], 300)
        names = {f"float64@{height}x{width}" for height, width in sizes}
        runs = tuple(run for run in live.expected.runs if run.name in names)
        expected = Recording(live.expected.provenance, runs)
        return compare(expected, Recording.load(folder / "out"))

    return run


@pytest.fixture
def edited_table(tables, tmp_path):
    """Return a function that loads ConvSmall from the table with texts replaced, each once."""

    def edit(*replacements):
        path = Path(tables.variant("conv_small").table)
        content = path.read_text()
        for old, new in replacements:
            assert old in content
            content = content.replace(old, new, 1)
        (tmp_path / path.name).write_text(content)
        return load_tables(tmp_path / path.name).variant("conv_small")

    return edit


@pytest.fixture(scope="session")
def ports(tmp_path_factory):
    """Folder of a checkpoint, a Keras file and files that were ported, most of them spoilt."""
    _need("tensorflow", "torch")
    from ported_files import write

    folder = tmp_path_factory.mktemp("ported")
    write(folder)
    return folder


def _need(*frameworks):
    for framework in frameworks:
        missing = missing_packages(framework)
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")
