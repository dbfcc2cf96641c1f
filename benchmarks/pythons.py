"""Does on each Python what a newcomer does, in a new environment, and keeps docs/versions.md.

    python benchmarks/pythons.py                   # 3.11, 3.12 and 3.13
    python benchmarks/pythons.py 3.13              # this one, or an interpreter's path
    python benchmarks/pythons.py 3.13 --only size  # or first, or tutorials, or tests

size: the wheel alone is installed and a network ported. first: the README's first command, in a clone of the
last commit. tutorials: every page of docs/tutorials with the extras that it names, from top to bottom, in the
environment that the first command made if that was run. tests: those that need no framework. Versions are
those of constraints.txt.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from versions import ROOT, keep

sys.path += [str(ROOT), str(ROOT / "tools"), str(ROOT / "tests" / "checkpoints")]

import bundle_writer
import notebooks
import numpy as np

from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

PYTHONS = ("3.11", "3.12", "3.13")
NETWORK = "mobilenetv4_conv_small"
PORTS = 11
_FIRST_COMMAND = re.compile(r"^## Start$.*?^```bash\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
_EXTRAS = re.compile(r"port-weights\[([\w,]+)\]")


class CommandError(Exception):
    """A command did not end as it should; says which, and with which last line."""


def call(command: Sequence[object], folder: Path, commands: Path | None = None, code: int = 0) -> str:
    """Run a command in a folder, with an environment's commands before all others.

    Raises:
        CommandError: it ended with another exit code.
    """
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if commands:
        known["PATH"] = f"{commands}{os.pathsep}{known['PATH']}"
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=known, capture_output=True, text=True, check=False
    )
    if done.returncode != code:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
        last = (done.stderr.strip() or done.stdout.strip() or "nothing was printed").splitlines()[-1]
        shown = f"{' '.join(map(str, command))[-80:]}: {last[:200]}"
        raise CommandError(shown.replace("|", "/"))
    return done.stdout


def interpreter(asked: str) -> Path:
    """Return the Python of a version, pyenv's or the system's, or of a path."""
    candidates = [Path(asked)] if os.sep in asked else []
    candidates += Path("~/.pyenv/versions").expanduser().glob(f"{asked}.*/bin/python3")
    candidates += map(Path, filter(None, [shutil.which(f"python{asked}")]))
    if not candidates:
        raise SystemExit(f"there is no Python {asked} here")
    return candidates[0]


def install(python: Path, checkout: Path, *packages: str) -> None:
    """Install packages in the pinned versions, compiled as pip does unless it is told not to."""
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    call([*pip, "--constraint", "constraints.txt", *packages], checkout)


def size(python: Path, checkout: Path, folder: Path) -> str:
    """Install the wheel alone; return the number of packages, their bytes, and the time of a port."""
    commands = environment(python, folder)
    install(commands / "python", checkout, ".")
    library = next(folder.glob("lib/python*/site-packages"))
    packages = [path.name.partition("-")[0] for path in library.glob("*.dist-info")]
    parts = {name: sum(map(_bytes, library.glob(f"{name}*"))) / 1e6 for name in ("numpy", "port", "")}
    write_network(folder / "network")
    times = [_port(commands, folder) for _ in range(PORTS)]
    return (
        f"{len(packages) - 1} packages besides porter, {parts['']:.0f} MB "
        f"(numpy {parts['numpy']:.0f}, porter {parts['port']:.0f}); "
        f"first port {times[0]:.2f} s, then {statistics.median(times[1:]):.2f} s"
    )


def environment(python: Path, folder: Path) -> Path:
    """Make a virtual environment without pip and return its folder of commands."""
    call([python, "-m", "venv", "--without-pip", folder], Path.cwd())
    return folder / "bin"


def _bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(part.stat().st_size for part in [path, *path.rglob("*")] if part.is_file())


def _port(commands: Path, folder: Path) -> float:
    begun = time.perf_counter()
    call([commands / "port-weights", folder / "network" / "ckpt-1", "out.safetensors"], folder)
    return time.perf_counter() - begun


def write_network(folder: Path) -> None:
    """Write a TensorBundle of a network, as TensorFlow does, with random weights."""
    weights, bundle = RandomCheckpoint(load_tables().variant(NETWORK), 0), bundle_writer.Bundle()
    for key in weights.specs:
        bundle.put(key, np.asarray(weights.read(key)))
    folder.mkdir()
    bundle.store(folder / "ckpt-1")


def first(python: Path, checkout: Path, folder: Path) -> str:
    """Run the README's first command, whose `python3` is this Python; return what it says of the logits."""
    command = _FIRST_COMMAND.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert command, "the README has no first command"
    names = folder / "named"
    names.mkdir(parents=True)
    (names / "python3").symlink_to(python)
    printed = call(["bash", "-c", command[1]], checkout, names)
    logits = next(line for line in printed.splitlines() if line.startswith("logits"))
    return " ".join(logits.partition("(")[0].split())


