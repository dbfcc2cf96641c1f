"""Agreement over many images: seconds, images per second and peak memory; local and Ray give identical rows.

Usage: python benchmarks/agree.py SOURCE IMAGES [--most 2000] [--out agree.json] [--only CASE...]

Crops of the real images in the folder IMAGES and generated ones, half and half, are written to a temporary
folder and compared at a quarter, a half and all of their number; then with two and four workers, with Ray on
one node, also with two and four actors of each framework, with Ray on a cluster of two nodes, and with Ray
while one of two nodes is killed. Rates are those of the later half of a run, when every process has started;
seconds of CPU are those of all processes of a run, so that two runs of one kind tell those of an image.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import porter
from porter.agreement.row_table import read_table

SIDE = 256
SUFFIXES = (".jpg", ".png", ".bmp")
CASES = ("memory", "workers", "ray", "actors", "cluster", "killed")
FEW, MANY = 2, 4  # processes of each framework


def main() -> None:
    """Run every case, print a line for each and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--most", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", choices=CASES, default=CASES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="porter-agree-") as name:
        found = Benchmark(asked, Path(name)).run()
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2))


class Benchmark:
    """The cases, on one set of images in one folder."""

    def __init__(self, asked: argparse.Namespace, folder: Path) -> None:
        self._asked, self._folder = asked, folder
        self._ported = folder / "ported.safetensors"
        self._figures: list[dict[str, object]] = []
        porter.port(asked.source, self._ported)
        self._lists = {
            count: write_images(asked.images, folder / "images", count)
            for count in (asked.most // 4, asked.most // 2, asked.most)
        }

    def run(self) -> list[dict[str, object]]:
        """Return the figures of every case."""
        counts = sorted(self._lists)
        if "memory" in self._asked.only:
            for count in counts:
                self._measure(f"local, 1 worker, {count} images", count, porter.Engine())
        reference = self._measure("local, 1 worker, again", counts[0], porter.Engine())
        for name, rows in self._cases(counts[0]):
            if name in self._asked.only:
                same = rows() == reference
                print(f"  rows identical with the local engine's: {same}")
                self._figures[-1]["identical"] = same
        return self._figures

    def _cases(self, count: int) -> Iterator[tuple[str, Callable[[], list[object]]]]:
        """Yield what gives each case's rows."""
        for workers in (FEW, MANY):
            engine = porter.Engine(workers=workers)
            yield "workers", partial(self._measure, f"local, {workers} workers", count, engine)
        yield "ray", partial(self._measure, "Ray, one node", count, porter.Engine(name="ray"))
        for workers in (FEW, MANY):
            engine = porter.Engine(name="ray", workers=workers)
            yield "actors", partial(self._measure, f"Ray, {workers} actors of each", count, engine)
        yield "cluster", partial(self._on_cluster, "Ray, two nodes", count, kills=False)
        yield "killed", partial(self._on_cluster, "Ray, one of two nodes killed", count, kills=True)

    def _measure(
        self, name: str, count: int, engine: porter.Engine, during: Callable[[int], None] | None = None
    ) -> list[object]:
        began, seen, cpu, before = time.monotonic(), [], [0.0], cpu_seconds()

        def progress(done: int, _total: int) -> None:
            seen.append((time.monotonic(), done))
            cpu[0] = cpu_seconds() - before
            if during:
                during(done)

        out = self._folder / name.replace(" ", "-").replace(",", "")
        with watched() as peaks:
            report = porter.agree(
                self._asked.source,
                self._ported,
                self._lists[count],
                out=out,
                engine=engine,
                progress=progress,
            )
        seconds = time.monotonic() - began
        wall, images = (last - middle for middle, last in zip(seen[len(seen) // 2], seen[-1], strict=True))
        figures: dict[str, object] = {
            "case": name,
            "images": count,
            "seconds": round(seconds, 1),
            "images_per_second": round(images / wall, 1) if images else None,
            "cpu_seconds": round(cpu[0], 1),
            "peak_mb": round(sum(peaks.values()) / 1e6),
            "largest_process_mb": round(max(peaks.values()) / 1e6),
            "own_mb": round(peaks[os.getpid()] / 1e6),
            "top1": report.top1,
            "cause": report.cause,
        }
        self._figures.append(figures)
        print(json.dumps(figures), flush=True)
        return list(read_table(report.rows))

    def _on_cluster(self, name: str, count: int, *, kills: bool) -> list[object]:
        import ray
        from ray.cluster_utils import Cluster

        size = {"num_cpus": 2, "object_store_memory": 150 << 20}
        cluster = Cluster(initialize_head=True, head_node_args=size)
        other = cluster.add_node(**size)
        left = [other] if kills else []

        def kill(done: int) -> None:
            if left and done >= count // 4:
                cluster.remove_node(left.pop(), allow_graceful=False)
                cluster.add_node(**size)

        try:
            engine = porter.Engine(name="ray", workers=1, ray_address=cluster.address)
            return self._measure(name, count, engine, kill if kills else None)
        finally:
            ray.shutdown()
            cluster.shutdown()


def write_images(real: Path, folder: Path, count: int) -> Path:
    """Write images and return a list of them; those that are there already are left."""
    folder.mkdir(exist_ok=True)
    stored = [Image.open(path).convert("RGB") for path in sorted(real.iterdir()) if path.suffix in SUFFIXES]
    names = []
    for number in range(count):
        rng = np.random.default_rng(number)
        path = folder / f"{number:05}.{'jpg' if number % 4 < 2 else 'png'}"
        names.append(f"images/{path.name}")
        if not path.exists():
            made = crop(stored[number % len(stored)], rng) if number % 2 else generated(rng)
            made.save(path, quality=90)
    (folder.parent / f"{count}.txt").write_text("\n".join(names))
    return folder.parent / f"{count}.txt"


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a random part of an image at random scale."""
    side = int(rng.uniform(0.4, 1) * min(image.size))
    left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
    return image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def generated(rng: np.random.Generator) -> Image.Image:
    """Return blocks of colour with noise."""
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    blocks = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray(np.clip(blocks + rng.normal(0, 10, blocks.shape), 0, 255).astype(np.uint8))


@contextlib.contextmanager
def watched() -> Iterator[dict[int, int]]:
    """Give the peak of resident bytes of this process and of every one below it, by process."""
    peaks, ended = {os.getpid(): 0}, threading.Event()
    Path("/proc/self/clear_refs").write_text("5")  # forget this process's own earlier peak

    def watch() -> None:
        while not ended.wait(0.25):
            for pid in below(os.getpid()):
                peaks[pid] = max(peaks.get(pid, 0), peak(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def below(parent: int) -> list[int]:
    """Return a process and all that it has started."""
    found, parents = [parent], {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    for pid in found:
        found += [child for child, of in parents.items() if of == pid]
    return found


def cpu_seconds() -> float:
    """Return the seconds of CPU of this process and of every one below it."""
    ticks = 0
    for pid in below(os.getpid()):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def peak(pid: int) -> int:
    """Return the peak of a process's resident bytes."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return 0


if __name__ == "__main__":
    main()
