"""A checkpoint in training, files that were ported from it, and the same files spoilt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from warm_frameworks import run_with_tensorflow

import porter

WRITER = Path(__file__).parent / "parity" / "write_trained_mobilenet.py"
TRANSPOSED, LEFT_RANDOM = "blocks.1.0.conv_pw.weight", "blocks.3.0.bn1.weight"
SQUARE = "blocks.3.1.conv_pw.weight"
SWAPPED = "blocks.3.1.bn1.weight", "blocks.3.1.bn1.bias"
TO_PTH = """
import sys, torch
from safetensors.torch import load_file
state = load_file(sys.argv[1])
torch.save(state, sys.argv[2] + "/pth.pth")
wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
torch.save({"epoch": 3, "state_dict": wrapped}, sys.argv[2] + "/wrapped.pth")
zeros = {name: tensor * 0 for name, tensor in state.items()}
torch.save({"model": zeros, "model_ema": state}, sys.argv[2] + "/averaged.pth")
"""
PORT = "from porter.cli.port_weights import port_weights as p; p()"


def write(folder):
    """Write ``ckpt`` and ``model.keras`` with TensorFlow, and every port of the checkpoint."""
    run_with_tensorflow(WRITER, folder)
    for name, options in {
        "right.safetensors": {},
        "float16.safetensors": {"dtype": "float16"},
        "bfloat16.safetensors": {"dtype": "bfloat16"},
        "raw.safetensors": {"weights": "raw"},
        "transformers": {"target": "transformers"},
        "hub": {"target": "hub-folder"},
        "shards": {"max_shard_size": "400KB"},
    }.items():
        porter.port(folder / "ckpt", folder / name, **options)
    for program, arguments in (
        (PORT, [folder / "ckpt", folder / "folded.safetensors", "--fold-bn"]),
        (TO_PTH, [folder / "right.safetensors", folder]),
    ):
        subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)
    _spoil(folder)


def _spoil(folder):
    tensors, metadata = load_file(folder / "right.safetensors"), _metadata(folder / "right.safetensors")
    half = load_file(folder / "float16.safetensors")
    rng = np.random.default_rng(1)
    random = rng.uniform(2, 4, tensors[LEFT_RANDOM].shape).astype(np.float32)
    first, second = SWAPPED
    weight = tensors[TRANSPOSED]
    turned = np.ascontiguousarray(weight.transpose(1, 0, 2, 3)).reshape(weight.shape)
    square = np.ascontiguousarray(tensors[SQUARE].transpose(1, 0, 2, 3))
    halved = {n: t.astype(np.float32) if t.dtype == np.float16 else t for n, t in half.items()}
    arguments = json.loads(metadata["porter.arguments"])
    (name,) = [name for name in arguments if "eps" in json.dumps({name: arguments[name]})]
    arguments[name] = {**arguments[name], "eps": 1e-5} if isinstance(arguments[name], dict) else 1e-5
    other_epsilon = {**metadata, "porter.arguments": json.dumps(arguments)}
    for name, (changed, says) in {
        "transposed": ({TRANSPOSED: turned}, metadata),
        "square": ({SQUARE: square}, metadata),
        "swapped": ({first: tensors[second], second: tensors[first]}, metadata),
        "random": ({LEFT_RANDOM: random}, metadata),
        "bare": ({}, None),
        "round_trip": (halved, metadata),
        "wide": ({n: t.astype(np.float64) for n, t in tensors.items() if t.dtype == np.float32}, metadata),
        "epsilon": ({}, other_epsilon),
        "float16_random": ({**half, LEFT_RANDOM: random.astype(np.float16)}, metadata),
        "not_finite": ({LEFT_RANDOM: random * np.float32(np.nan)}, metadata),
        "head": ({"classifier.weight": np.zeros((7, 256), np.float32)}, metadata),
        "whole_numbers": ({"conv_stem.weight": np.ones((8, 3, 3, 3), np.int8)}, metadata),
        "extra": ({"extra.weight": random}, metadata),
    }.items():
        save_file({**tensors, **changed}, folder / f"{name}.safetensors", says)
    turned_round = load_file(folder / "transformers" / "model.safetensors")
    kernel = next(name for name in turned_round if turned_round[name].shape == (128, 128, 1, 1))
    turned_round[kernel] = np.ascontiguousarray(turned_round[kernel].transpose(1, 0, 2, 3))
    save_file(turned_round, folder / "transformers_turned.safetensors")


def _metadata(path):
    with safe_open(path, framework="numpy") as opened:
        return opened.metadata()


def path_of(folder, name):
    """Return the file, or folder, of that name whatever its suffix."""
    return next(iter(folder.glob(f"{name}.*")), folder / name)
