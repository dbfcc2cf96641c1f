"""What is said of a layer that does not agree with the source: where it is, and what the cause may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from porter.core.checkpoint import Array
from porter.runners.graph_operations import SourceOperation
from porter.runners.source_recording import RunOutputs, SourceRecording
from porter.runners.target_layers import EQUAL, difference

_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "ReLU": lambda x: np.maximum(x, 0),
    "ReLU capped at 6": lambda x: np.clip(x, 0, 6),
    "LeakyReLU(0.01)": lambda x: np.where(x > 0, x, 0.01 * x),
    "LeakyReLU(0.1)": lambda x: np.where(x > 0, x, 0.1 * x),
    "LeakyReLU(0.2)": lambda x: np.where(x > 0, x, 0.2 * x),
    "LeakyReLU(0.3)": lambda x: np.where(x > 0, x, 0.3 * x),
    "SiLU": lambda x: x / (1 + np.exp(-x)),
    "a sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "ELU": lambda x: np.where(x > 0, x, np.expm1(x)),
    "hard swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "no activation": lambda x: x,
}


def explain_output(name: str, module: nn.Module, operation: SourceOperation, error: float) -> str:
    """Say how a module differs from the layer whose input it takes."""
    known = operation.attributes
    pairs = [
        ("stride", getattr(module, "stride", None), known.get("strides")),
        ("dilation", getattr(module, "dilation", None), known.get("dilation")),
        ("epsilon", getattr(module, "eps", None), known.get("epsilon")),
        ("groups", getattr(module, "groups", getattr(module, "num_groups", None)), known.get("groups")),
    ]
    if operation.kind == "depthwise_conv":
        pairs.pop()
    causes = [
        f"{what} {_told(ours)} where the source has {_told(theirs)}"
        for what, ours, theirs in pairs
        if ours is not None and theirs is not None and _told(ours) != _told(theirs)
    ]
    if not causes and "padding" in known:
        causes = [
            f"padding {_told(getattr(module, 'padding', None))} where the source pads {known['padding']}"
        ]
    size = "another shape" if error == float("inf") else f"off by {error:.1e} of the largest value"
    return f"{name}: differs from {operation.name} on equal input ({'; '.join([*causes, size])})"


def explain_input(name: str, values: Array, number: int, source: SourceRecording, outputs: RunOutputs) -> str:
    """Say what a module takes instead of what the layer takes that it should be."""
    operation = source.operations[number]
    wanted = operation.inputs[0]
    found = (
        _what_it_is(values, source, outputs)
        or _counted_average(values, wanted, source, outputs)
        or _padded_maximum(values, wanted, source, outputs)
    )
    taken = _called(source.operations[wanted])
    told = found or "nothing that the source computes"
    return f"{name}: takes {told}, where {operation.name} takes the output of {taken}"


def _what_it_is(values: Array, source: SourceRecording, outputs: RunOutputs) -> str:
    for number in range(len(source.operations)):
        if number in outputs and outputs[number].size == values.size:
            before = outputs[number]
            if difference(values, before) < EQUAL:
                return f"the output of {_called(source.operations[number])}"
    for number in range(len(source.operations)):
        if number in outputs and outputs[number].size == values.size:
            for activation, function in _ACTIVATIONS.items():
                with np.errstate(over="ignore"):
                    if difference(values, function(outputs[number])) < EQUAL:
                        return f"{activation} of {_called(source.operations[number])}"
    return ""


def _counted_average(values: Array, number: int, source: SourceRecording, outputs: RunOutputs) -> str:
    """Say whether values are the average that PyTorch takes by default, which counts the padding."""
    operation = source.operations[number]
    if operation.kind != "avg_pool" or operation.attributes.get("padding") != "same":
        return ""
    size = operation.attributes["size"]
    images = torch.from_numpy(np.array(outputs[operation.inputs[0]])).permute(0, 3, 1, 2)
    padding = [length // 2 for length in size]
    counted = functional.avg_pool2d(images, size, operation.attributes["strides"], padding)
    if difference(values, counted.permute(0, 2, 3, 1).contiguous().numpy()) < EQUAL:
        return f"an average over {size[0]}x{size[1]} pixels that counts the padding as zeros"
    return ""


def _padded_maximum(values: Array, number: int, source: SourceRecording, outputs: RunOutputs) -> str:
    """Say whether values are the maximum without the zeros that the source pads with first."""
    operation = source.operations[number]
    before = source.operations[operation.inputs[0]] if operation.inputs else operation
    if operation.kind != "max_pool" or before.kind != "pad":
        return ""
    images = torch.from_numpy(np.array(outputs[before.inputs[0]])).permute(0, 3, 1, 2)
    rows, columns = before.attributes["amounts"]
    padded = functional.pad(images, (*columns, *rows), value=float("-inf"))
    size = operation.attributes["size"]
    most = functional.max_pool2d(padded, size, operation.attributes["strides"])
    if difference(values, most.permute(0, 2, 3, 1).contiguous().numpy()) < EQUAL:
        return "a maximum that leaves the padding out, which the source fills with zeros"
    return ""


def _called(operation: SourceOperation) -> str:
    return f"{operation.name} ({operation.kind})"


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        numbers = sorted(set(value))
        return str(numbers[0]) if len(numbers) == 1 else "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
