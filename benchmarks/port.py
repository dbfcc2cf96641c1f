"""Speed and memory of `port-weights`, as ratios within one run.

Whole processes, interleaved, medians; the page cache is warm for all (one round is run first and not
counted). TensorFlow writes the checkpoints in a child process. Exits with 1 when a goal is missed.

Usage: python benchmarks/port.py [--only hybrid,large,many,config] [--rounds N] [--folder FOLDER]
       [--classes N]

Goals:
  hybrid  MobileNetV4HybridMedium: at most 2.0 times importing numpy and click, under 60 MB resident
  large   a 2 GB checkpoint: at most 1.15 times the time of the SHA-256 of its source, under 100 MB resident
  many    100,000 small variables listed (porter inspect) in under 3 seconds
  config  reading and comparing the network in MobileNetV2's .keras and .h5: at most 20 ms of processor time

`cp` leaves its bytes in the page cache, porter waits for the disk (fsync), so `cp` with sync is shown too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = sys.executable
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
# pip compiles what it installs; in a checkout the round that is not counted does, unless it is told not to.
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)
# What no port can do without: the two libraries (as the port starts them), and the digest in the metadata.
START = "import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'; import numpy, click"
DIGEST = "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')"


@dataclass
class Contender:
    """One command and what it took.

    Attributes:
        name: What the table calls it.
        command: Program and arguments.
        clean: Removed before every round, so that each starts from nothing.
        seconds: Wall-clock time of each counted round.
        processor: Processor time of each counted round, all threads, user and system.
        megabytes: Largest resident set of each counted round, in 10^6 bytes.
    """

    name: str
    command: Sequence[str]
    clean: Sequence[Path] = ()
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def run(self, *, counted: bool) -> None:
        """Run once and note what it took."""
        for path in self.clean:
            path.unlink(missing_ok=True)
        started = time.perf_counter()
        with subprocess.Popen(self.command, stdout=subprocess.DEVNULL, env=ENVIRONMENT) as process:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{self.name} failed: {' '.join(self.command)}")
        if counted:
            self.seconds.append(seconds)
            self.processor.append(usage.ru_utime + usage.ru_stime)
            self.megabytes.append(usage.ru_maxrss * 1024 / 1e6)

    @property
    def median(self) -> float:
        """Median of the counted rounds in seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Goal:
    """A promise and whether it was kept."""

    text: str
    kept: bool


def race(contenders: Sequence[Contender], rounds: int) -> None:
    """Run all contenders in turn, one round uncounted."""
    for number in range(rounds + 1):
        for contender in contenders:
            contender.run(counted=number > 0)


def show(title: str, contenders: Sequence[Contender]) -> None:
    """Print one table; ratios are against the first row."""
    print(f"\n{title}")
    print(f"  {'':28} {'median s':>9} {'min s':>8} {'max s':>8} {'x first':>8} {'cpu s':>8} {'max MB':>8}")
    for c in contenders:
        ratio = c.median / contenders[0].median
        print(
            f"  {c.name:28} {c.median:9.3f} {min(c.seconds):8.3f} {max(c.seconds):8.3f} {ratio:8.2f}"
            f" {statistics.median(c.processor):8.3f} {max(c.megabytes):8.1f}"
        )
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if load > 1:
        print(f"  NOTE: {load:.1f} processes wait for each processor; wall-clock times say little")


def command(name: str) -> list[str]:
    """Return how to start an installed command, or the module where porter is not installed."""
    script = Path(PYTHON).with_name(name)
    entry = f"import sys; sys.argv[0] = {name!r}; from porter.cli.main import "
    function = {"porter": "main", "port-weights": "port_weights_main"}[name]
    return [str(script)] if script.exists() else [PYTHON, "-c", f"{entry}{function}; {function}()"]


def python(script: str, *arguments: object) -> list[str]:
    """Return the command that runs a script of this folder."""
    return [PYTHON, str(HERE / script), *map(str, arguments)]


def output(*arguments: str) -> str:
    """Return what a program prints."""
    return subprocess.run(arguments, check=True, env=ENVIRONMENT, capture_output=True, text=True).stdout


def call(*arguments: str) -> None:
    """Run a preparation or a check."""
    subprocess.run(arguments, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)


def hybrid(folder: Path, options: argparse.Namespace) -> list[Goal]:
    """Measure HybridMedium against the ordinary script."""
    call(*python("write_checkpoints.py", folder, "hybrid", 1000))
    source, mapping = folder / "hybrid", folder / "hybrid.json"
    call(*python("port_helpers.py", "mapping", source, mapping))
    ours, theirs = folder / "ours.safetensors", folder / "theirs.safetensors"
    port = Contender("port-weights", [*command("port-weights"), str(source), str(ours)], [ours])
    script = Contender("ordinary script", python("ordinary_script.py", source, mapping, theirs), [theirs])
    start = Contender("(importing numpy and click)", [PYTHON, "-c", START])
    race([port, script, start], options.rounds)
    call(*python("port_helpers.py", "same", ours, theirs))
    show(
        f"MobileNetV4HybridMedium, {source_size(source) / 1e6:.0f} MB; same tensors, bit for bit",
        [port, script, start],
    )
    factor, memory = port.median / start.median, max(port.megabytes)
    return [
        Goal(f"hybrid: {factor:.2f} times importing numpy and click (goal: at most 2.0)", factor <= 2.0),
        Goal(f"hybrid: {memory:.1f} MB resident (goal: under 60)", memory < 60),
    ]