def tutorials(python: Path, checkout: Path, folder: Path) -> str:
    """Run every tutorial from top to bottom; return which ran, and why another did not."""
    made = checkout / ".venv" / "bin"  # by the first command
    commands, ran, other = made if made.exists() else environment(python, folder), [], []
    for page in sorted(notebooks.TUTORIALS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        extras = _EXTRAS.search(text)
        assert extras, f"{page.name} names no extras"
        try:
            install(commands / "python", checkout, f".[{extras[1]}]")
            _run_page(text, commands, folder / "pages" / page.stem)
            ran.append(page.stem)
        except CommandError as failure:
            other.append(f"{page.stem} not ({failure})")
    return f"{len(ran)} ran" + "".join(f"; {reason}" for reason in other)


def _run_page(text: str, commands: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for kind, name, body in notebooks.cells(text):
        if kind == "file":
            (folder / name).write_text(body, encoding="utf-8")
        for line in body.splitlines() if kind == "commands" else []:
            command, _, code = line.partition(" # exit code ")
            call(["bash", "-c", command], folder, commands, int(code or 0))


def tests(python: Path, checkout: Path, folder: Path) -> str:
    """Run the tests that need no framework against the installed package; return pytest's last line."""
    call([python, "-m", "venv", folder], Path.cwd())  # with pip, which the tests of packaging run
    commands = folder / "bin"
    install(commands / "python", checkout, ".[hdf5,test]")
    two = ["--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    chosen = ["-q", *two, "-p", "no:cacheprovider", "-m", "not torch and not tensorflow and not onnx"]
    printed = call([commands / "pytest", *chosen], checkout, commands)
    return printed.strip().splitlines()[-1].strip("= ").partition(" in ")[0]


STEPS: dict[str, Callable[[Path, Path, Path], str]] = {
    step.__name__: step for step in (size, first, tutorials, tests)
}


def row(python: Path, steps: Sequence[str]) -> str:
    """Return a row of the table; a step that was not asked for keeps what the page says of it."""
    version = call([python, "-c", "import platform; print(platform.python_version())"], Path.cwd()).strip()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        call(["git", "clone", "--quiet", ROOT, checkout], Path.cwd())
        for name in steps:
            try:
                found[name] = STEPS[name](python, checkout, Path(folder) / name)
            except CommandError as failure:
                found[name] = f"not: {failure}"
            print(version, name, found[name], flush=True)
    return "| " + " | ".join([version, *(found.get(name, "") for name in STEPS)]) + " |"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", default=PYTHONS)
    parser.add_argument("--only", action="append", choices=list(STEPS))
    asked = parser.parse_args()
    for python in map(interpreter, asked.pythons):
        keep(row(python, asked.only or list(STEPS)), "Python")


if __name__ == "__main__":
    main()
