"""TensorFlow networks of Hugging Face transformers (4.x, the last that has them)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from porter.runners.builders import BuilderSet, Keras

# Asked for when transformers is imported: with torch in one process with TensorFlow neither is safe.
os.environ["USE_TORCH"] = "0"

from transformers import MobileViTConfig, TFMobileViTForImageClassification
from transformers.models.mobilevit import modeling_tf_mobilevit as mobilevit


class _MobileViT(TFMobileViTForImageClassification):  # type: ignore[misc]  # transformers is not typed for mypy
    """The network with images as TensorFlow has them, (N, H, W, C), and its logits alone."""

    def call(self, images: Keras, training: bool = False) -> Keras:  # noqa: FBT001, FBT002 (Keras's signature)
        return super().call(tf.transpose(images, (0, 3, 1, 2)), training=training).logits


def _mobilevit(arguments: Mapping[str, Any], *, classes: int, channels: int, bn_eps: float | None) -> Keras:
    del bn_eps  # its classes fix 1e-5
    network = _MobileViT(MobileViTConfig(num_labels=classes, num_channels=channels, **arguments))
    network.build()
    if tf_keras.backend.floatx() == "float64":
        for layer in network.submodules:
            if isinstance(layer, mobilevit.TFMobileViTSelfAttention):
                layer.scale = tf.sqrt(tf.cast(layer.attention_head_size, tf.float64))
            elif isinstance(layer, mobilevit.TFMobileViTLayer):
                _resize_in_float64(layer)
    return network


def _resize_in_float64(layer: Keras) -> None:
    """Resize the maps before and after attention as they are meant: tf.image.resize returns float32."""
    unfolding, folding, patch = layer.unfolding, layer.folding, layer.patch_height

    def resized_then_unfolded(features: Keras) -> tuple[Keras, dict[str, Any]]:
        size = features.shape[1:3]
        patches, info = unfolding(_resized(features, [-(-length // patch) * patch for length in size]))
        return patches, info | {"orig_size": size}

    def folded_then_resized(patches: Keras, info: dict[str, Any]) -> Keras:
        return _resized(folding(patches, info), info["orig_size"])

    layer.unfolding, layer.folding = resized_then_unfolded, folded_then_resized


def _resized(features: Keras, size: Any) -> Keras:
    """Return (N, H, W, C) features at `size`, bilinear between centres of pixels as in tf.image.resize."""
    for axis, wanted in zip("hw", size, strict=True):
        if features.shape["nhwc".index(axis)] != wanted:
            weights = _bilinear(features.shape["nhwc".index(axis)], wanted)
            features = tf.einsum(f"nhwc,z{axis}->n{'hwc'.replace(axis, 'z')}", features, weights)
    return features


def _bilinear(old: int, new: int) -> Any:
    """Return the matrix (new, old) that resizes an axis; beyond the outermost centres the edge repeats."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    below = np.floor(centres).astype(int)
    weights = np.zeros((new, old))
    for index, share in ((below, 1 - centres + below), (below + 1, centres - below)):
        np.add.at(weights, (np.arange(new), index.clip(0, old - 1)), share)
    return weights


SOURCE = BuilderSet(
    builders={"mobilevit": _mobilevit},
    packages=("tensorflow", "tf-keras", "transformers", "numpy"),
    notes={
        "mobilevit": "float64 runs divide attention scores by the square root, and resize maps with odd "
        "sides, in float64; transformers rounds both to float32"
    },
)