def large(folder: Path, options: argparse.Namespace) -> list[Goal]:
    """Measure a checkpoint with one 2 GB tensor against cp."""
    call(*python("write_checkpoints.py", folder, "large", options.classes))
    source, mapping = folder / "large", folder / "large.json"
    call(*python("port_helpers.py", "mapping", source, mapping))
    data = folder / "large.data-00000-of-00001"
    ours, theirs, copy = (folder / name for name in ("large.safetensors", "theirs.safetensors", "copy"))
    cp = Contender("cp", ["cp", str(data), str(copy)], [copy])
    synced = Contender("cp and sync", ["sh", "-c", 'cp "$0" "$1" && sync "$1"', str(data), str(copy)], [copy])
    port = Contender("port-weights", [*command("port-weights"), "-q", str(source), str(ours)], [ours])
    digest = Contender("(SHA-256 of the source)", [PYTHON, "-c", DIGEST, str(data)])
    race([cp, port, synced, digest], options.rounds)
    script = Contender("ordinary script", python("ordinary_script.py", source, mapping, theirs), [theirs])
    race([script], 1)
    call(*python("port_helpers.py", "same", ours, theirs))
    show(
        f"MobileNetV4ConvSmall, {options.classes} classes, {source_size(source) / 1e9:.2f} GB",
        [cp, port, synced, digest, script],
    )
    factor, memory = port.median / digest.median, max(port.megabytes)
    return [
        Goal(f"large: {factor:.2f} times the SHA-256 of the source (goal: at most 1.15)", factor <= 1.15),
        Goal(f"large: {memory:.1f} MB resident (goal: under 100)", memory < 100),
    ]


def many(folder: Path, options: argparse.Namespace) -> list[Goal]:
    """Measure the listing of 100,000 variables."""
    call(*python("write_checkpoints.py", folder, "many", 100_000))
    listing = "import sys, porter; print(len(porter.open_checkpoint(sys.argv[1]).specs))"
    inspect = Contender("porter inspect", [*command("porter"), "inspect", str(folder / "many")])
    opened = Contender("(open_checkpoint and specs)", [PYTHON, "-c", listing, str(folder / "many")])
    race([inspect, opened], options.rounds)
    show("100,000 variables of two float32", [inspect, opened])
    return [Goal(f"many: listed in {inspect.median:.2f} s (goal: under 3)", inspect.median < 3)]


def config(folder: Path, options: argparse.Namespace) -> list[Goal]:
    """Measure a plan with and without the network that the file describes: whole processes, and in one."""
    call(*python("write_checkpoints.py", folder, "config", 1000))
    goals = []
    print("\nMobileNetV2, 1000 classes: milliseconds of processor time that comparing the network adds")
    print(f"  {'':28} {'in a process':>12} {'whole process, imports too':>28}")
    for file in sorted(folder.glob("config-*")):
        within = float(output(*python("port_helpers.py", "network", file)))
        least = {
            network: min(
                float(output(*python("port_helpers.py", "plan", file, network)))
                for _ in range(options.rounds)
            )
            for network in ("without", "with")
        }
        print(f"  {file.name:28} {within:12.1f} {least['with'] - least['without']:28.1f}")
        if file.is_file():  # a SavedModel has a graph instead
            told = f"config: {file.name}: {within:.1f} ms of processor time (goal: at most 20)"
            goals.append(Goal(told, within <= 20))
    return goals


def source_size(prefix: Path) -> int:
    """Return the bytes of a checkpoint's files."""
    return sum(path.stat().st_size for path in prefix.parent.glob(f"{prefix.name}.*-of-*"))


PARTS: dict[str, Callable[[Path, argparse.Namespace], list[Goal]]] = {
    "hybrid": hybrid,
    "large": large,
    "many": many,
    "config": config,
}


def main() -> None:
    """Measure, print, and exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run, separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to put the files, about 8 GB (default: temporary)")
    parser.add_argument("--classes", type=int, default=390_000, help="of the large checkpoint")
    options = parser.parse_args()
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.only.split(","):
            goals += PARTS[name](Path(folder), options)
    print()
    for goal in goals:
        print("kept  " if goal.kept else "MISSED", goal.text)
    sys.exit(0 if all(goal.kept for goal in goals) else 1)


if __name__ == "__main__":
    main()
