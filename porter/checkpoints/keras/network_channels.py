"""Colours turned round in a Keras model: ``x[..., ::-1]``, and Keras 3's stack of single channels.

Source of the spellings: `preprocess_input` of keras.applications in tf_keras 2.20 and Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from porter.checkpoints.keras.config import LayerConfig
from porter.checkpoints.keras.network_calls import Call, LayerOutput

_TURNED = {"start": None, "stop": None, "step": -1}
_REVERSED = (2, 1, 0)


def is_reversal(call: Call) -> bool:
    """Whether a call takes all channels of one tensor in the opposite order."""
    last = _last_axis(call)
    return isinstance(last, Mapping) and last.get("config", last) == _TURNED


def picked_channel(call: Call) -> tuple[LayerOutput, int] | None:
    """Return the tensor and the number of the channel where a call takes a single one; otherwise None."""
    last = _last_axis(call)
    return (call.sources[0], last) if type(last) is int else None


def is_stack_reversed(
    layer: LayerConfig, call: Call, picked: Mapping[str, tuple[LayerOutput, int] | None]
) -> bool:
    """Whether a layer stacks the three channels of one tensor in the opposite order.

    Args:
        layer: One that stacks.
        call: Its call.
        picked: What `picked_channel` says of each layer before it, by name.
    """
    taken = [picked.get(source.layer) for source in call.sources]
    known = [pick for pick in taken if pick is not None]
    axis = layer.values.get("axis", call.named.get("axis"))
    is_last = axis in (-1, 3) and len(known) == len(taken)
    return is_last and tuple(n for _, n in known) == _REVERSED and len({source for source, _ in known}) == 1


def _last_axis(call: Call) -> Any:
    """Return what is taken of the last axis where everything is taken of the others; otherwise None."""
    given = [
        item.get("items") if isinstance(item, Mapping) else item  # a tuple in a SavedModel
        for item in (*call.arguments, *call.named.values())
    ]
    constants = [item for item in given if type(item) is list]
    if len(call.sources) != 1 or len(constants) != 1 or len(constants[0]) != 2:
        return None
    others, last = constants[0]
    is_all = isinstance(others, Mapping) and others.get("class_name") == "__ellipsis__"
    return last if is_all else None
