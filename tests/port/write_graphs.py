"""Write graphs and modules as TensorFlow programs deliver them; a process of its own, run by the tests.

Usage: python write_graphs.py FOLDER

Slim's MobileNetV1 of a quarter's width runs in a TensorFlow 1 graph, with 11 classes. FOLDER gets
frozen.pb: its graph with constants in the place of variables; hub and hub_named: TF1 Hub modules of it, the
latter with the scope that hub.Module puts in front of every name; expected.npz: every variable by name.
<model>.pb: networks of tf_keras, frozen as TensorFlow 2 does it; <model>.npz: their variables in order.
machine.h5 and machine: a Sequential of Sequentials as Teachable Machine writes it, around MobileNetV2.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402  (after the settings above)
import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402
from tensorflow.python.framework.convert_to_constants import (  # noqa: E402
    convert_variables_to_constants_v2 as freeze,
)

V1 = tf.compat.v1
FOLDER = Path(sys.argv[1])
CLASSES = 11
RNG = np.random.default_rng(7)


def variable(name: str, *shape: int, trainable: bool = True):
    """Make a TensorFlow 1 variable of random positive numbers."""
    value = tf.constant(RNG.uniform(0.5, 1.5, shape), tf.float32)
    return V1.get_variable(name, initializer=value, trainable=trainable, use_resource=False)


def normalised(x, width: int):
    """Apply slim's batch normalisation and its activation."""
    with V1.variable_scope("BatchNorm"):
        gamma, beta = variable("gamma", width), variable("beta", width)
        mean, variance = (variable(f"moving_{name}", width, trainable=False) for name in ("mean", "variance"))
    return tf.nn.relu6(V1.nn.fused_batch_norm(x, gamma, beta, mean, variance, 1e-3, is_training=False)[0])


def slim_network(x):
    """Build MobilenetV1 from images (N, 64, 64, 3) to classes."""
    widths = [8, 16, 32, 32, 64, 64, *[128] * 6, 256, 256]
    strides = [2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    with V1.variable_scope("MobilenetV1"):
        for number, (width, stride) in enumerate(zip(widths, strides, strict=True)):
            before = x.shape[-1]
            if number == 0:
                with V1.variable_scope("Conv2d_0"):
                    x = tf.nn.conv2d(x, variable("weights", 3, 3, before, width), stride, "SAME")
                    x = normalised(x, width)
                continue
            with V1.variable_scope(f"Conv2d_{number}_depthwise"):
                kernel = variable("depthwise_weights", 3, 3, before, 1)
                x = tf.nn.depthwise_conv2d(x, kernel, (1, stride, stride, 1), "SAME")
                x = normalised(x, before)
            with V1.variable_scope(f"Conv2d_{number}_pointwise"):
                x = tf.nn.conv2d(x, variable("weights", 1, 1, before, width), 1, "SAME")
                x = normalised(x, width)
        with V1.variable_scope("Logits/Conv2d_1c_1x1"):
            x = tf.reduce_mean(x, (1, 2), keepdims=True)
            x = tf.nn.conv2d(x, variable("weights", 1, 1, 256, CLASSES), 1, "SAME") + variable(
                "biases", CLASSES
            )
    return tf.identity(tf.squeeze(x, (1, 2)), "logits")


def tensorflow_1() -> None:
    """Write frozen.pb, hub, hub_named and expected.npz."""
    for scope, module in (("", "hub"), ("module", "hub_named")):
        global RNG  # noqa: PLW0603 (equal numbers in both graphs)
        RNG = np.random.default_rng(7)
        with tf.Graph().as_default() as graph, V1.Session() as session:
            images = V1.placeholder(tf.float32, (None, 64, 64, 3), "pictures")
            with V1.variable_scope(scope) if scope else V1.variable_scope(V1.get_variable_scope()):
                logits = slim_network(images)
            session.run(V1.global_variables_initializer())
            values = {each.op.name: session.run(each) for each in V1.global_variables()}
            signature = V1.saved_model.predict_signature_def({"images": images}, {"default": logits})
            builder = V1.saved_model.Builder(str(FOLDER / module))
            builder.add_meta_graph_and_variables(session, [], {"default": signature})
            builder.save()
            (FOLDER / module / "tfhub_module.pb").write_bytes(b"\x08\x03")
            if not scope:
                np.savez(FOLDER / "expected.npz", **values)
                frozen = V1.graph_util.convert_variables_to_constants(
                    session, graph.as_graph_def(), [logits.op.name]
                )
                (FOLDER / "frozen.pb").write_bytes(frozen.SerializeToString())


def tensorflow_2() -> None:
    """Write <model>.pb and <model>.npz for a network in a line and one with branches."""
    applications = {"MobileNet": {"alpha": 0.25}, "MobileNetV3Small": {"alpha": 0.75}}
    for name, arguments in applications.items():
        network = getattr(keras.applications, name)(
            input_shape=(64, 64, 3), weights=None, classes=CLASSES, **arguments
        )
        for weight in network.weights:
            weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
        np.savez(FOLDER / f"{name}.npz", *[weight.numpy() for weight in network.weights])
        call = tf.function(lambda x, network=network: network(x, training=False))
        concrete = call.get_concrete_function(tf.TensorSpec((1, 64, 64, 3), tf.float32))
        graph = freeze(concrete).graph.as_graph_def()
        (FOLDER / f"{name}.pb").write_bytes(graph.SerializeToString())


def teachable_machine() -> None:
    """Write machine.h5 and the SavedModel machine: its layers, names and preprocessing of its own."""
    base = keras.applications.MobileNetV2(
        input_shape=(224, 224, 3), alpha=0.35, weights=None, include_top=False
    )
    for weight in base.weights:
        if "kernel" not in weight.name:  # Keras's own kernels keep activations in range
            weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
    first = keras.Sequential([base, keras.layers.GlobalAveragePooling2D()], name="sequential_1")
    second = keras.Sequential(
        [
            keras.layers.Dense(100, activation="relu"),
            keras.layers.Dense(3, use_bias=False, activation="softmax"),
        ],
        name="sequential_3",
    )
    model = keras.Sequential([first, second])
    model.build((None, 224, 224, 3))
    np.savez(FOLDER / "machine.npz", *[weight.numpy() for weight in base.weights])
    model.save(FOLDER / "machine.h5")
    model.save(FOLDER / "machine", save_format="tf", save_traces=False)


if __name__ == "__main__":
    tensorflow_1()
    tensorflow_2()
    teachable_machine()
