"""Writes what `read_and_port.py` reads, without TensorFlow: ``python write_sources.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "checkpoints"))

import bundle_writer  # noqa: E402
import container_mutations  # noqa: E402

from porter.recordings.random_checkpoint import RandomCheckpoint  # noqa: E402
from porter.tables.shipped import load_tables  # noqa: E402

NETWORK = "mlperf_tiny_vww"
KERNEL = np.arange(2400, dtype=np.float32).reshape(40, 60)


def write(folder):
    """Write a source of every container, and a network that can be ported."""
    containers, network = folder / "containers", folder / "network"
    for new in (containers, network):
        new.mkdir(parents=True)
    for name, content in container_mutations.sources().items():
        (containers / name).write_bytes(content)
    _write_tensorflow(containers)
    weights, bundle = RandomCheckpoint(load_tables().variant(NETWORK), 0), bundle_writer.Bundle()
    for key in weights.specs:
        bundle.put(key, np.asarray(weights.read(key)))
    bundle.store(network / "ckpt-1")


def _write_tensorflow(folder):
    """Write a bundle in two files, a SavedModel, a V1 checkpoint and a training directory."""
    bundle = bundle_writer.Bundle(shards=2)
    bundle.put("a/kernel", KERNEL, 1)
    bundle.put("b/kernel", KERNEL.T.copy())
    for name in ("saved_model/variables/variables", "training/ckpt-2"):
        (folder / name).parent.mkdir(parents=True)
        bundle.store(folder / name)
    (folder / "training" / "checkpoint").write_text('model_checkpoint_path: "C:\\\\run\\\\ckpt-2"\n')
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"\x08\x01" + bundle_writer.data(2, b""))
    entries = bundle_writer.v1_entries({"a/kernel": KERNEL})
    (folder / "v1.ckpt").write_bytes(bundle_writer.table(entries, snappy=True))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
