"""What is published: the same bytes whoever builds it, and an installed wheel that works on every Python."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from running import ROOT, run

OTHER_PYTHONS = ("3.12", "3.13")
LARGEST_WHEEL = 20_000_000
MOST_PACKAGES = 5
NOT_PUBLISHED = ("__pycache__", ".*", "site", "results")


def call(*command, **options):
    """Run a command and return its standard output."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(python, folder, *packages):
    """Make a virtual environment with these packages and return its folder of commands."""
    call(python, "-m", "venv", "--without-pip", folder)
    install(folder / "bin" / "python", *packages)
    return folder / "bin"


def install(python, *packages):
    """Install packages in the versions that are pinned."""
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    call(*pip, "--constraint", ROOT / "constraints.txt", *packages)


@pytest.fixture(scope="module")
def builder(module_folder):
    """A Python that has the build backend."""
    return environment(sys.executable, module_folder("builder") / "venv", "hatchling") / "python"


@pytest.fixture(scope="module")
def built(builder, module_folder):
    """The folder with wheel and sdist."""
    folder = module_folder("built")
    call(builder, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    """The wheel."""
    return next(built.glob("port_weights-*.whl"))


def other_python(version):
    """Return an interpreter of another version, or skip."""
    candidates = [*Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python")]
    candidates += filter(None, [shutil.which(f"python{version}")])
    for python in candidates:
        # pyenv's own commands of that name are there for versions that cannot be started by them.
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    return pytest.skip(f"there is no Python {version} here")


def digests(folder):
    """Return the SHA-256 of each file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_wheel_holds_tables_goldens_and_types(wheel):
    """Everything that a command reads travels inside the package, and nothing else lies beside it."""
    names = set(zipfile.ZipFile(wheel).namelist())

    assert "porter/py.typed" in names
    for folder in ("mappings", "golden"):
        files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".toml", ".safetensors")]
        assert files
        assert {f"porter/{file.relative_to(ROOT)}" for file in files} <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "porter",
        "port_weights.py",
    }
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_sdist_can_be_tested_and_documented(built):
    """Who packages porter for a distribution gets tests, documentation and licence with it."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    needed = {"port_weights.py", "LICENSE", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "mkdocs.yml"}
    assert needed <= names
    assert {"tests/run.sh", "docs/usage.md", "examples/first_port.py", "golden", "mappings"} <= {
        *names,
        *(name.split("/")[0] for name in names),
    }


def test_everybody_builds_the_same_bytes(builder, built, tmp_path):
    """Another folder, other times and another umask change neither wheel nor sdist."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_PUBLISHED), copy_function=shutil.copy)
    shutil.copy(ROOT / ".gitignore", copy)
    for path in copy.rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(path.stat().st_mode & 0o700)

    call(builder, "-m", "hatchling", "build", "-d", tmp_path / "again", cwd=copy)

    assert digests(tmp_path / "again") == digests(built)


@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_installed_wheel_works_on_other_pythons(wheel, sources, here, tmp_path, version):
    """The port needs the base packages alone; with h5py every container is read. All bytes are the same."""
    commands = environment(other_python(version), tmp_path / "venv", wheel)

    call(commands / "port-weights", sources / "network", tmp_path / "plain.safetensors", cwd=tmp_path)
    install(commands / "python", "h5py")
    found = run(commands / "python", sources, tmp_path / "out", PYTHONPATH="")

    assert found == here
    written = hashlib.sha256((tmp_path / "plain.safetensors").read_bytes()).hexdigest()
    assert {"file.safetensors": written} == here["file.safetensors"]


@pytest.mark.tensorflow
def test_installed_wheel_ports_without_any_framework(wheel, garden, tmp_path):
    """Five small packages are enough for what TensorFlow wrote."""
    checkpoint = garden("mobilenetv4_conv_small") / "model"
    commands = environment(sys.executable, tmp_path / "venv", wheel)

    printed = call(commands / "port-weights", checkpoint, tmp_path / "out.safetensors", "--json")
    listed = call(sys.executable, "-m", "pip", "--python", commands / "python", "list", "--format", "json")

    assert json.loads(printed)["variant"] == "mobilenetv4_conv_small"
    assert (tmp_path / "out.safetensors").stat().st_size > 10_000_000
    names = {package["name"].lower() for package in json.loads(listed)} - {"port-weights"}
    assert len(names) <= MOST_PACKAGES, names
