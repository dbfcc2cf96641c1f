"""What a port of TensorFlow's variables should hold, told from the variables alone.

Of a variant's table this takes which variables make which tensor, and their factors; how an axis moves
follows from what kind of layer has the variable, so that a wrong layout in a table is found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from porter.core.checkpoint import Array
from porter.tables.variants import Entry, Variant


def expected_tensors(
    variant: Variant, values: Mapping[str, Array], scope: str = ""
) -> Iterator[tuple[str, Array]]:
    """Yield every tensor's name and values; the shape is PyTorch's but for merged axes and axes of 1.

    Args:
        variant: The network.
        values: Variables by object path, or by name.
        scope: What stands in front of every path.
    """
    entries = defaultdict(list)
    for entry in variant.entries:
        entries[entry.target].append(entry)
    for target, made_of in entries.items():
        yield target, _made({entry: values[scope + variant.full_source(entry)] for entry in made_of})


def _made(values: Mapping[Entry, Array]) -> Array:
    """Return what the variables of one tensor make: joined, multiplied by a gate's factor, less a bias."""
    joined = [laid_out(entry.source, _as_kernel(entry, v)) for entry, v in values.items() if not entry.folded]
    whole = np.concatenate(joined) if len(joined) > 1 else joined[0]
    (factor,) = {entry.scale for entry in values}
    if factor != 1:
        whole = (whole.astype(np.float64) * factor).astype(np.float32)
    for entry, bias in values.items():
        if entry.folded:
            whole = (whole.astype(np.float64) - bias).astype(np.float32)
    return whole


def _as_kernel(entry: Entry, value: Array) -> Array:
    """Return a dense layer behind a Flatten, whose rows are in the order H W C, as the kernel that it is."""
    if value.ndim != 2 or len(entry.target_shape) != 4:
        return value
    outputs, channels, height, width = map(int, entry.target_shape)
    return value.reshape(height, width, channels, outputs)


def laid_out(path: str, value: Array) -> Array:
    """Return a TensorFlow variable with its output channels first, as PyTorch has them.

    Args:
        path: Its object path or name: the layout of a kernel follows from what its layer is.
        value: (H, W, C, M) of a depthwise kernel, (H, W, I, O) of another, (I, O) of a dense layer; query,
            key, value and output of an attention in one of the shapes that its layers have.
    """
    layer, _, leaf = path.rpartition("/")
    if leaf.startswith("depthwise_"):
        return value.transpose(2, 3, 0, 1)
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if leaf == "kernel" and layer.endswith(("_query_dense", "_key_dense", "_value_dense")):
        width, heads, each = value.shape  # Keras's MultiHeadAttention: (D, H, K)
        return value.reshape(width, heads * each).T
    if leaf == "kernel" and layer.endswith("_output_dense"):
        return value.reshape(-1, value.shape[-1]).T  # (H, K, D)
    if leaf in ("kernel", "key", "value"):
        return value.T
    return value  # vectors, biases per head, tokens; MobileNetV4's query (H, K, D) and output (D, H, V)
