"""Every choice that a person has about a port, checked in one place."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from porter.errors import PlanError

Weights = Literal["auto", "raw", "ema"]
Classes = Literal["all", "drop-background"]
ChannelOrder = Literal["rgb"]
OutputType = Literal["float64", "float32", "float16", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortOptions:
    """What is chosen about a port; the same record serves planning, writing, checking and the command.

    >>> PortOptions(weights="raw", dtype="float16").weights
    'raw'

    Attributes:
        variant: The network, if names and shapes alone do not decide.
        weights: ``"auto"`` reads the moving average of every variable that has one, ``"ema"`` requires that
            there is one, ``"raw"`` ignores them.
        bn_eps: The batch normalisation epsilon of the training; what the source stores, or else the table's
            default, if None.
        dtype: Type of the floating-point tensors that are written; as stored if None.
        classes: ``"drop-background"`` leaves out class 0 of 1001.
        channel_order: ``"rgb"`` flips the input channels of the first convolution of a network that takes
            BGR images.
        preset: A named preprocessing of the table, for weights that no checkpoint describes: ``"advprop"``.
        backbone_only: Leave the classifier out, whether a table knows it or it is a custom head.
        input_size: Height and width of images in pixels, for the metadata; the source's or the table's if
            None.
        draft: Port with a table whose proof is not complete.

    Raises:
        PlanError: a value is none of those above.
    """

    variant: str | None = None
    weights: Weights = "auto"
    bn_eps: float | None = None
    dtype: OutputType | None = None
    classes: Classes = "all"
    channel_order: ChannelOrder | None = None
    preset: str | None = None
    backbone_only: bool = False
    input_size: int | None = None
    draft: bool = False

    def __post_init__(self) -> None:
        """Refuse a choice that does not exist."""
        require_known("weights", self.weights, get_args(Weights))
        require_known("classes", self.classes, get_args(Classes))
        require_known("channel_order", self.channel_order, (None, *get_args(ChannelOrder)))
        require_known("dtype", self.dtype, (None, *get_args(OutputType)))
        if self.bn_eps is not None and not (self.bn_eps > 0 and math.isfinite(self.bn_eps)):
            raise PlanError(
                "plan/bn-eps",
                "the batch normalisation epsilon must be positive and finite",
                found=self.bn_eps,
                hint="Give the --bn-eps of the training, or leave it out.",
            )
        if self.input_size is not None and (type(self.input_size) is not int or self.input_size < 1):
            raise PlanError(
                "plan/input-size", "images have a whole number of pixels", found=repr(self.input_size)
            )

    def merged(self, choices: Mapping[str, Any]) -> PortOptions:
        """Return the same options with `choices`, by the names of the attributes, in their place."""
        return replace(self, **choices) if choices else self


def require_known(name: str, chosen: object, known: Collection[object]) -> None:
    """Refuse a choice that does not exist.

    Raises:
        PlanError: `chosen` is none of `known`.
    """
    if chosen not in known:
        raise PlanError(
            "plan/unknown-choice",
            f"{name} has no such value",
            expected=" or ".join(map(repr, known)),
            found=repr(chosen),
        )


DEFAULTS = PortOptions()
