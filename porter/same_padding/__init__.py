"""TensorFlow's SAME padding for PyTorch: layers, in-place emulation in any model, and a static fold."""

from porter.same_padding.amounts import same_padding
from porter.same_padding.folding import fold_same_padding
from porter.same_padding.modules import AvgPool2dSame, Conv2dSame, MaxPool2dSame
from porter.same_padding.padding_error import SamePaddingError
from porter.same_padding.rewriting import Change, emulate_same_padding, restore_padding

__all__ = [
    "AvgPool2dSame",
    "Change",
    "Conv2dSame",
    "MaxPool2dSame",
    "SamePaddingError",
    "emulate_same_padding",
    "fold_same_padding",
    "restore_padding",
    "same_padding",
]
