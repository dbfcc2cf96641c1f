"""Random weights are worth comparing: each parameter shows, signals keep their size, inputs count."""

from __future__ import annotations

import numpy as np
import pytest

from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.recordings.random_weights import image_input
from porter.tables.known_tables import Tables
from porter.transfer.transfer import transfer

pytestmark = pytest.mark.torch

# A constant added to every key adds the same to all scores of a query, and the softmax drops it: whatever
# these hold, the network computes the same.
WITHOUT_EFFECT = ("attn.key.norm.bias", "attn.key.norm.running_mean")


@pytest.fixture(scope="module", params=["conv_small", "hybrid_medium", "garden_mobilenetv3_small_100"])
def network(request, tables, module_folder):
    """A variant and its ported network in float64."""
    pytest.importorskip("timm", reason="needs timm")
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # hundreds of passes through small layers: handing them to threads costs more
    from porter.loading.load_model import load_model
    from porter.outputs.metadata import describe

    variant = tables.variant(request.param)
    checkpoint = RandomCheckpoint(variant, 0)
    made = plan(checkpoint, Tables({variant.name: variant}), variant=variant.name)
    path = module_folder("ported") / "model.safetensors"
    transfer(checkpoint, made.assignments, path, metadata=describe(made, checkpoint.format, None))
    yield variant, load_model(path).double()
    torch.set_num_threads(threads)


def image(seed):
    """A small image, channels first."""
    import torch

    values = image_input(seed, (65, 65), 1).astype(np.float64)
    return torch.from_numpy(values).permute(0, 3, 1, 2)


def passes(network, x):
    """Yield (stage, its function, its input, its output)."""
    variant, model = network
    for stage in variant.stages:

        def run(values, stage=stage):
            for name in stage.target:
                values = model.get_submodule(name)(values)
            return values

        y = run(x)
        yield stage, run, x, y
        x = y


def test_every_parameter_shows_in_its_own_stage(network):
    """One percent more of any one tensor moves its stage by at least 1e-5 of its scale."""
    import torch

    variant, model = network
    state = model.state_dict()
    silent = []
    with torch.no_grad():
        for stage, run, x, y in passes(network, image(0)):
            prefixes = tuple(f"{name}." for name in stage.target)
            for entry in variant.entries:
                if entry.target.startswith(prefixes):
                    tensor, kept = state[entry.target], state[entry.target].clone()
                    tensor.mul_(1.01)
                    if (run(x) - y).abs().max() < 1e-5 * y.abs().max():
                        silent.append(entry.target)
                    tensor.copy_(kept)

    assert [name for name in silent if not name.endswith(WITHOUT_EFFECT)] == []


def test_signals_stay_in_range(network):
    """From stem to logits activations neither fade nor grow: float32 and float16 could hold them."""
    import torch

    with torch.no_grad():
        spreads = [float(y.std()) for *_, y in passes(network, image(0))]

    assert min(spreads) > 0.05
    assert max(spreads) < 50


def test_logits_depend_on_the_input(network):
    """Another image moves the logits by more than one percent of their scale."""
    import torch

    _, model = network
    with torch.no_grad():
        one, other = model(image(0)), model(image(1))

    assert (one - other).abs().max() > 0.01 * one.abs().max()
