"""A source of every container, and what this system and this Python make of them."""

import sys

import numpy as np
import pytest
from running import ROOT, run

NETWORK = "mlperf_tiny_vww"
KERNEL = np.arange(2400, dtype=np.float32).reshape(40, 60)


def write_tensorflow(folder, bundles):
    """Write a bundle in two files, a SavedModel, a V1 checkpoint and a training directory."""
    bundle = bundles.Bundle(shards=2)
    bundle.put("a/kernel", KERNEL, 1)
    bundle.put("b/kernel", KERNEL.T.copy())
    for name in ("saved_model/variables/variables", "training/ckpt-2"):
        (folder / name).parent.mkdir(parents=True)
        bundle.store(folder / name)
    (folder / "training" / "checkpoint").write_text('model_checkpoint_path: "C:\\\\run\\\\ckpt-2"\n')
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"\x08\x01" + bundles.data(2, b""))
    (folder / "v1.ckpt").write_bytes(bundles.table(bundles.v1_entries({"a/kernel": KERNEL}), snappy=True))


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """The folder that `read_and_port.py` takes."""
    pytest.importorskip("h5py")
    sys.path.insert(0, str(ROOT / "tests" / "checkpoints"))
    import bundle_writer
    import container_mutations

    from porter.recordings.random_checkpoint import RandomCheckpoint
    from porter.tables.shipped import load_tables

    folder = tmp_path_factory.mktemp("sources")
    containers = folder / "containers"
    containers.mkdir()
    for name, content in container_mutations.sources().items():
        (containers / name).write_bytes(content)
    write_tensorflow(containers, bundle_writer)
    weights, network = RandomCheckpoint(load_tables().variant(NETWORK), 0), bundle_writer.Bundle()
    for key in weights.specs:
        network.put(key, np.asarray(weights.read(key)))
    (folder / "network").mkdir()
    network.store(folder / "network" / "ckpt-1")
    return folder


@pytest.fixture(scope="session")
def here(sources, tmp_path_factory):
    """What comes out on this system, with this Python."""
    return run(sys.executable, sources, tmp_path_factory.mktemp("here") / "out", PYTHONPATH=str(ROOT))
