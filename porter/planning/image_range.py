"""Which images the first weights of a network are made for: pixels, or images scaled by a mean and a std.

A converter multiplies a scaling in front of a network into its first convolution, whose weights are 255
times smaller then, and people train on pixels; nothing else in a file says so. Whatever images a network was
trained on, the norm behind its first convolution divides what that gave for them by its standard deviation.
Of two kinds of images, those for which the quotient is of the order of 1 are the network's; if the norm has
become a part of the convolution, that gives the quotient itself.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from porter.core.checkpoint import Array, Checkpoint
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
_KERNEL_AXES = 4


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
    kernel = checkpoint.read(network.operations[place].variables["kernel"]).astype(np.float64)
    if kernel.ndim != _KERNEL_AXES or kernel.shape[2] != len(images.std):
        return None
    deviations = _deviations(checkpoint, network, place)
    if deviations is None:
        return None
    pixels = _answer(kernel, deviations) * _WHITE
    return _nearer(pixels, pixels / (_WHITE * float(np.mean(images.std))))


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
    variances = np.einsum("io,ij,jo->o", flat, alike, flat) / deviations**2
    return float(np.sqrt(np.mean(variances)))


def _deviations(checkpoint: Checkpoint, network: StoredNetwork, place: int) -> Array | None:
    """Return what the norm behind a convolution divides by: 1 if it is part of it, None if there is none.

    A layer norm, as ConvNeXt has there, takes answers of any size.
    """
    behind = [operation for operation in network.operations if operation.inputs == (place,)]
    if len(behind) == 1 and "moving_variance" in behind[0].variables:
        variances = checkpoint.read(behind[0].variables["moving_variance"]).astype(np.float64).ravel()
        return np.sqrt(np.maximum(variances, np.finfo(np.float32).tiny))
    is_folded = "bias" in network.operations[place].variables and bool(behind)
    return np.ones(1) if is_folded and all(each.kind in ACTIVATIONS for each in behind) else None
