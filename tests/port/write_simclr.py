"""Write a ResNet as SimCLR trains it, with TensorFlow 1; a process of its own, run by the tests.

Usage: python write_simclr.py FOLDER

Layers have no names of their own and are counted; the scopes are base_model, head_contrastive and
head_supervised. Written are FOLDER/finetuned (a checkpoint with both heads, momenta and a step),
FOLDER/pretrained (one without a classifier), FOLDER/hub (a SavedModel of the classifier),
FOLDER/projected (one whose classifier takes what the projection head's first layer makes) and
FOLDER/reference.npz: ``x`` (2, 64, 64, 3), the logits ``y`` and ``projected``, and ``features``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}

import numpy as np
import tensorflow as tf
from tf_keras.src.legacy_tf_layers import convolutional, core, normalization

V1 = tf.compat.v1
RNG = np.random.default_rng(11)
CLASSES = 7
BLOCKS = (3, 4, 6, 3)


def conv(x, filters, kernel, stride):
    """Convolve; what strides is padded by its kernel, whatever the size."""
    if stride > 1:
        around = (kernel - 1) // 2
        x = tf.pad(x, [[0, 0], [around, kernel - 1 - around], [around, kernel - 1 - around], [0, 0]])
    padding = "SAME" if stride == 1 else "VALID"
    return convolutional.conv2d(x, filters, kernel, stride, padding=padding, use_bias=False)


def norm(x, *, relu=True, center=True):
    """Normalise as at inference, and activate."""
    x = normalization.batch_normalization(
        x, epsilon=1e-5, center=center, training=False, fused=x.shape.ndims == 4
    )
    return tf.nn.relu(x) if relu else x


def bottleneck(x, filters, stride, *, is_first):
    """Make the shortcut first, then the three convolutions."""
    shortcut = norm(conv(x, 4 * filters, 1, stride), relu=False) if is_first else x
    x = norm(conv(x, filters, 1, 1))
    x = norm(conv(x, filters, 3, stride))
    return tf.nn.relu(norm(conv(x, 4 * filters, 1, 1), relu=False) + shortcut)


def features_of(x):
    """Return the pooled features."""
    with V1.variable_scope("base_model"):
        x = norm(conv(x, 64, 7, 2))
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        for group, count in enumerate(BLOCKS):
            for place in range(count):
                stride = 2 if group and not place else 1
                x = bottleneck(x, 64 * 2**group, stride, is_first=not place)
        return tf.reduce_mean(x, [1, 2])


def projected(x):
    """Project, for the contrastive loss; return what the first layer makes of it too."""
    found = []
    with V1.variable_scope("head_contrastive"):
        for number, (width, is_last) in enumerate(((2048, False), (2048, False), (128, True))):
            with V1.variable_scope(f"nl_{number}"):
                x = norm(core.dense(x, width, use_bias=False), relu=not is_last, center=not is_last)
                found.append(x)
    return found[0], found[-1]


def classified(x):
    """Return logits."""
    with V1.variable_scope("head_supervised"), V1.variable_scope("linear_layer", reuse=V1.AUTO_REUSE):
        return core.dense(x, CLASSES)


def values(variable):
    """Return values that differ everywhere, and keep signals of one size."""
    name, shape = variable.op.name.rpartition("/")[2], variable.shape.as_list()
    if name == "kernel":
        return RNG.normal(0, (2.0 / np.prod(shape[:-1])) ** 0.5, shape)
    if name in ("gamma", "moving_variance"):
        return RNG.uniform(0.6, 1.4, shape)
    return RNG.normal(0, 0.1, shape)


def main(folder):
    """Train one step, and write."""
    with tf.Graph().as_default(), V1.Session() as session:
        step = V1.train.get_or_create_global_step()
        images = V1.placeholder(tf.float32, (None, None, None, 3))
        features = features_of(images)
        first, projection = projected(features)
        logits, behind = classified(features), classified(first)
        loss = tf.reduce_mean(logits**2) + tf.reduce_mean(projection**2)
        V1.train.MomentumOptimizer(1e-3, 0.9).minimize(loss, global_step=step)
        session.run(V1.global_variables_initializer())
        for each in V1.global_variables():
            if "Momentum" not in each.op.name and each is not step:
                each.load(values(each).astype(np.float32), session)
        V1.train.Saver().save(session, str(folder / "finetuned" / "model.ckpt"), global_step=step)
        without = [each for each in V1.global_variables() if "head_supervised" not in each.op.name]
        V1.train.Saver(without).save(session, str(folder / "pretrained" / "model.ckpt"), global_step=step)
        for name, found in (("hub", logits), ("projected", behind)):
            V1.saved_model.simple_save(session, str(folder / name), {"images": images}, {"logits_sup": found})
        x = RNG.uniform(size=(2, 64, 64, 3)).astype(np.float32)
        found = session.run({"y": logits, "features": features, "projected": behind}, {images: x})
        np.savez(folder / "reference.npz", x=x, **found)


if __name__ == "__main__":
    for name in ("finetuned", "pretrained"):
        (Path(sys.argv[1]) / name).mkdir()
    main(Path(sys.argv[1]))
