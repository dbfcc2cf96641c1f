"""Run by the tests in a process of its own: heads that people train on a backbone, saved by Keras.

Usage: python write_heads.py KERAS FOLDER

KERAS is ``tf_keras`` or ``keras``. Writes FOLDER/NAME/ for each head, with the model in every container that
stores its network, and answer.npz: ``x`` (N, H, W, C) and ``y``, what the model answers.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import cache
from pathlib import Path

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

SIZE = 64
WIDE = (128, 160)  # a last map of 4 by 5
EXPORTED = ("convolved", "gated", "spread", "strided", "flat_pixel", "unsorted", "scaled_sums", "norm_nested")
SAVED_BY_KERAS = ("unsorted",)  # with its metadata: TensorFlow alone stores no order of outputs
# Written as a frozen graph and by TensorFlow Lite's converter too, by each Keras.
CONVERTED = {
    "tf_keras": ("gated",),
    "keras": (
        *("both_pools", "cut_at_the_last_norm", "cut_pooled", "dilated", "dilated_whole", "encoder"),
        *("flat_pixel", "gated", "norm_nested", "several", "vgg_encoder"),
    ),
}
WEIGHTS_ALONE = ("cut_at_a_block", "norm_in_front", "norm_nested")
RNG = np.random.default_rng(11)


def main() -> None:
    """Write every model."""
    keras, folder = importlib.import_module(sys.argv[1]), Path(sys.argv[2])
    for head in (
        pooled,
        odd,
        unit,
        dense_twice,
        flattened,
        convolved,
        averaged,
        both_pools,
        no_neck,
        several,
        gated,
        joined,
        tempered,
        ensemble,
        turned,
        shared,
        spread,
        map_and_logits,
        cut_at_a_block,
        cut_with_a_head,
        cut_pooled,
        cut_at_a_pad,
        encoder,
        flat_encoder,
        cut_early,
        cut_in_branches,
        cut_dense,
        cut_separable,
        norm_in_front,
        norm_nested,
        norm_behind,
        windowed,
        cut_at_the_last_norm,
        dense_on_vgg,
        vgg_of_icons,
        flat_pixel,
        flat_pool,
        vgg_encoder,
        pre_activated,
        pre_activated_encoder,
        unsorted,
        scaled_sums,
        strided,
        valid,
        two_outputs,
        in_front,
        dilated,
        dilated_whole,
        dilated_at_once,
    ):
        write(folder / head.__name__, keras, randomise(head(keras, keras.layers)))


@cache
def backbone(keras, family: str = "MobileNet", size: tuple[int, int] = (SIZE, SIZE)):
    """Return the smallest of a family, without a classifier."""
    alpha = {"MobileNet": 0.25, "MobileNetV2": 0.35}[family]
    return getattr(keras.applications, family)(
        input_shape=(*size, 3), alpha=alpha, weights=None, include_top=False
    )


def pooled(keras, layers):
    """A nested backbone, pooling, Dropout and one Dense."""
    return keras.Sequential(
        [backbone(keras), layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(7)]
    )


def odd(keras, layers):
    """MobileNet on odd maps, where its fixed padding is not SAME."""
    return keras.Sequential(
        [backbone(keras, size=(75, 50)), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )


def unit(keras, layers):
    """The maximum over the image, and one unit with a sigmoid, on the backbone's own graph."""
    base = backbone(keras, "MobileNetV2")
    x = layers.GlobalMaxPooling2D()(base.output)
    return keras.Model(base.input, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.1)(x)))


def dense_twice(keras, layers):
    """A Sequential of Sequentials, as Teachable Machine writes them, with a norm between two Dense."""
    inner = keras.Sequential([backbone(keras), layers.GlobalAveragePooling2D()])
    head = [
        layers.Dense(20, use_bias=False),
        layers.BatchNormalization(epsilon=1e-2),
        layers.LeakyReLU(),
        layers.Dense(4, activation="softmax", use_bias=False),
    ]
    return keras.Sequential([inner, keras.Sequential(head)])


def flattened(keras, layers):
    """Every pixel of the last map into one Dense."""
    base = backbone(keras)
    x = layers.Dense(12, activation="gelu" if keras.__name__ == "keras" else "elu")(
        layers.Flatten()(base.output)
    )
    return keras.Model(base.input, layers.Softmax()(layers.Dense(3, activation="relu")(x)))


