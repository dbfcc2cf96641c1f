"""Fixtures of the reader's tests: what TensorFlow wrote, in one child process for all of them."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
from warm_frameworks import run_with_tensorflow

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def real_checkpoints() -> Path:
    """The folder of published checkpoints, named by PORTER_REAL_CHECKPOINTS."""
    folder = os.environ.get("PORTER_REAL_CHECKPOINTS")
    if not folder:
        pytest.skip("PORTER_REAL_CHECKPOINTS names no folder of published checkpoints")
    return Path(folder)


class Written:
    """Checkpoints that TensorFlow wrote, and what its own reader gets from them.

    Attributes:
        root: A folder per feature.
        tensors: Label to rows of (name, dtype, shape, strings or None).
        graphs: Label to the stored object graph, as protobuf reads it.
    """

    def __init__(self, root):
        self.root = root
        self.tensors = json.loads((root / "expected.json").read_text())
        self.graphs = json.loads((root / "graphs.json").read_text())
        with np.load(root / "expected.npz") as arrays:
            self._arrays = dict(arrays)

    def expected(self, label):
        """Yield (name, dtype name, shape, raw bytes or list of strings) of one checkpoint."""
        for index, (name, dtype, shape, strings) in enumerate(self.tensors[label]):
            if strings is None:
                yield name, dtype, tuple(shape), self._arrays[f"{label}/{index}"].tobytes()
            else:
                yield name, dtype, tuple(shape), [bytes.fromhex(text) for text in strings]


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Written:
    """Everything that tensorflow_checkpoints.py writes; one run serves all tests."""
    if importlib.util.find_spec("tensorflow") is None:  # importing it here would forbid timm in this process
        pytest.skip("needs the [tensorflow] extra")
    root = tmp_path_factory.mktemp("tensorflow")
    real = os.environ.get("PORTER_REAL_CHECKPOINTS")
    run_with_tensorflow(HERE / "tensorflow_checkpoints.py", root, *([real] if real else []))
    return Written(root)
