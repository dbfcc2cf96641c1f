"""The built wheel: what is in it, and that it ports with the base dependencies alone."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def call(*command):
    """Run a command and return its standard output."""
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    return next(folder.glob("port_weights-*.whl"))


def test_wheel_holds_tables_goldens_and_types(wheel):
    """Everything that a command reads travels inside the package."""
    names = set(zipfile.ZipFile(wheel).namelist())

    assert "porter/py.typed" in names
    for folder in ("mappings", "golden"):
        files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".toml", ".safetensors")]
        assert files
        assert {f"porter/{file.relative_to(ROOT)}" for file in files} <= names


@pytest.mark.tensorflow
def test_installed_wheel_ports_without_any_framework(wheel, garden, tmp_path):
    """numpy, safetensors, click and two small libraries are enough."""
    checkpoint = garden("mobilenetv4_conv_small") / "model"
    venv.create(tmp_path / "venv", with_pip=True)
    scripts = tmp_path / "venv" / "bin"
    call(scripts / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)

    printed = call(scripts / "port-weights", checkpoint, tmp_path / "out.safetensors", "--json")
    installed = json.loads(call(scripts / "pip", "list", "--format", "json"))

    assert json.loads(printed)["variant"] == "mobilenetv4_conv_small"
    assert (tmp_path / "out.safetensors").stat().st_size > 10_000_000
    assert not {"torch", "tensorflow", "timm"} & {package["name"] for package in installed}
