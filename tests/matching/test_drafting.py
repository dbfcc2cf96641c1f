"""Where no network can be run, a draft says what fits by kind, shape and order, and what is a guess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints.bundle_writer import Bundle

import porter
from porter.errors import PorterError

pytestmark = pytest.mark.torch


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of weights alone, with more than ten layers, an optimizer's slots and a step."""
    rng, bundle = np.random.default_rng(0), Bundle()
    for number in range(1, 12):
        shape = (3, 3, 3 if number == 1 else 4, 4)
        bundle.put(f"net/conv_{number}/kernel", rng.normal(size=shape).astype(np.float32))
        bundle.put(f"net/conv_{number}/kernel/Momentum", np.zeros(shape, np.float32))
    for role in ("gamma", "beta", "moving_mean", "moving_variance"):
        bundle.put(f"net/norm/{role}", np.ones(4, np.float32))
    bundle.put("net/logits/kernel", rng.normal(size=(4, 5)).astype(np.float32))
    bundle.put("net/logits/bias", np.zeros(5, np.float32))
    bundle.put("global_step", np.int64(7))
    return bundle.store(tmp_path / "ckpt-1")


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def test_layers_are_paired_in_the_order_of_numbers_and_every_pair_says_why(checkpoint, tmp_path):
    """conv_2 comes before conv_10; the first kernel is alone in its shape; a draft ports only if told to."""
    found = porter.match(checkpoint, "drafted_network:build")
    pairs = {layer.module: (layer.layer, layer.evidence) for layer in found.layers}
    table = found.save(tmp_path / "mine.toml")

    assert found.status == "draft"
    assert "--source" in found.open[0]
    assert len(found.open) == 1
    assert [pairs[f"convs.{n}"][0] for n in range(11)] == [f"net/conv_{n}" for n in range(1, 12)]
    assert "only layer" in pairs["convs.0"][1]
    assert "by order among 10" in pairs["convs.5"][1]
    assert "# by order among 10" in table.read_text()
    with pytest.raises(PorterError, match="draft"):
        porter.port(checkpoint, tmp_path / "mine.safetensors", tables=porter.load_tables(table))


def test_what_does_not_come_out_even_is_a_guess(checkpoint):
    """With a layer less in PyTorch, no pair of that shape is told, and the layer that is left is named."""
    found = porter.match(checkpoint, "drafted_network:build", arguments=["convolutions=10"])

    assert any(words.startswith("convs.5 takes net/conv_6: a guess") for words in found.open)
    assert "net/conv_11 has no place in PyTorch" in found.open
