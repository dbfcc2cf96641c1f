"""`nn.MultiheadAttention` as the layers that it is made of, which it computes without calling them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import nn

PREFIX = "in_proj_"


class InProjection(nn.Linear):
    """The layer that gives query, key and value of an attention, whose parameters the attention owns.

    Args:
        attention: The attention; `is_joined` holds for it.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = attention.embed_dim, 3 * attention.embed_dim
        self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias

    @property
    def weight(self) -> nn.Parameter:  # type: ignore[override]
        """Weights, (3 x width, width)."""
        return self.in_proj_weight

    @property
    def bias(self) -> nn.Parameter | None:  # type: ignore[override]
        """Biases, (3 x width,), if there are any."""
        return self.in_proj_bias


def is_joined(module: nn.Module) -> TypeGuard[nn.MultiheadAttention]:
    """Whether a module is an attention with query, key and value in one matrix and nothing added to them."""
    return (
        isinstance(module, nn.MultiheadAttention)
        and module.in_proj_weight is not None
        and module.bias_k is None
        and not module.add_zero_attn
    )


def is_inside(module: nn.Module) -> bool:
    """Whether a module is a part of an attention that the attention computes without calling it."""
    return isinstance(module, InProjection | nn.modules.linear.NonDynamicallyQuantizableLinear)


def attend(
    attention: nn.MultiheadAttention,
    projection: InProjection,
    given: tuple[Sequence[Any], Mapping[str, Any]],
    call: Callable[..., Any],
) -> Any:
    """Call an attention of a sequence to itself layer by layer, any other as it is.

    Args:
        attention: The attention.
        projection: Its first layer.
        given: The arguments that it is called with, and those by name.
        call: Calls a module that is not looked into.

    Returns:
        What the attention returns: its output, and the weights averaged over the heads or None.
    """
    arguments, named = given
    query, key, value, *others = [
        *arguments,
        *(named[name] for name in ("query", "key", "value") if name in named),
    ]
    masked = any(
        isinstance(each, torch.Tensor)
        for each in (*others, named.get("attn_mask"), named.get("key_padding_mask"))
    )
    if query is not key or key is not value or masked or query.dim() != 3:
        return call(attention, *arguments, **named)
    x = query if attention.batch_first else query.transpose(0, 1)
    count, length, width = x.shape
    heads = projection(x).reshape(count, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    scores = heads[0] @ heads[1].transpose(-2, -1) * (width // attention.num_heads) ** -0.5
    weights = scores.softmax(-1)
    output = attention.out_proj((weights @ heads[2]).transpose(1, 2).reshape(count, length, width))
    return output if attention.batch_first else output.transpose(0, 1), weights.mean(1)
