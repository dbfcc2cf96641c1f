"""Child process: print as JSON how operations are lifted, and which of them cannot be."""

from __future__ import annotations

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

from porter.runners.graph_lifting import lifted, without_float64
from porter.runners.graph_part import between

SLOPE, VALUES = 0.2, [-1.5, 0.25, -1e-3]

with tf.Graph().as_default() as graph:
    x = tf.compat.v1.placeholder(tf.float32, (None, 3), name="x")
    tf.nn.leaky_relu(x, SLOPE, name="y")
    tf.raw_ops.LRN(input=tf.reshape(x, (1, 1, 1, 3)), name="z")
whole = graph.as_graph_def()
part = between(whole, "x:0", ["y:0"])
with tf.Graph().as_default() as wide:
    tf.import_graph_def(lifted(part), name="")
found = tf.compat.v1.Session(graph=wide).run("y:0", {"x:0": [VALUES]})[0].tolist()

doubled = tf.function(lambda values: tf.add(values, values), jit_compile=True)
caller = tf.function(lambda values: doubled(values) + 1.0)
compiled = caller.get_concrete_function(tf.TensorSpec((None, 3), tf.float32)).graph.as_graph_def()
texts = [str(each) for each in (compiled, lifted(compiled))]
print(
    json.dumps(
        {
            "whole": without_float64(whole),
            "part": without_float64(part),
            "leaky": found,
            "compiled": ["_XlaMustCompile" in text for text in texts],
        }
    )
)
