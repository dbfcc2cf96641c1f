"""What a mapping table says of lengths, norms, images, constants and its own proof."""

from __future__ import annotations

from typing import NamedTuple

Dim = int | str


class FreeLength(NamedTuple):
    """A length that the checkpoint decides, and the target argument that takes it."""

    name: str
    argument: str
    default: int


class BatchNormEpsilon(NamedTuple):
    """What batch normalisation adds to the variance, if the source does not say it.

    Attributes:
        argument: Target argument that takes it.
        default: Used unless the person says otherwise.
        source: Where the default comes from.
        note: What a person should know before trusting the default, or "".
    """

    argument: str
    default: float
    source: str
    note: str


class InputSpec(NamedTuple):
    """The images that the network was trained on, as the source's own code prepares them.

    Attributes:
        size: Height and width in pixels of the training configuration.
        square: True if TensorFlow's network takes square inputs only.
        mean: Per-channel mean of pixels in 0..1, RGB.
        std: Per-channel standard deviation, likewise.
        crop_pct: Side of the centre crop over the shorter side of the image.
        interpolation: How the crop is resized.
        check_sizes: Sizes of the parity check: even, odd and mixed, because SAME padding is symmetric
            at odd sizes and a fault there is invisible.
        channel_order: ``"rgb"`` or ``"bgr"``: the order of the input's channels.
        normalization: Object path below the first part of a Keras Normalization layer, whose stored mean and
            variance count if a checkpoint has them; "" if the network has none.
    """

    size: int
    square: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    check_sizes: tuple[int, ...] = (224, 225, 200)
    channel_order: str = "rgb"
    normalization: str = ""


class Preset(NamedTuple):
    """How some weights of a network take their images, if nothing in a checkpoint tells which.

    Attributes:
        mean: Per-channel mean of pixels in 0..1, RGB.
        std: Per-channel standard deviation, likewise.
        when: Which weights those are, in words: ``"were trained with AdvProp"``.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    when: str


class Constant(NamedTuple):
    """A parameter of PyTorch's that TensorFlow's layer does without, and the value that it stands for.

    Attributes:
        part: The part of the network it belongs to.
        target: Name in the PyTorch state dict.
        shape: Its shape; a name stands for a length that the checkpoint decides.
        value: Of every element: 1 for a scale, 0 for an offset.
    """

    part: str
    target: str
    shape: tuple[Dim, ...]
    value: float


class Proof(NamedTuple):
    """What a table says of how it was proved.

    Attributes:
        status: ``"proved"`` or ``"draft"``.
        sizes: Images that both sides were run on, ``"224x224"``.
        seeds: Of random weights, besides the source's own.
        worst: Worst relative difference of a layer's output in float64.
        ran: The packages that ran both sides, with versions.
        open: What is not settled, in words.
    """

    status: str
    sizes: tuple[str, ...]
    seeds: tuple[int, ...]
    worst: float
    ran: str
    open: tuple[str, ...]
