"""Write SavedModels and frozen graphs of both generations of Keras; a process of its own, run by the tests.

Usage: python write_graph_networks.py FOLDER

FOLDER gets <model>_2 and <model>_2.keras by tf_keras, <model>_3 and <model>_3.keras by Keras 3.
prepared/<name>, <name>.keras, <name>.pb: Keras 3's models that prepare images, exported, saved, frozen.
convnext_<N>.keras, convnext_<N>, .pb, .tflite: ConvNeXt of tf_keras (2) or Keras 3, saved, exported, frozen
and converted, with weights of which no two are equal.
beside.pb: Keras 3's MobileNetV2, frozen, which returns a map of its middle beside its classes.
edited/<name>: copies of mobilenetv2_2 with one thing changed in every function of the graph.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

FOLDER = Path(sys.argv[1])
MODELS = {
    "mobilenetv2": ("MobileNetV2", {"alpha": 0.35}),
    "mobilenetv3": ("MobileNetV3Small", {}),
    "efficientnet": ("EfficientNetB0", {}),
}


def models() -> None:
    """Write every model as a config and as a graph."""
    for name, (builder, arguments) in MODELS.items():
        for library, number in ((tf_keras, 2), (keras, 3)):
            if name == "efficientnet" and number == 2:  # tracing it takes longer than all the others
                continue
            library.utils.set_random_seed(number)
            model = getattr(library.applications, builder)(
                input_shape=(96, 96, 3), weights=None, classes=10, **arguments
            )
            model.save(FOLDER / f"{name}_{number}.keras")
            if number == 2:
                model.save(FOLDER / f"{name}_{number}", save_format="tf")
            else:
                model.export(FOLDER / f"{name}_{number}", verbose=False)


def convnext() -> None:
    """Write a network whose graph writes out its norms, and whose export lists variables without names."""
    for number, library in ((2, tf_keras), (3, keras)):
        model = library.applications.ConvNeXtTiny(input_shape=(64, 64, 3), weights=None, classes=3)
        numbers = np.random.default_rng(0)
        model.set_weights([numbers.standard_normal(each.shape, "float32") for each in model.weights])
        stem = FOLDER / f"convnext_{number}"
        model.save(f"{stem}.keras")
        model.export(stem, **({"verbose": False} if library is keras else {}))
        call = tf.function(model).get_concrete_function(tf.TensorSpec((1, 64, 64, 3)))
        frozen = freeze(call)
        Path(f"{stem}.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
        # Of frozen weights the converter makes layer scales part of the layers in front of them.
        lite = tf.lite.TFLiteConverter
        converter = (
            lite.from_saved_model(str(stem)) if number == 2 else lite.from_concrete_functions([frozen])
        )
        Path(f"{stem}.tflite").write_bytes(converter.convert())


def beside() -> None:
    """Write a network that returns more than its end."""
    whole = keras.applications.MobileNetV2(input_shape=(32, 32, 3), weights=None, classes=3, alpha=0.35)
    model = keras.Model(whole.input, [whole.get_layer("block_5_add").output, whole.output])
    call = tf.function(lambda images: model(images, training=False))
    graph = freeze(call.get_concrete_function(tf.TensorSpec((1, 32, 32, 3)))).graph.as_graph_def()
    (FOLDER / "beside.pb").write_bytes(graph.SerializeToString())


def mobilenet():
    """Return a small network without a head."""
    return keras.applications.MobileNet(input_shape=(32, 32, 3), weights=None, include_top=False, alpha=0.25)


def headed(images, features):
    """Return a model with a classifier."""
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(images, keras.layers.Dense(5, activation="softmax")(pooled))


def caffe():
    """Turn colours round by a stack, as ResNet's preprocess_input does in a graph of Keras 3."""
    images = keras.Input((32, 32, 3), dtype="uint8")
    prepared = keras.applications.resnet50.preprocess_input(keras.ops.cast(images, "float32"))
    network = keras.applications.ResNet50(input_shape=(32, 32, 3), weights=None, include_top=False)
    return headed(images, network(prepared))


