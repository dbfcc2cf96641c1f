"""Networks with faults, held against TensorFlow where it is installed and against themselves where not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

SIZE = 64


def tensorflow_recording(variant, folder):
    """What TensorFlow computes on the random weights of seed 0, recorded by a process of its own."""
    from porter.checks.check import Check, write_inputs
    from porter.recordings.recording import Recording
    from porter.runners.process import Child, wait_for

    check = Check(variant, sizes=((SIZE, SIZE),), dtypes=("float64",))
    out = folder / "tensorflow.safetensors"
    with Child("tensorflow", check.job(write_inputs(check, folder / "inputs"), out, local=False)) as child:
        wait_for(child, [], 600)
    return Recording.load(out)


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """A function from a variant's name to a network that can be run with faults, one per session."""
    pytest.importorskip("timm", reason="needs the [torch] extra")
    import torch
    from faulty_network import FaultyNetwork

    from porter.runners.process import missing_packages
    from porter.tables.shipped import load_tables

    torch.set_num_threads(1)
    made = {}

    def get(name):
        if name not in made:
            variant = load_tables().variant(name)
            folder = tmp_path_factory.mktemp(name)
            reference = None if missing_packages("tensorflow") else tensorflow_recording(variant, folder)
            made[name] = FaultyNetwork(variant, SIZE, reference=reference)
        return made[name]

    return get
