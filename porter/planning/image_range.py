"""Which images the first weights of a network are made for: pixels, or images scaled by a mean and a std.

A converter multiplies a scaling in front of a network into its first convolution, whose weights are 255
times smaller then, and people train on pixels; nothing else in a file says so. Whatever images a network was
trained on, the norm behind its first convolution divides what that gave for them by its standard deviation.
Of two kinds of images, those for which the quotient is of the order of 1 are the network's; if the norm has
become a part of the convolution, that gives the quotient itself.
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

from porter.core.checkpoint import Array, Checkpoint, TensorSpec
from porter.core.stored_network import StoredNetwork
from porter.planning.network.layer_pairing import ACTIVATIONS
from porter.tables.table_records import InputSpec
from porter.tables.variants import Variant

# Photographs: standard deviation of a value in 0..1, correlation of neighbours and of a pixel's colours.
# Rough, as the decision may be: it is between answers that differ 57 to 255 times.
_DEVIATION, _NEIGHBOUR, _COLOUR = 0.27, 0.95, 0.9
_WHITE = 255.0
_FAR_APART = 16.0  # the least factor between two answers of which one can be told
_CLEARLY = 4.0  # how much nearer to 1 the right one is
_KERNEL_AXES, _LARGEST = 4, 1024  # of height, width and channels; AlexNet's is 363


class ImageRange(Enum):
    """What the first weights of a network are made for."""

    PIXELS = "pixels in 0..255"
    SCALED = "images scaled by the table's mean and std"


def image_range(checkpoint: Checkpoint, variant: Variant, images: InputSpec) -> ImageRange | None:
    """Tell from the first convolution which images a network takes, if nothing stands in front of it.

    Args:
        checkpoint: A source that carries its network; for others the answer is None.
        variant: The network; without batch norms, as a vision transformer is, it does not tell.
        images: The mean and std that are expected.

    Returns:
        None if the source has no such convolution, or its weights do not tell.
    """
    network = checkpoint.stored_network
    if network is None or all(entry.kind != "batch_norm" for entry in variant.entries):
        return None
    place = next((n for n, o in enumerate(network.operations) if "kernel" in o.variables), None)
    if place is None or network.operations[place].kind != "conv":
        return None
    key = network.operations[place].variables["kernel"]
    if not _is_stem(checkpoint.specs.get(key), len(images.std)):
        return None
    deviations = _deviations(checkpoint, network, place)
    if deviations is None:
        return None
    pixels = _answer(checkpoint.read(key).astype(np.float64), deviations) * _WHITE
    return _nearer(pixels, pixels / (_WHITE * float(np.mean(images.std))))


def _is_stem(kernel: TensorSpec | None, channels: int) -> bool:
    """Whether a kernel is one that takes images, and small enough for a first convolution."""
    if kernel is None or not kernel.dtype.is_float or len(kernel.shape) != _KERNEL_AXES:
        return False
    return kernel.shape[2] == channels and math.prod(kernel.shape[:3]) <= _LARGEST


def _nearer(pixels: float, scaled: float) -> ImageRange | None:
    """Return which of two answers, to pixels and to scaled images, is clearly of the order of 1."""
    if not (scaled > 0 and np.isfinite(pixels)) or pixels / scaled < _FAR_APART:
        return None
    far, near = abs(np.log(pixels)), abs(np.log(scaled))
    if abs(far - near) < np.log(_CLEARLY):
        return None
    return ImageRange.PIXELS if far < near else ImageRange.SCALED


def _answer(kernel: Array, deviations: Array) -> float:
    """Return the standard deviation of what a kernel (H, W, I, O) gives for photographs in 0..1."""
    height, width, channels, _ = kernel.shape
    rows, columns = (each.ravel() for each in np.mgrid[:height, :width])
    distance = np.hypot(rows[:, None] - rows, columns[:, None] - columns)
    colours = np.full((channels, channels), _COLOUR) + (1 - _COLOUR) * np.eye(channels)
    alike = np.kron(_NEIGHBOUR**distance, colours) * _DEVIATION**2
    flat = kernel.reshape(-1, kernel.shape[-1])
    with np.errstate(all="ignore"):  # a damaged file holds anything
        variances = (flat * (alike @ flat)).sum(0) / deviations**2
        return float(np.sqrt(np.mean(variances)))


def _deviations(checkpoint: Checkpoint, network: StoredNetwork, place: int) -> Array | None:
    """Return what the norm behind a convolution divides by: 1 if it is part of it, None if there is none.

    A layer norm, as ConvNeXt has there, takes answers of any size.
    """
    behind = [operation for operation in network.operations if operation.inputs == (place,)]
    if len(behind) == 1 and (key := behind[0].variables.get("moving_variance")) is not None:
        channels = checkpoint.specs[network.operations[place].variables["kernel"]].shape[-1]
        stored = checkpoint.specs.get(key)
        if stored is None or not stored.dtype.is_float or stored.shape != (channels,):
            return None
        return np.sqrt(np.maximum(checkpoint.read(key).astype(np.float64), np.finfo(np.float32).tiny))
    is_folded = "bias" in network.operations[place].variables and bool(behind)
    return np.ones(1) if is_folded and all(each.kind in ACTIVATIONS for each in behind) else None
