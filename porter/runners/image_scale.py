"""What a file's own network does to images before its first weights, and how to undo it.

Both networks of a check are given one normalised image, and the file's own network may expect pixels. What
its preparing layers do is measured in float64 rather than read, so that it can be undone to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from porter.core.checkpoint import Array
from porter.planning.plan import Plan

_WHITE = 255.0
_EXACT, _CLOSE = 1e-12, 1e-5


class ImageScale(NamedTuple):
    """How normalised images become what the network is fed.

    Attributes:
        tensor: Where they are fed.
        factor: Of the network's own preparation, per channel; what it adds is `offset`.
        offset: Likewise.
        note: What a reader should know, or "".
    """

    tensor: str
    factor: Array = np.ones(1)
    offset: Array = np.zeros(1)
    note: str = ""

    def undo(self, normalised: Array) -> Array:
        """Return the images (N, H, W, C) that the network's own layers turn into `normalised`."""
        wide = (normalised.astype(np.float64) - self.offset) / self.factor
        return wide.astype(normalised.dtype)


def measured_scale(
    prepare: Callable[[Array], Array], source: str, image: str, shape: tuple[int, ...]
) -> ImageScale:
    """Measure what a network does to images between two tensors.

    Args:
        prepare: Computes the second tensor of images (N, H, W, C), float64.
        source: The tensor that holds images.
        image: The tensor that reaches the first weights.
        shape: Shape of the images.
    """
    black, white = prepare(np.zeros(shape)), prepare(np.full(shape, _WHITE))
    probe = np.random.default_rng(0).uniform(0, _WHITE, shape)
    direct = ImageScale(image, note="the images are fed behind the file's own preparation, which is no scale")
    if black.shape != shape:
        return direct
    offset, factor = black[0, 0, 0], (white[0, 0, 0] - black[0, 0, 0]) / _WHITE
    expected = probe * factor + offset
    if not factor.all() or np.abs(prepare(probe) - expected).max() > _EXACT * np.abs(expected).max():
        return direct
    return ImageScale(source, factor, offset)


def scale_note(scale: ImageScale, port_plan: Plan) -> str:
    """Return what a reader should know of how the file's network takes images, given the plan; or ""."""
    return scale.note or _contradiction(scale.factor, scale.offset, port_plan)


def _contradiction(factor: Array, offset: Array, port_plan: Plan) -> str:
    """Return what is to be said where the network scales images otherwise than the plan says."""
    order = -1 if port_plan.channel_order == "bgr" else 1
    mean, std = (
        np.asarray(values)[::order] for values in (port_plan.input_spec.mean, port_plan.input_spec.std)
    )
    wanted = 1 / (std * _WHITE)
    if (factor == 1).all() and not offset.any():
        return ""  # it takes prepared images, and does not say how
    same = np.allclose(offset, -mean / std, rtol=_CLOSE, atol=_CLOSE)
    if same and any(np.allclose(factor, wanted * unit, rtol=_CLOSE, atol=0) for unit in (1.0, _WHITE)):
        return ""
    found = f"mean {np.round(-offset / factor / _WHITE, 4)}, std {np.round(1 / factor / _WHITE, 4)}"
    return (
        f"the file's network scales its images with {found}, the port's metadata says mean "
        f"{port_plan.input_spec.mean}, std {port_plan.input_spec.std}"
    )
