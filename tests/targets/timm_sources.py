"""timm's own random weights as a source: a checkpoint in memory and a real mapping table for it."""

from __future__ import annotations

import json

import numpy as np
from memory_checkpoint import MemoryCheckpoint

from porter.planning.plan import plan
from porter.tables.shipped import load_tables

_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def random_state(model, size, seed=0):
    """Give a timm model weights that all matter, statistics taken from data, and return them by name."""
    import torch

    generator = np.random.default_rng(seed)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not name.endswith(("running_mean", "running_var")):
            vector = tensor.ndim == 1
            spread = 0.3 if vector else (1.5 / np.prod(tensor.shape[1:])) ** 0.5
            values = generator.normal(1 if vector and name.endswith("weight") else 0, spread, tensor.shape)
            tensor.copy_(torch.from_numpy(values))
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.from_numpy(generator.normal(0, 1, (4, 3, size, size)).astype(np.float32)))
    model.eval()
    for norm in norms:
        norm.running_var.mul_(torch.from_numpy(generator.uniform(0.8, 1.25, norm.running_var.shape)))
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def planned(folder, model_name, state, *, arguments, bn_eps, size=224):
    """Return a checkpoint that holds `state` and the real plan that ports it to timm's `model_name`."""
    arrays, rules = {}, []
    norms = {name.removesuffix(".running_var") for name in state if name.endswith(".running_var")}
    for norm in norms:
        rules.append((norm, f'kind = "batch_norm", shape = "{len(state[norm + ".weight"])}"'))
        arrays |= {f"net/l/{norm}/{ours}": state[f"{norm}.{leaf}"] for leaf, ours in _BATCH_NORM.items()}
    for name, value in state.items():
        if name.rpartition(".")[0] not in norms:
            axes = " ".join("abcde"[: value.ndim])
            shape = " ".join(map(str, value.shape))
            rules.append((name, f'kind = "tensor", layout = "{axes} -> {axes}", shape = "{shape}"'))
            arrays[f"net/l/{name}"] = value
    table = folder / "table.toml"
    table.write_text(_table(model_name, rules, arguments, bn_eps, size))
    checkpoint = MemoryCheckpoint(arrays)
    return checkpoint, plan(checkpoint, load_tables(table), variant="source")


def _table(model_name, rules, arguments, bn_eps, size):
    lines = "".join(f'"{name}" = {{ target = "{name}", {rest} }}\n' for name, rest in rules)
    given = "".join(f"{name} = {json.dumps(value)}\n" for name, value in arguments.items())
    epsilon = f'[bn_eps]\nargument = "bn_eps"\ndefault = {bn_eps}\nsource = "the test"\n' if bn_eps else ""
    return f"""
schema = 1
family = "test"
title = "timm"
version = 1
[source]
builder = "none.at_all"
[part.net]
path = ""
[target]
library = "timm"
[target.arguments]
{given}
{epsilon}
[input]
size = {size}
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
crop_pct = 0.875
interpolation = "bicubic"
[template.all.rules]
{lines}
[variant.source]
source = {{}}
target = {{ model = "{model_name}" }}
blocks = [{{ source = "net/l", target = "", stage = "all", template = "all" }}]
"""