def normalised():
    """Have measured statistics in front, which a frozen graph has as constants."""
    layer = keras.layers.Normalization(axis=-1)
    layer.adapt(np.random.default_rng(0).uniform(0, 255, (8, 4, 4, 3)).astype("float32"))
    network = mobilenet()
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layer,
            network,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5),
        ]
    )


def resized():
    """Bring images of another size to that of the network."""
    images = keras.Input((50, 41, 3))
    prepared = keras.layers.Rescaling(1 / 127.5, offset=-1)(keras.layers.Resizing(32, 32)(images))
    network = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), weights=None, include_top=False, alpha=0.35
    )
    return headed(images, network(prepared, training=False))


def halved():
    """Compute in 16 bits, with weights in 32."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    network = mobilenet()
    keras.mixed_precision.set_global_policy("float32")
    images = keras.Input((32, 32, 3))
    return headed(images, network(keras.layers.Rescaling(1 / 255)(images)))


def prepared() -> None:
    """Write models that prepare their images."""
    folder = FOLDER / "prepared"
    folder.mkdir()
    for build in (caffe, normalised, resized, halved):
        model = build()
        model.save(folder / f"{build.__name__}.keras")
        model.export(folder / build.__name__, verbose=False)
        call = tf.function(lambda x, model=model: model(x, training=False))
        images = tf.TensorSpec((1, *model.input_shape[1:]), model.inputs[0].dtype)
        graph = freeze(call.get_concrete_function(images)).graph.as_graph_def()
        (folder / f"{build.__name__}.pb").write_bytes(graph.SerializeToString())


def strided(node) -> None:
    """Let the first convolution keep the size."""
    if node.name.endswith("/Conv1/Conv2D"):
        node.attr["strides"].list.i[:] = [1, 1, 1, 1]


def unpadded(node) -> None:
    """Take the padding of the first convolution."""
    if node.name.endswith("/Conv1/Conv2D"):
        node.attr["padding"].s = b"VALID"


def uncapped(node) -> None:
    """Take the cap of one activation."""
    if node.name.endswith("/block_3_expand_relu/Relu6"):
        node.op = "Relu"


def maximal(node) -> None:
    """Take the maximum over the image."""
    if node.op == "Mean":
        node.op = "Max"


def smaller_epsilon(node) -> None:
    """Give every norm another epsilon."""
    if node.op == "FusedBatchNormV3":
        node.attr["epsilon"].f = 1e-5


def one_epsilon(node) -> None:
    """Give one norm another epsilon."""
    if node.name.endswith("/bn_Conv1/FusedBatchNormV3"):
        node.attr["epsilon"].f = 0.01


def sigmoid(node) -> None:
    """End in a sigmoid."""
    if node.op == "Softmax":
        node.op = "Sigmoid"


def loop(node) -> None:
    """Let a node take its own output."""
    if node.name.endswith("/block_3_expand_relu/Relu6"):
        node.input[0] = f"{node.name}:activations:0"


def dangling(node) -> None:
    """Let a node take what does not exist."""
    if node.name.endswith("/block_3_expand_relu/Relu6"):
        node.input[0] = "nowhere:y:0"


def edited() -> None:
    """Write the edited copies."""
    for edit in (strided, unpadded, uncapped, maximal, smaller_epsilon, one_epsilon, sigmoid, loop, dangling):
        target = FOLDER / "edited" / edit.__name__
        shutil.copytree(FOLDER / "mobilenetv2_2", target)
        (target / "keras_metadata.pb").unlink()
        message = saved_model_pb2.SavedModel.FromString((target / "saved_model.pb").read_bytes())
        for function in message.meta_graphs[0].graph_def.library.function:
            for node in function.node_def:
                edit(node)
        (target / "saved_model.pb").write_bytes(message.SerializeToString())


if __name__ == "__main__":
    models()
    convnext()
    beside()
    prepared()
    edited()
