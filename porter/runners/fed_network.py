"""A source's network in float64 whose weights are fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from porter.core.checkpoint import Array
from porter.errors import ParityError
from porter.runners.exact_constants import with_exact_constants
from porter.runners.file_network import FileNetwork
from porter.runners.graph_branches import in_branches
from porter.runners.graph_lifting import lifted, without_float64
from porter.runners.graph_operations import SourceOperation
from porter.runners.measured_variances import measure_variances, spread_of

_V1 = tf.compat.v1
_DOUBLE = tf.float64.as_datatype_enum
_BATCH = 2
Size = tuple[int, int]


class FedNetwork:
    """A network in float64 whose weights are fed."""

    def __init__(
        self, network: FileNetwork, operations: Sequence[SourceOperation], keys: Mapping[str, str]
    ) -> None:
        graph = with_exact_constants(lifted(network.graph))
        for node in graph.node:
            if node.name in keys or node.name == network.source:
                is_weight = node.name in keys
                shape = node.attr["value"].tensor.tensor_shape if is_weight else None
                node.op = "Placeholder"
                node.ClearField("attr")
                node.attr["dtype"].type = _DOUBLE
                if shape is not None:
                    node.attr["shape"].shape.CopyFrom(shape)
            node.attr.pop("_output_shapes", None)
        conditional = in_branches(graph.node)
        self._measured = measure_variances(graph, operations, keys, conditional)
        with tf.Graph().as_default() as own_graph:
            try:
                tf.import_graph_def(graph, name="")
            except ValueError as error:
                raise _no_float64(network) from error
        settings = _V1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        settings.graph_options.rewrite_options.disable_meta_optimizer = True
        self._session = _V1.Session(graph=own_graph, config=settings)
        self._network, self._keys = network, keys
        self._tensors = {
            n: [each.tensor, *each.beside]
            for n, each in enumerate(operations)
            if each.tensor and each.tensor.partition(":")[0] not in conditional
        }

    def run(self, weights: Mapping[str, Array], images: Array, numbers: Sequence[int]) -> dict[int, Array]:
        """Return the outputs of operations by number.

        Raises:
            tf.errors.OpError: the network does not take images of this size.
        """
        wanted = {number: self._tensors[number] for number in numbers if number in self._tensors}
        found = self._session.run(wanted, self._fed(weights, images))
        return {n: parts[0] if len(parts) == 1 else np.concatenate(parts, -1) for n, parts in found.items()}

    def scaled(self, weights: Mapping[str, Array], images: Array, order: float = 1.0) -> dict[str, Array]:
        """Return weights with which norms scale what they take of these images to one order, however deep."""
        fed = self._fed(weights, images)
        for name in self._measured:
            fed[f"{spread_of(name)}:0"] = fed.pop(f"{name}:0") / order**2
        found = self._session.run({self._keys[name]: f"{name}:0" for name in self._measured}, fed)
        usable = {key: value for key, value in found.items() if np.isfinite(value).all() and value.all()}
        return {key: usable.get(key, value).astype(value.dtype) for key, value in weights.items()}

    def _fed(self, weights: Mapping[str, Array], images: Array) -> dict[str, Array]:
        values = {f"{name}:0": weights[key].astype(np.float64) for name, key in self._keys.items()}
        return {**values, f"{self._network.source}:0": images}

    @property
    def batch(self) -> int:
        """How many images are run at once."""
        return (self._network.shape or (None,))[0] or _BATCH

    @property
    def has_own_batch(self) -> bool:
        """Whether the source takes so many images and no others."""
        return (self._network.shape or (None,))[0] is not None

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return (self._network.shape or (None,))[-1] or 3

    @property
    def declared(self) -> Size | None:
        """The one size that the source says it takes."""
        height, width = (self._network.shape or (None,) * 4)[1:3]
        return (height, width) if height and width else None


def _no_float64(network: FileNetwork) -> ParityError:
    return ParityError(
        "match/no-float64",
        "TensorFlow cannot compute the source in float64, which a proof needs",
        found=", ".join(without_float64(network.graph)),
    )