def convolved(keras, layers):
    """A 1x1 convolution with its norm before the pooling; images are augmented in training."""
    images = keras.Input((SIZE, SIZE, 3))
    x = backbone(keras)(layers.RandomFlip()(images))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1)(x))
    x = layers.GlobalAveragePooling2D()(layers.ReLU(max_value=6)(x))
    return keras.Model(images, layers.Dense(3)(x))


def averaged(keras, layers):
    """A 1x1 convolution whose sigmoids are averaged: the answer is no logits."""
    base = backbone(keras, "MobileNetV2")
    x = layers.Conv2D(3, 1, activation="sigmoid")(base.output)
    return keras.Model(base.input, layers.GlobalAveragePooling2D()(x))


def both_pools(keras, layers):
    """Mean and maximum side by side."""
    base = backbone(keras, "MobileNetV2")
    pools = [layers.GlobalAveragePooling2D()(base.output), layers.GlobalMaxPooling2D()(base.output)]
    return keras.Model(base.input, layers.Dense(3)(layers.Concatenate()(pools)))


def no_neck(keras, layers):
    """MobileNetV3, which Keras leaves without its last convolution, and one Dense."""
    base = keras.applications.MobileNetV3Small(
        input_shape=(SIZE, SIZE, 3),
        minimalistic=True,
        weights=None,
        include_top=False,
        include_preprocessing=False,
    )
    x = layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, layers.Dense(4, activation="softmax")(x))


def several(keras, layers):
    """A feature extractor with two outputs."""
    base = backbone(keras)
    return keras.Model(base.input, [base.get_layer("conv_pw_3_relu").output, base.output])


def gated(keras, layers):
    """The features weigh themselves, and become vectors of unit length; in tf_keras a function does that."""
    base = backbone(keras)
    x = layers.GlobalAveragePooling2D()(base.output)
    gate = layers.Dense(256, activation="sigmoid")(x)
    x = layers.PReLU()(layers.Dense(3)(layers.Multiply()([x, gate])))
    is_layer = keras.__name__ == "keras"
    x = layers.UnitNormalization()(x) if is_layer else tf.math.l2_normalize(x, axis=1)
    return keras.Model(base.input, x)


def joined(keras, layers):
    """Channels of the map are weighed, vectors are joined in every way, the last is divided by its length."""
    base = backbone(keras)
    gate = layers.Dense(256, activation="sigmoid")(layers.GlobalAveragePooling2D()(base.output))
    x = layers.Conv2D(8, 1)(layers.Multiply()([base.output, layers.Reshape((1, 1, 256))(gate)]))
    x = layers.PReLU(shared_axes=[1, 2])(layers.GroupNormalization(4)(x))
    x = layers.Average()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    x = layers.Add()([x, layers.Dense(8, activation="selu")(x)])
    x = layers.Maximum()([layers.Dense(6)(x), layers.Dense(6, activation="softsign")(x)])
    x = layers.Concatenate()([layers.Dense(2)(x), x])
    return keras.Model(base.input, layers.UnitNormalization()(x))


def tempered(keras, layers):
    """Logits are divided by a temperature."""
    head = [layers.GlobalAveragePooling2D(), layers.Dense(3), layers.Rescaling(0.5), layers.Softmax()]
    return keras.Sequential([backbone(keras), *head])


def turned(keras, layers):
    """A layer that no head has."""
    head = [layers.Permute((2, 1, 3)), layers.Flatten(), layers.Dense(3)]
    return keras.Sequential([backbone(keras), *head])


def ensemble(keras, layers):
    """The mean of two classifiers' probabilities, of which no softmax makes others."""
    base = backbone(keras)
    x = layers.GlobalAveragePooling2D()(base.output)
    both = [layers.Dense(3, activation="softmax")(x) for _ in range(2)]
    return keras.Model(base.input, layers.Average()(both))


def shared(keras, layers):
    """One dense layer on the averages and on the maxima."""
    base, dense = backbone(keras), layers.Dense(3)
    pools = [layers.GlobalAveragePooling2D()(base.output), layers.GlobalMaxPooling2D()(base.output)]
    return keras.Model(base.input, layers.Add()([dense(pool) for pool in pools]))


def spread(keras, layers):
    """Pixels are weighed by a vector that has as many numbers as there are channels too."""
    base = backbone(keras)
    x = layers.Conv2D(4, 1)(base.output)
    gate = layers.Reshape((2, 2, 1))(layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    return keras.Model(base.input, layers.Dense(3)(layers.Flatten()(layers.Multiply()([x, gate]))))


def map_and_logits(keras, layers):
    """What explains a classification by where the network looks: the last map beside the logits."""
    base = backbone(keras)
    logits = layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(base.output))
    return keras.Model(base.input, [base.output, logits])


