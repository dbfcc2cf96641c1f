"""Where another project's package `porter` stands in the way, one line says what to run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from running import ROOT

OWN, STRANGER = (ROOT / "porter" / "__init__.py").read_text(), "print 'porter, of 2013'\n"


@pytest.fixture
def installed(tmp_path):
    """A folder where this distribution is installed, as pip leaves it."""
    folder = tmp_path / "site-packages"
    (folder / "porter").mkdir(parents=True)
    for path in (ROOT / "porter").iterdir():
        if path.name != "__init__.py":
            (folder / "porter" / path.name).symlink_to(path)
    (folder / "porter" / "__init__.py").write_text(OWN)
    (folder / "port_weights.py").symlink_to(ROOT / "port_weights.py")
    describe(folder, "port-weights", "porter/__init__.py,,\nport_weights.py,,\n")
    return folder


def describe(folder, name, record):
    """Write the metadata of an installed distribution."""
    metadata = folder / f"{name.replace('-', '_')}-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (metadata / "RECORD").write_text(record)
    (metadata / "top_level.txt").write_text("porter\n")


def command(*folders, name="porter", site="-S"):
    """Run an installed command with only these folders; click and numpy are in the site's."""
    program = f"import port_weights, sys; sys.argv[1:] = ['--help']; port_weights.{name}()"
    return subprocess.run(
        [sys.executable, "-P", site, "-c", program],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["porter", "port_weights", "parity_check"])
def test_the_commands_run_beside_what_a_stranger_left(installed, name):
    """Installed last, this package is whole whatever else lies in its folder."""
    describe(installed, "porter", "porter/__init__.py,,\nporter/old.py,,\n")
    (installed / "porter" / "old.py").write_text(STRANGER)

    run = command(installed, name=name, site="-B")

    assert run.returncode == 0, run.stderr
    assert "Usage:" in run.stdout


@pytest.mark.parametrize("name", ["porter", "port_weights", "parity_check"])
def test_overwritten_by_another_distribution(installed, name):
    """The stranger that was installed last is named, and the two commands that mend it."""
    describe(installed, "porter", "porter/__init__.py,,\n")
    (installed / "porter" / "__init__.py").write_text(STRANGER)

    run = command(installed, name=name)

    assert run.returncode == 1
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    assert "another project's package of the distribution 'porter'" in run.stderr
    assert (
        "pip uninstall porter; python -m pip install --force-reinstall --no-deps port-weights" in run.stderr
    )


def test_half_removed_by_uninstalling_another_distribution(installed):
    """Uninstalling the stranger takes the `__init__.py` that both had."""
    (installed / "porter" / "__init__.py").unlink()

    run = command(installed)

    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert "is incomplete" in run.stderr
    assert "pip install --force-reinstall --no-deps port-weights" in run.stderr


def test_shadowed_by_a_folder_of_the_users_own(installed, tmp_path):
    """A package of that name on PYTHONPATH is named by its path; nothing is to be uninstalled."""
    (tmp_path / "own" / "porter").mkdir(parents=True)
    own = tmp_path / "own" / "porter" / "__init__.py"
    own.write_text("")

    run = command(tmp_path / "own", installed)

    assert run.returncode == 1
    assert f"another project's package: {own}" in run.stderr
    assert "take its folder off PYTHONPATH" in run.stderr
    assert "pip" not in run.stderr
