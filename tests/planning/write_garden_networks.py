"""Write SavedModels of the Model Garden: ``python write_garden_networks.py FOLDER``, a process of its own.

FOLDER/<variant> is the network with a signature for pixels; FOLDER/<variant>_<edit> a copy of its description
with one thing changed, beside the same variables; FOLDER/<variant>.pb a frozen network without a signature.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

from porter.runners.builders import build
from porter.tables.shipped import load_tables

FOLDER = Path(sys.argv[1])
VARIANTS = ("mobilenetv4_conv_small", "garden_efficientnet_b0_swish_se", "mobilenetv4_hybrid_medium")
FROZEN = ("mobilenetv4_conv_small", "garden_mobilenetv2_035", "garden_efficientnet_b0")
SIDE = 96


def built(name: str):
    """Build a network."""
    variant = load_tables().variant(name)
    return build(variant.source.name, variant.source.arguments, bn_eps=1e-3, classes=7, channels=3)


def frozen(name: str) -> None:
    """Let TensorFlow make constants of a network's variables."""
    network = built(name)
    call = tf.function(lambda images: network(images, training=False))
    concrete = call.get_concrete_function(tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32))
    (FOLDER / f"{name}.pb").write_bytes(freeze(concrete).graph.as_graph_def().SerializeToString())


def written(name: str) -> Path:
    """Let TensorFlow write a network that takes pixels in 0..255, without the functions of its layers."""
    network = built(name)

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, name="image")])
    def serve(image):
        return {"logits": network((image - 127.5) / 127.5, training=False)}

    network.save(FOLDER / name, save_format="tf", save_traces=False, signatures=serve)
    (FOLDER / name / "keras_metadata.pb").unlink()
    return FOLDER / name


def smaller_epsilon(node) -> None:
    """Give every norm another epsilon."""
    if node.op == "FusedBatchNormV3":
        node.attr["epsilon"].f = 1e-5


def strided(node) -> None:
    """Let the first strided convolution keep the size."""
    if node.op == "Conv2D" and list(node.attr["strides"].list.i) == [1, 2, 2, 1]:
        node.attr["strides"].list.i[:] = [1, 1, 1, 1]


def capped(node) -> None:
    """Cap every activation at 6."""
    if node.op == "Relu":
        node.op = "Relu6"


def maximal(node) -> None:
    """Take the maximum over the image."""
    if node.op == "Mean":
        node.op = "Max"


def turned(node) -> None:
    """Let attention sum over another axis."""
    if node.op == "Einsum" and node.attr["equation"].s == b"bnhk,bmk->bnhm":
        node.attr["equation"].s = b"bnhk,bmh->bnhm"


def edited(source: Path, edit) -> None:
    """Write a copy with an edited graph."""
    target = source.with_name(f"{source.name}_{edit.__name__}")
    shutil.copytree(source, target)
    message = saved_model_pb2.SavedModel.FromString((source / "saved_model.pb").read_bytes())
    graph = message.meta_graphs[0].graph_def
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        edit(node)
    (target / "saved_model.pb").write_bytes(message.SerializeToString())


if __name__ == "__main__":
    conv, _, hybrid = map(written, VARIANTS)
    for change in (smaller_epsilon, strided, capped, maximal):
        edited(conv, change)
    edited(hybrid, turned)
    for each in FROZEN:
        frozen(each)
