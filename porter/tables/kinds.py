"""What each kind of layer stores, under which names and in which axis order, on both sides."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from porter.core.layouts import parse_layout
from porter.errors import TableError


class Leaf(NamedTuple):
    """One variable of a layer.

    Attributes:
        source: Attribute name in TensorFlow's object graph, e.g. ``"depthwise_kernel"``.
        target: Attribute name in the PyTorch module, e.g. ``"weight"``.
        layout: Axis order pattern from source to target.
        axes: Indices into the rule's shape that give this leaf's source shape, several for the product of
            those lengths; None for all of them.
        is_variance: True if a negative value is a fault.
    """

    source: str
    target: str
    layout: str
    axes: tuple[int | tuple[int, ...], ...] | None = None
    is_variance: bool = False


class Kind(NamedTuple):
    """A kind of layer.

    Attributes:
        name: As written in a table.
        leaves: The variables it always has.
        bias: The variable it has if the rule says ``bias = true``, or None.
        rank: How many lengths the rule's shape must give, in TensorFlow's order.
        counter: True if PyTorch keeps an int64 ``num_batches_tracked`` that TensorFlow has not.
    """

    name: str
    leaves: tuple[Leaf, ...]
    rank: int
    bias: Leaf | None = None
    counter: bool = False


_STATISTICS = (
    Leaf("gamma", "weight", "c -> c"),
    Leaf("beta", "bias", "c -> c"),
    Leaf("moving_mean", "running_mean", "c -> c"),
    Leaf("moving_variance", "running_var", "c -> c", is_variance=True),
)

# Axis orders: tf.nn.conv2d (HWIO), tf.nn.depthwise_conv2d (HWCM, output channel c*M + m),
# tf.keras.layers.Dense (IO); torch.nn.Conv2d (OIHW, groups lead), torch.nn.Linear (OI).
KINDS = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind(
                "conv2d",
                (Leaf("kernel", "weight", "h w i o -> o i h w"),),
                rank=4,
                bias=Leaf("bias", "bias", "o -> o", axes=(3,)),
            ),
            Kind(
                "depthwise_conv2d",
                (Leaf("depthwise_kernel", "weight", "h w c m -> (c m) 1 h w"),),
                rank=4,
                bias=Leaf("bias", "bias", "c -> c", axes=((2, 3),)),
            ),
            # Both are the gradient of a convolution: TensorFlow has the channels that it gives before those
            # that it takes, PyTorch the reverse.
            Kind(
                "conv2d_transpose",
                (Leaf("kernel", "weight", "h w o i -> i o h w"),),
                rank=4,
                bias=Leaf("bias", "bias", "o -> o", axes=(2,)),
            ),
            Kind(
                "dense",
                (Leaf("kernel", "weight", "i o -> o i"),),
                rank=2,
                bias=Leaf("bias", "bias", "o -> o", axes=(1,)),
            ),
            # The same function under another layer on the other side: a 1x1 convolution of one pixel.
            Kind(
                "conv2d_as_linear",
                (Leaf("kernel", "weight", "1 1 i o -> o i"),),
                rank=4,
                bias=Leaf("bias", "bias", "o -> o", axes=(3,)),
            ),
            Kind(
                "dense_as_conv2d",
                (Leaf("kernel", "weight", "i o -> o i 1 1"),),
                rank=2,
                bias=Leaf("bias", "bias", "o -> o", axes=(1,)),
            ),
            Kind("batch_norm", _STATISTICS, rank=1, counter=True),
            Kind("layer_norm", _STATISTICS[:2], rank=1),
            Kind("group_norm", _STATISTICS[:2], rank=1),
        )
    }
)


def kind_named(name: str, layout: str | None) -> Kind:
    """Return the kind called `name`; ``"tensor"`` is one bare variable with the layout given.

    Raises:
        TableError: there is no such kind, or `layout` is missing or out of place.
    """
    if name == "tensor":
        if layout is None:
            raise TableError("table/layout", 'kind "tensor" needs a layout', hint='For a copy: "c -> c".')
        return Kind("tensor", (Leaf("", "", layout),), rank=len(parse_layout(layout).source))
    if layout is not None:
        raise TableError("table/layout", f'kind "{name}" has its own layout', hint='Use kind "tensor".')
    if name not in KINDS:
        raise TableError("table/kind", f"unknown kind {name!r}", expected=f"one of {[*KINDS, 'tensor']}")
    return KINDS[name]