def cut_at_a_block(keras, layers):
    """A backbone that ends behind block 12, before its own end."""
    base = backbone(keras, "MobileNetV2")
    return keras.Model(base.input, base.get_layer("block_12_add").output)


def cut_with_a_head(keras, layers):
    """A classifier on what a depthwise convolution inside block 6 gives."""
    base = backbone(keras, "MobileNetV2")
    x = layers.GlobalAveragePooling2D()(base.get_layer("block_6_depthwise_relu").output)
    return keras.Model(base.input, layers.Dense(3)(x))


def cut_pooled(keras, layers):
    """A part of a backbone, pooled, without any classifier."""
    base = backbone(keras, "MobileNetV2")
    return keras.Model(base.input, layers.GlobalMaxPooling2D()(base.get_layer("block_7_add").output))


def cut_at_a_pad(keras, layers):
    """The end is a padding, which is part of a convolution in PyTorch."""
    base = backbone(keras, "MobileNetV2")
    return keras.Model(base.input, base.get_layer("block_6_pad").output)


def encoder(keras, layers):
    """A nested extractor as U-Nets have one: norms, activations, blocks, and a bare convolution last."""
    base = backbone(keras, "MobileNetV2")
    names = ("block_1_expand_relu", "block_3_expand_BN", "block_5_add", "block_13_expand")
    inner = keras.Model(base.input, [base.get_layer(name).output for name in names])
    images = keras.Input((SIZE, SIZE, 3))
    return keras.Model(images, inner(images))


def flat_encoder(keras, layers):
    """A decoder on the backbone's own graph, with a convolution on a skip connection."""
    base = backbone(keras, "MobileNetV2")
    deep = layers.Conv2DTranspose(8, 2, strides=2)(base.get_layer("block_9_add").output)
    skip = layers.Conv2D(8, 1)(base.get_layer("block_5_add").output)
    return keras.Model(base.input, layers.Conv2D(2, 3)(layers.Concatenate()([deep, skip])))


def cut_early(keras, layers):
    """Of two widths of the network the first layers are the same."""
    base = backbone(keras, "MobileNetV2")
    return keras.Model(base.input, base.get_layer("block_1_depthwise_relu").output)


def cut_in_branches(keras, layers):
    """InceptionV3 up to a block whose branches begin alike, with a head."""
    base = keras.applications.InceptionV3(input_shape=(75, 75, 3), weights=None, include_top=False)
    means = layers.GlobalAveragePooling2D()(base.get_layer("mixed4").output)
    return keras.Model(base.input, layers.Dense(3)(means))


def cut_dense(keras, layers):
    """What a decoder takes of a DenseNet: the activations in front of its transitions."""
    base = keras.applications.DenseNet121(input_shape=(SIZE, SIZE, 3), weights=None, include_top=False)
    return keras.Model(base.input, [base.get_layer(f"pool{n}_relu").output for n in (2, 3)])


def cut_separable(keras, layers):
    """Xception up to its first block without a stride: the next begins with an activation."""
    base = keras.applications.Xception(input_shape=(75, 75, 3), weights=None, include_top=False)
    return keras.Model(base.input, base.layers[45].output)


def norm_in_front(keras, layers):
    """ConvNeXt without top normalises its map; the pool that people put behind comes after that."""
    base = convnext(keras)
    return keras.Model(base.input, layers.Dense(3)(layers.GlobalAveragePooling2D()(base.output)))


def norm_nested(keras, layers):
    """The same as one layer, with more behind it than one Dense."""
    head = [layers.GlobalAveragePooling2D(), layers.Dense(6, activation="relu"), layers.Dense(3)]
    return keras.Sequential([convnext(keras), *head])


def norm_behind(keras, layers):
    """ConvNeXt that pools by itself normalises what it has pooled."""
    return keras.Sequential([convnext(keras, pooling="avg"), layers.Dense(3, activation="softmax")])


@cache
def convnext(keras, **stated):
    """Return ConvNeXt without its classifier."""
    return keras.applications.ConvNeXtTiny(
        input_shape=(SIZE, SIZE, 3), weights=None, include_top=False, **stated
    )


def windowed(keras, layers):
    """Pools with windows, of both paddings, and a separable convolution."""
    base = backbone(keras, size=WIDE)
    x = layers.SeparableConv2D(8, 3, padding="same", activation="relu")(base.output)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.AveragePooling2D(2, strides=1, padding="valid")(layers.DepthwiseConv2D(2, padding="same")(x))
    return keras.Model(base.input, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))


