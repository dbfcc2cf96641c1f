"""Measure `porter classify`'s way through a folder of images against a plain batched loop with timm.

Usage: ``benchmarks/classify.py [VARIANT]`` (hybrid_medium if not said). Writes a port with seeded weights and
110 JPEG images of 500x375 pixels; both ways decode, prepare and classify them in batches of 16, in turn,
three times. Prints seconds of wall and CPU per image and the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from porter.data.opening import open_data, read_items
from porter.loading.classification import Classifier
from porter.loading.labels import imagenet_labels
from porter.loading.load_model import load_model
from porter.outputs.metadata import describe
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.transfer import transfer

COUNT, BATCH, ROUNDS = 110, 16, 3


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("variant", nargs="?", default="hybrid_medium")
    name = parser.parse_args().variant
    with tempfile.TemporaryDirectory() as folder:
        ported, images = Path(folder, "model.safetensors"), Path(folder, "images")
        _write(name, ported, images)
        classifier = Classifier(ported)
        model = load_model(ported)
        ways = {"timm": lambda: _plain(model, images), "porter": lambda: _ours(classifier, images)}
        rounds = [{way: _timed(run) for way, run in ways.items()} for _ in range(ROUNDS)]
    for number, what in enumerate(("wall", "CPU")):
        middle = {way: statistics.median(each[way][number] for each in rounds) for way in ways}
        told = ", ".join(f"{way} {1000 * value / COUNT:.0f} ms" for way, value in middle.items())
        print(f"{what} an image: {told}; ratio {middle['porter'] / middle['timm']:.2f}")


def _write(name: str, ported: Path, images: Path) -> None:
    tables = load_tables()
    checkpoint = RandomCheckpoint(tables.variant(name), 0)
    made = plan(checkpoint, tables, variant=name)
    transfer(checkpoint, made.assignments, ported, metadata=describe(made, checkpoint.format, None))
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        small = Image.fromarray(rng.integers(0, 256, (15, 20, 3), np.uint8))
        small.resize((500, 375), Image.Resampling.BICUBIC).save(images / f"{number:03}.jpg", quality=90)


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def _ours(classifier: Classifier, images: Path) -> None:
    items = read_items(open_data(images))
    labels = imagenet_labels(classifier.classes)
    while some := list(islice(items, BATCH)):
        classifier.see(some, labels)


def _plain(model: torch.nn.Module, images: Path) -> None:
    prepare = create_transform(**resolve_data_config({}, model=model))
    files = iter(sorted(images.iterdir()))
    while some := list(islice(files, BATCH)):
        batch = torch.stack([prepare(Image.open(file).convert("RGB")) for file in some])
        with torch.inference_mode():
            model(batch).softmax(1).topk(5)


if __name__ == "__main__":
    main()
