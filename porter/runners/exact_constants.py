"""Constants that graphs round to float32 in a float64 network too, as their authors wrote them.

They are those of `tf.nn.gelu` and of hard swish. PyTorch computes with the numbers themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_EXACT = {float(np.float32(value)): value for value in (1 / 6, 0.7071067811865476, 0.044715)}


def with_exact_constants(graph: Any) -> Any:
    """Write those constants into a float64 graph, in place, and return it."""
    for node in graph.node:
        if node.op != "Const":
            continue
        tensor = node.attr["value"].tensor
        is_scalar = tensor.dtype == tf.float64.as_datatype_enum and not tensor.tensor_shape.dim
        value = _EXACT.get(float(tf.make_ndarray(tensor))) if is_scalar else None
        if value is not None:
            tensor.CopyFrom(tf.make_tensor_proto(np.float64(value)))
    return graph