def cut_at_the_last_norm(keras, layers):
    """The backbone's last activation is another one."""
    base = backbone(keras, "MobileNetV2")
    x = layers.Activation("swish")(base.get_layer("Conv_1_bn").output)
    return keras.Model(base.input, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def dense_on_vgg(keras, layers):
    """VGG without its two dense layers, and others in their place."""
    base = keras.applications.VGG16(input_shape=(SIZE, SIZE, 3), weights=None, include_top=False)
    head = [layers.Flatten(), layers.Dense(8, activation="relu"), layers.Dropout(0.5)]
    return keras.Sequential([base, *head, layers.Dense(1, activation="sigmoid")])


@cache
def vgg_at_32(keras):
    """Return VGG16 for the smallest images that it takes, without its dense layers."""
    return keras.applications.VGG16(input_shape=(32, 32, 3), weights=None, include_top=False)


def vgg_of_icons(keras, layers):
    """VGG on the smallest images that it takes: its last pool is over all of its map."""
    base = vgg_at_32(keras)
    return keras.Model(base.input, layers.Dense(3)(layers.GlobalAveragePooling2D()(base.output)))


def flat_pixel(keras, layers):
    """The smallest images leave one pixel, which is flattened all the same."""
    base = backbone(keras, size=(32, 32))
    return keras.Sequential([base, layers.Flatten(), layers.Dense(8, activation="relu"), layers.Dense(3)])


def flat_pool(keras, layers):
    """The same behind VGG's own last pool."""
    base = vgg_at_32(keras)
    return keras.Model(base.input, layers.Dense(3, activation="softmax")(layers.Flatten()(base.output)))


def vgg_encoder(keras, layers):
    """Maps in front of VGG's pools, as U-Nets and losses of style take them: the last pool is left out."""
    base = keras.applications.VGG19(input_shape=(SIZE, SIZE, 3), weights=None, include_top=False)
    names = ("block1_conv2", "block3_conv4", "block4_pool", "block5_conv4")
    return keras.Model(base.input, [base.get_layer(name).output for name in names])


def pre_activated(keras, layers):
    """ResNetV2, which ends with a norm, nested."""
    base = keras.applications.ResNet50V2(input_shape=(SIZE, SIZE, 3), weights=None, include_top=False)
    head = [layers.GlobalAveragePooling2D(), layers.Dense(8, activation="relu")]
    return keras.Sequential([base, *head, layers.Dense(1, activation="sigmoid")])


def pre_activated_encoder(keras, layers):
    """Maps inside ResNetV2's blocks and at both ends, not in the order of their names; one is one pixel."""
    base = keras.applications.ResNet50V2(input_shape=(32, 32, 3), weights=None, include_top=False)
    names = ("post_relu", "conv4_block6_1_relu", "conv2_block3_out", "conv1_conv")
    return keras.Model(base.input, [base.get_layer(name).output for name in names])


def unsorted(keras, layers):
    """Two maps, not in the order of their layers' names."""
    base = backbone(keras)
    return keras.Model(base.input, [base.get_layer(f"conv_pw_{n}_relu").output for n in (1, 13)])


def scaled_sums(keras, layers):
    """The first blocks of InceptionResNetV2, whose sums scale what they add."""
    base = keras.applications.InceptionResNetV2(input_shape=(96, 96, 3), weights=None, include_top=False)
    return keras.Model(base.input, base.get_layer("block35_3_ac").output)


def strided(keras, layers):
    """SAME of one pixel at one side, layer norms, and a map that is no square into one Dense."""
    base = backbone(keras, size=WIDE)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(base.output)
    x = layers.Dense(6)(layers.Flatten()(layers.LayerNormalization(epsilon=0.01)(x)))
    x = layers.LayerNormalization(center=False)(layers.LayerNormalization(scale=False)(x))
    return keras.Model(base.input, layers.Dense(3)(layers.LayerNormalization(epsilon=1e-5)(x)))


def valid(keras, layers):
    """Convolutions with no padding, with one in front of them, and with steps that differ."""
    base = backbone(keras, size=WIDE)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(base.output))
    x = layers.ReLU(max_value=6)(x)
    x = layers.Conv2D(6, (2, 3), strides=(1, 2))(layers.ZeroPadding2D(((1, 0), (0, 1)))(x))
    return keras.Model(base.input, layers.Dense(3, activation="softmax")(layers.GlobalMaxPooling2D()(x)))


