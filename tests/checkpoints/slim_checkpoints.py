"""Child process: TensorFlow 1 graphs as slim trains them, one checkpoint per optimizer and format.

``python slim_checkpoints.py FOLDER``: writes ``<optimizer>_v<format>``, and the SavedModels of a tf.Module
and of a TF1 Hub module.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

FOLDER = Path(sys.argv[1])
V1 = tf.compat.v1
OPTIMIZERS = {
    "rmsprop": lambda: V1.train.RMSPropOptimizer(0.1, momentum=0.9),
    "momentum": lambda: V1.train.MomentumOptimizer(0.1, 0.9),
    "adam": lambda: V1.train.AdamOptimizer(0.1),
    "adagrad": lambda: V1.train.AdagradOptimizer(0.1),
}


def network() -> list[tf.Variable]:
    """Make the variables of a convolution with its norm, and a classifier cut in three by a partitioner."""
    rng = np.random.default_rng(2)

    def variable(name, *shape, trainable=True, **options):
        value = tf.constant(rng.standard_normal(shape), tf.float32)
        return V1.get_variable(name, initializer=value, trainable=trainable, use_resource=False, **options)

    with V1.variable_scope("MobilenetV1"):
        with V1.variable_scope("Conv2d_0"):
            found = [variable("weights", 3, 3, 3, 8)]
            with V1.variable_scope("BatchNorm"):
                found += [variable(name, 8) for name in ("gamma", "beta")]
                found += [variable(f"moving_{name}", 8, trainable=False) for name in ("mean", "variance")]
        with V1.variable_scope("Logits"):
            cut = variable("weights", 8, 6, partitioner=V1.fixed_size_partitioner(3, 1))
    return [*found, *cut]


def train(name: str, version: int) -> None:
    """Take one step and save everything: variables, slots, moving averages and the step."""
    with tf.Graph().as_default(), V1.Session() as session:
        step = V1.train.get_or_create_global_step()
        variables = network()
        loss = tf.add_n([tf.reduce_sum(variable**2) for variable in V1.trainable_variables()])
        update = OPTIMIZERS[name]().minimize(loss, global_step=step)
        average = V1.train.ExponentialMovingAverage(0.5)
        with tf.control_dependencies([update]):
            shadow = average.apply(variables)
        # A moving average begins with its variable's value, so that has to be there first.
        shadows = [variable for variable in V1.global_variables() if "MovingAverage" in variable.name]
        rest = [variable for variable in V1.global_variables() if "MovingAverage" not in variable.name]
        session.run(V1.variables_initializer(rest))
        session.run(V1.variables_initializer(shadows))
        session.run(shadow)
        (FOLDER / f"{name}_v{version}").mkdir()
        saver = V1.train.Saver(write_version=version)
        saver.save(session, str(FOLDER / f"{name}_v{version}" / "model.ckpt"), global_step=step)


class Module(tf.Module):
    """A tf.Module whose layers are a list and an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_with_weights = [tf.Module(), tf.Module()]
        for number, layer in enumerate(self.layer_with_weights):
            layer.kernel = tf.Variable(tf.fill([2, 3], float(number)))
        self.head = tf.Variable([1.0, 2.0])

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def __call__(self, x):
        """Use a variable, so that there is a function to save."""
        return x @ self.layer_with_weights[0].kernel


def hub_module() -> None:
    """Write a TF1 Hub module: a SavedModel with variables by name and two sets of tags."""
    folder = FOLDER / "hub"
    builder = V1.saved_model.Builder(str(folder))
    for number, tags in enumerate(([], ["train"])):
        with tf.Graph().as_default(), V1.Session() as session:
            network()
            session.run(V1.global_variables_initializer())
            if number == 0:
                builder.add_meta_graph_and_variables(session, tags)
            else:
                builder.add_meta_graph(tags)
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")


def main() -> None:
    """Write everything below FOLDER."""
    tf.saved_model.save(Module(), str(FOLDER / "module"))
    hub_module()
    for name in OPTIMIZERS:
        for version in (V1.train.SaverDef.V1, V1.train.SaverDef.V2):
            train(name, version)


if __name__ == "__main__":
    main()
