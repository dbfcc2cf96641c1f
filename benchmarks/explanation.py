"""The plots of docs/why.md: what rounding, image sizes and local errors look like.

Usage: ``python benchmarks/explanation.py``; writes docs/images/{rounding,sizes,local}.svg. Needs matplotlib.
The reference is the PyTorch network without a fault, which equals TensorFlow's (benchmarks/parity.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from fault_injection import EVERYWHERE, Mutant
from faulty_network import FaultyNetwork
from matplotlib import pyplot as plt
from model_edits import attribute, symmetric, together
from timm.layers import Conv2dSame
from torch import nn

from porter.recordings.recording import Recording
from porter.tables.shipped import load_tables

_OUT = Path(__file__).parent.parent / "docs" / "images"
_INK, _LINES = "#7a8490", ("#2f81d6", "#d2691e", "#2e9e57")  # legible on white and on black
_BOUND = 1e-11  # of float64, as the check has it
_LOWEST = 1e-17  # an error of exactly 0 is drawn here


def main() -> None:
    """Draw everything."""
    mpl.rcParams |= {"svg.hashsalt": "porter", "svg.fonttype": "none", "font.size": 9}
    mpl.rcParams |= dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), _INK)
    mpl.rcParams |= dict.fromkeys(("xtick.color", "ytick.color"), _INK)
    _OUT.mkdir(exist_ok=True)
    _rounding()
    _sizes()
    _local()


def _rounding() -> None:
    """Keras's ResNet50: the epsilon of its norms is 1.001e-5, and most networks have 1e-5."""
    network = FaultyNetwork(load_tables().variant("keras_resnet50"), 96)
    norms = [module for module in network.model.modules() if isinstance(module, nn.BatchNorm2d)]
    edits = [partial(attribute, norm, "eps", 1e-5) for norm in norms]
    wrong, _ = network.mutate(_mutant(partial(together, *edits), EVERYWHERE))
    network.model.float()
    narrow = network.forward(0, network.input.float())
    rounded = {name: values.double().numpy() for name, values in narrow.items()}
    sound = {name: values.numpy() for name, values in network.sound.items()}
    lines = {
        "right, in float32: rounding alone": _errors(sound, rounded),
        "epsilon 1e-5 for 1.001e-5, in float64": _errors(sound, _outputs(wrong)),
    }
    _draw("rounding", lines)


def _sizes() -> None:
    """MobileNetV4 with PyTorch's padding in every strided convolution, at an even and at an odd size."""
    lines = {}
    for size in (96, 97):
        network = FaultyNetwork(load_tables().variant("conv_small"), size)
        edits = [
            partial(symmetric, network.model, name)
            for name, module in network.model.named_modules()
            if isinstance(module, Conv2dSame) and module.stride[0] > 1 and module.kernel_size[0] > 1
        ]
        wrong, _ = network.mutate(_mutant(partial(together, *edits), EVERYWHERE))
        sound = {name: values.numpy() for name, values in network.sound.items()}
        lines[f"PyTorch's padding, {size} x {size} pixels"] = _errors(sound, _outputs(wrong))
    _draw("sizes", lines)


def _local() -> None:
    """MobileNetV4 with one norm's epsilon wrong, in the middle."""
    network = FaultyNetwork(load_tables().variant("conv_small"), 96)
    name = "blocks.2.3.pw_exp.bn"
    edit = partial(attribute, network.model.get_submodule(name), "eps", 1e-5)
    wrong, _ = network.mutate(_mutant(edit, name))
    sound = {each: values.numpy() for each, values in network.sound.items()}
    run = wrong.runs[0]
    local = {each: np.asarray(values.channels_first()) for each, values in run.local.items()}
    lines = {
        "propagated: the network's own input": _errors(sound, _outputs(wrong)),
        "local: the reference's input": _errors(sound, local),
    }
    _draw("local", lines)


def _mutant(edit: object, place: str) -> Mutant:
    change: partial[AbstractContextManager[None]] = edit  # type: ignore[assignment]
    return Mutant("", (), place, change)


def _outputs(recording: Recording) -> dict[str, np.ndarray]:
    return {n: np.asarray(values.channels_first()) for n, values in recording.runs[0].stages.items()}


def _errors(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {
        name: max(float(np.abs(values - actual[name]).max() / np.abs(values).max()), _LOWEST)
        for name, values in expected.items()
    }


def _draw(name: str, lines: Mapping[str, Mapping[str, float]]) -> None:
    figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for colour, (label, errors) in zip(_LINES, lines.items(), strict=False):
        axes.semilogy(list(errors), list(errors.values()), "o-", ms=3.5, lw=1.2, color=colour, label=label)
    axes.axhline(_BOUND, ls="--", lw=1.2, color=_INK, label="what float64 is allowed")
    axes.set_ylabel("largest difference over largest value")
    axes.set_ylim(_LOWEST / 3, 30)
    axes.tick_params("x", rotation=60)
    axes.grid(axis="y", color=_INK, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3)
    figure.savefig(_OUT / f"{name}.svg", transparent=True, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