def two_outputs(keras, layers):
    """A class and a box on the same features."""
    base = backbone(keras)
    x = layers.Dense(12, activation="relu")(layers.GlobalAveragePooling2D()(base.output))
    box = layers.Dense(4, activation="sigmoid", name="box")(layers.Dense(6, activation="relu")(x))
    return keras.Model(base.input, [layers.Dense(5, activation="softmax", name="kind")(x), box])


def dilated(keras, layers):
    """DeepLab's backbone of output stride 16, cut where DeepLab goes on."""
    tensors, images = atrous(keras, ("block_13",))
    return keras.Model(images, [tensors["block_5_add"], tensors["block_16_project_BN"]])


def dilated_whole(keras, layers):
    """A classifier on a backbone of output stride 8."""
    tensors, images = atrous(keras, ("block_6", "block_13"), (72, 96))  # maps of 9 by 12
    return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling2D()(tensors["out_relu"])))


def dilated_at_once(keras, layers):
    """The block that loses its stride is dilated itself, as timm has it nowhere."""
    tensors, images = atrous(keras, ("block_13",), at_once=True)
    return keras.Model(images, tensors["block_16_project_BN"])


def atrous(
    keras, without_stride: tuple[str, ...], size: tuple[int, int] = (64, 96), *, at_once: bool = False
):
    """Return MobileNetV2's tensors by layer, and its input, with dilations in place of some strides."""
    base = backbone(keras, "MobileNetV2", size)
    known, rate = {id(base.input): base.input}, 1
    for layer in base.layers[1:]:
        given = [
            known[id(each)] for each in (layer.input if isinstance(layer.input, list) else [layer.input])
        ]
        given = given if len(given) > 1 else given[0]
        is_changed, config = layer.name.startswith(without_stride), layer.get_config()
        if is_changed and layer.name.endswith("_pad"):
            known[id(layer.output)] = given
            continue
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            before, rate = rate, rate * 2 if is_changed else rate
            own = rate if at_once or not is_changed else before
            config |= {"dilation_rate": (own, own)}
            config |= {"strides": (1, 1), "padding": "same"} if is_changed else {}
        known[id(layer.output)] = type(layer).from_config(config)(given)
    return {layer.name: known[id(layer.output)] for layer in base.layers[1:]}, base.input


def in_front(keras, layers):
    """A layer with weights of its own makes colours of grey images."""
    images = keras.Input((SIZE, SIZE, 1))
    x = backbone(keras)(layers.Conv2D(3, 1, name="colours")(images))
    return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def randomise(model):
    """Give every parameter a value that matters."""
    for variable in model.weights:
        name = (getattr(variable, "path", None) or variable.name).rsplit("/", 1)[-1]
        low, high = (0.6, 1.4) if "variance" in name or "gamma" in name else (-0.2, 0.2)
        if "kernel" not in name:
            variable.assign(RNG.uniform(low, high, tuple(variable.shape)).astype("float32"))
    return model


def write(folder: Path, keras, model) -> None:
    """Save a model in every container with what it answers."""
    folder.mkdir(parents=True)
    model.save(folder / "model.h5")
    model.save(folder / "model.keras")
    if folder.name in WEIGHTS_ALONE:
        model.save_weights(folder / "model.weights.h5")
    if folder.name == "cut_at_a_block":
        tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
    if folder.name in EXPORTED:
        path = str(folder / "saved_model")
        if keras.__name__ == "keras":
            model.export(path)
        elif folder.name in SAVED_BY_KERAS:
            model.save(path)
        else:
            tf.saved_model.save(model, path)
    if folder.name in CONVERTED[keras.__name__]:
        convert(folder, model)
    x = RNG.uniform(-1, 1, (2, *model.input_shape[1:])).astype("float32")
    answer = model(x, training=False)
    answers = answer if isinstance(answer, list | tuple) else [answer]
    named = {f"y{number}": np.asarray(each) for number, each in enumerate(answers)}
    np.savez(folder / "answer.npz", x=x, y=np.asarray(answers[-1]), **named)


def convert(folder: Path, model) -> None:
    """Write a model as a frozen graph and, if it is small, as a TensorFlow Lite model; both for one image."""
    call = tf.function(lambda images: model(images, training=False))
    frozen = freeze(call.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]))))
    (folder / "frozen.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    if folder.name == "norm_nested":  # ConvNeXt takes half a minute to convert: see write_graph_networks.py
        return
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    (folder / "model.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()
