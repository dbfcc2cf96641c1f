"""Bilinear resizing of a graph in float64, which TensorFlow's operation computes in float32 alone."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_V1 = tf.compat.v1


def bilinear(node: Any) -> list[Any]:
    """Write a ResizeBilinear out, as products with the weights of its rows and of its columns.

    Args:
        node: The operation's NodeDef.

    Returns:
        Nodes in its place, the last one under its name.
    """
    with tf.Graph().as_default() as graph:
        given = node.attr["T"].type
        is_narrow = tf.as_dtype(given).is_floating
        images = _V1.placeholder(tf.float64 if is_narrow else given, (None,) * 4, name="images")
        size = _V1.placeholder(tf.int32, (2,), name="size")
        settings = node.attr["half_pixel_centers"].b, node.attr["align_corners"].b
        found = tf.cast(images, tf.float64)
        found = tf.einsum("nhwc,oh->nowc", found, _weights(tf.shape(images)[1], size[0], *settings))
        found = tf.einsum("nhwc,ow->nhoc", found, _weights(tf.shape(images)[2], size[1], *settings))
        tf.identity(found, name="resized")
    names = {"images": node.input[0], "size": node.input[1], "resized": node.name}
    nodes = [each for each in graph.as_graph_def().node if each.op != "Placeholder"]
    for each in nodes:
        each.name = names.get(each.name, f"{node.name}/lifted/{each.name}")
        each.input[:] = [_renamed(spelt, names, node.name) for spelt in each.input]
    return nodes


def _weights(length: Any, count: Any, half_pixel_centers: bool, align_corners: bool) -> Any:  # noqa: FBT001
    """Return (count, length): how much of each pixel of one axis is in each of the resized one."""
    before, after = tf.cast(length, tf.float64), tf.cast(count, tf.float64)
    places = tf.cast(tf.range(count), tf.float64)
    if half_pixel_centers:
        places = (places + 0.5) * (before / after) - 0.5
    elif align_corners:
        places *= (before - 1) / tf.maximum(after - 1, 1)
    else:
        places *= before / after
    places = tf.clip_by_value(places, 0, before - 1)
    pixels = tf.cast(tf.range(length), tf.float64)
    return tf.nn.relu(1 - tf.abs(places[:, None] - pixels))


def _renamed(spelt: str, names: dict[str, str], prefix: str) -> str:
    return names.get(spelt.partition(":")[0], f"{prefix}/lifted/{spelt}")
