"""Write YAMNet as research/audioset/yamnet builds it; a process of its own, run by the tests.

Usage: python write_yamnet.py FOLDER

The model takes a waveform, and makes the spectrogram of it with TensorFlow's own operations. Its norms have
no gamma, and layers are called "layer1/conv". Written are FOLDER/weights.h5 (as published), FOLDER/full.h5
and FOLDER/saved (a SavedModel) of the network on its patches, FOLDER/waveform (a SavedModel that takes the
waveform), and FOLDER/reference.npz: ``x`` (2, 96, 64) and ``y``, the scores.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras import layers

RNG = np.random.default_rng(7)
CLASSES = 521
FRAMES, BANDS = 96, 64
# Filters and stride of each layer behind the first.
LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def normalised(x, name, scope):
    """Normalise without gamma, and activate."""
    x = layers.BatchNormalization(name=f"{name}/bn", scale=False, epsilon=1e-4)(x)
    return layers.ReLU(name=f"{scope}/relu")(x)


def yamnet(patches):
    """Return scores, embeddings and logits of patches (N, 96, 64)."""
    x = layers.Reshape((FRAMES, BANDS, 1), input_shape=(FRAMES, BANDS))(patches)
    conv = {"padding": "same", "use_bias": False}
    x = layers.Conv2D(32, 3, 2, name="layer1/conv", **conv)(x)
    x = normalised(x, "layer1/conv", "layer1")
    for number, (filters, stride) in enumerate(LAYERS, 2):
        name = f"layer{number}/depthwise_conv"
        x = normalised(layers.DepthwiseConv2D(3, stride, name=name, **conv)(x), name, name)
        name = f"layer{number}/pointwise_conv"
        x = normalised(layers.Conv2D(filters, 1, name=name, **conv)(x), name, name)
    embeddings = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(CLASSES)(embeddings)
    return layers.Activation("sigmoid")(logits), embeddings, logits


def frames_model():
    """Return the model of a waveform."""
    waveform = layers.Input(batch_shape=(None,), dtype=tf.float32)
    spectrum = tf.abs(tf.signal.stft(waveform, 400, 160, 512))
    mel = tf.matmul(spectrum, tf.signal.linear_to_mel_weight_matrix(BANDS, 257, 16000, 125.0, 7500.0))
    log_mel = tf.math.log(mel + 0.001)
    patches = tf.signal.frame(log_mel, FRAMES, FRAMES // 2, axis=0)
    predictions, embeddings, logits = yamnet(patches)
    outputs = {
        "predictions": predictions,
        "embeddings": embeddings,
        "log_mel_spectrogram": log_mel,
        "logits": logits,
    }
    return tf_keras.Model(waveform, outputs, name="yamnet_frames")


def main(folder):
    """Write the models; with values that differ everywhere."""
    model = frames_model()
    for each in model.weights:
        name = each.name.rpartition("/")[2]
        if "variance" in name:
            each.assign(RNG.uniform(0.6, 1.4, each.shape))
        elif "kernel" in name:
            fan_in = np.prod(each.shape[:-1] if "depthwise" not in name else each.shape[:2])
            each.assign(RNG.normal(0, (2.2 / fan_in) ** 0.5, each.shape))
        else:
            each.assign(RNG.normal(0, 0.1, each.shape))
    patches = layers.Input((FRAMES, BANDS))
    on_patches = tf_keras.Model(patches, yamnet(patches)[0])
    on_patches.set_weights(model.get_weights())
    x = RNG.normal(size=(2, FRAMES, BANDS)).astype(np.float32)
    np.savez(folder / "reference.npz", x=x, y=on_patches(x).numpy())
    model.save_weights(folder / "weights.h5")
    on_patches.save(folder / "full.h5")
    on_patches.save(folder / "saved", save_format="tf")
    tf.saved_model.save(model, str(folder / "waveform"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
