"""What a source says of the images that its network takes: their size, and the layers that prepare them."""

from __future__ import annotations

from typing import NamedTuple


class Rescaling(NamedTuple):
    """Keras's Rescaling layer: x * scale + offset.

    Attributes:
        layer: Its name.
        scale: One number, or one for each channel.
        offset: Likewise.
    """

    layer: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]


class Normalization(NamedTuple):
    """Keras's Normalization layer: (x - mean) / max(sqrt(variance), 1e-7).

    Attributes:
        layer: Its name.
        mean: One number for each channel, or the key of the variable that holds them.
        variance: Likewise.
        keys: Every variable of the layer.
    """

    layer: str
    mean: tuple[float, ...] | str
    variance: tuple[float, ...] | str
    keys: tuple[str, ...] = ()


class ChannelReversal(NamedTuple):
    """The order of the three colours turned round, as ``x[..., ::-1]`` does.

    Attributes:
        layer: The layer's name.
    """

    layer: str


PreparingStep = Rescaling | Normalization | ChannelReversal


class StoredInput(NamedTuple):
    """What stands in front of the first layer that has weights; nothing if the source does not tell.

    Attributes:
        size: Height and width of the images that reach the network, or None.
        size_source: Where the size comes from, in words.
        steps: Layers that scale the values or turn the colours round, in order.
        unread: Layers that may change the images in a way that is not read, as ``"name (class)"``.
    """

    size: tuple[int, int] | None = None
    size_source: str = ""
    steps: tuple[PreparingStep, ...] = ()
    unread: tuple[str, ...] = ()


NOTHING_STORED = StoredInput()
