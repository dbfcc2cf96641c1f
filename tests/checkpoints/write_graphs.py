"""Write frozen graphs as TensorFlow's own tools leave them, each with what TensorFlow computes of it.

python write_graphs.py OUT            quantised.pb, optimised.pb and reference.npz
python write_graphs.py OUT GRAPH      answer.npz: what the graph GRAPH answers to images
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf
from tensorflow.python.tools import optimize_for_inference_lib

tf1 = tf.compat.v1
RNG = np.random.default_rng(7)


def quantised(out: Path, reference: dict) -> None:
    """Constants of each width and mode behind Dequantize, as quantize_graph names them."""
    with tf1.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        for mode in ("MIN_FIRST", "MIN_COMBINED"):
            for dtype in (tf.quint8, tf.qint8, tf.qint16, tf.quint16):
                if mode == "MIN_FIRST" and dtype in (tf.qint16, tf.quint16):
                    continue
                values = (RNG.normal(size=(3, 3, 4, 5)) * 0.7 + 0.1).astype(np.float32)
                low, high = float(values.min()), float(values.max())
                words = session.run(tf.quantization.quantize(values, low, high, dtype, mode="MIN_COMBINED"))
                name = f"{mode}/{dtype.name}/weights"
                const = tf1.constant(words[0], dtype, name=f"{name}_{dtype.name}_const")
                ends = [
                    tf1.constant(np.float32(v), name=f"{name}_{dtype.name}_{e}")
                    for e, v in (("min", words[1]), ("max", words[2]))
                ]
                given = tf.raw_ops.Dequantize(
                    input=const, min_range=ends[0], max_range=ends[1], mode=mode, name=name
                )
                reference[name] = session.run(given)
        (out / "quantised.pb").write_bytes(kept(graph, list(reference)).SerializeToString())


def kept(graph, names):
    """Return what the nodes called `names` need of a graph."""
    return tf1.graph_util.extract_sub_graph(graph.as_graph_def(), names)


def optimised(out: Path, reference: dict) -> None:
    """Convolution, fused norm and ReLU6, frozen, then optimize_for_inference: the norm is in the kernel."""
    with tf1.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        images = tf1.placeholder(tf.float32, (None, 8, 8, 3), name="input")
        with tf1.variable_scope("Net/Conv2d_0"):
            kernel = tf1.get_variable("weights", (3, 3, 3, 4))
            with tf1.variable_scope("BatchNorm"):
                norm = [
                    tf1.get_variable(n, (4,)) for n in ("gamma", "beta", "moving_mean", "moving_variance")
                ]
        with tf1.name_scope("Net/Net/Conv2d_0/"):
            found = tf1.nn.conv2d(images, kernel, [1, 1, 1, 1], "SAME", name="Conv2D")
            with tf1.name_scope("BatchNorm"):
                found, *_ = tf1.nn.fused_batch_norm(
                    found, *norm[:2], *norm[2:], epsilon=0.01, is_training=False, name="FusedBatchNorm"
                )
            found = tf1.nn.relu6(found, name="Relu6")
        rate = tf1.constant(0.5, name="rate")
        tf1.multiply(found, rate, name="output")
        session.run(tf1.global_variables_initializer())
        for variable, low in zip(norm, (0.5, -0.3, -0.2, 0.5), strict=True):
            session.run(variable.assign(RNG.uniform(low, low + 1, 4)))
        frozen = tf1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["output"])
        x = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)
        reference["x"], reference["y"] = x, session.run("output:0", {images: x})
    made = optimize_for_inference_lib.optimize_for_inference(
        frozen, ["input"], ["output"], tf.float32.as_datatype_enum
    )
    (out / "optimised.pb").write_bytes(made.SerializeToString())


def answer(out: Path, file: Path) -> None:
    """Run a graph on images of its placeholder's size."""
    definition = tf1.GraphDef.FromString(file.read_bytes())
    with tf1.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        tf1.import_graph_def(definition, name="")
        x = RNG.uniform(-1, 1, (2, 128, 128, 3)).astype(np.float32)
        wanted = "MobilenetV1/Logits/SpatialSqueeze:0"
        np.savez(out / "answer.npz", x=x, y=session.run(wanted, {"input:0": x[:1]}))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        answer(folder, Path(sys.argv[2]))
    else:
        known: dict = {}
        quantised(folder, known)
        optimised(folder, known)
        np.savez(folder / "reference.npz", **{name.replace("/", "|"): value for name, value in known.items()})
