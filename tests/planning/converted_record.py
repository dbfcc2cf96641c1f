"""A record of a network as TensorFlow Lite's converter would leave the network: no names, no norms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from porter.core.checkpoint import TensorSpec
from porter.core.dtypes import BY_NAME
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.core.object_graph import Node, ObjectGraph
from porter.planning.network.folded_form import folded
from porter.planning.network.record import recorded

LENGTHS = {"classes": 5, "channels": 3}


class ConvertedRecord(FoldedCheckpoint):
    """The record of a variant as a converter would leave it: kernels and biases under numbers."""

    def __init__(self, variant):
        self.path, self.format, self.files = Path(variant.name), "numbers", ()
        shapes = {
            variant.full_source(entry): tuple(LENGTHS.get(dim, dim) for dim in entry.source_shape)
            for entry in variant.entries
        }
        self.specs = {}
        network = folded(recorded(variant))
        self.network = network._replace(operations=tuple(self._of(o, shapes) for o in network.operations))
        nodes = [Node({key: place for place, key in enumerate(self.specs, 1)})]
        self.graph = ObjectGraph(nodes + [Node(key=key) for key in self.specs], stored=False)
        self.read_network = lambda: self.network

    def _of(self, operation, shapes):
        kernel = next((path for role, path in operation.variables.items() if role.endswith("kernel")), None)
        attributes = dict(operation.attributes)
        if kernel is None or operation.kind == "other":
            return self._without_kernel(operation, shapes)
        key = f"{len(self.specs)}"
        self.specs[key] = TensorSpec(BY_NAME["float32"], shapes[kernel])
        is_depthwise = operation.kind == "depthwise_conv"
        width = np.prod(shapes[kernel][-2:]) if is_depthwise else shapes[kernel][-1]
        self.specs[f"{key} bias"] = TensorSpec(BY_NAME["float32"], (int(width),))
        if "strides" in attributes:
            padding = attributes["padding"]
            one = padding if isinstance(padding, str) else padding[0] if len(padding) == 1 else "same"
            attributes |= {"kernel": shapes[kernel][:2], "padding": one}
        return operation._replace(
            name=key, attributes=attributes, variables={"kernel": key, "bias": f"{key} bias"}
        )

    def _without_kernel(self, operation, shapes):
        """Return a norm's factor and shift, a layer norm, or what a converter spells in its own way."""
        kept = {}
        roles = operation.variables if operation.kind != "other" else {}
        for role in {*roles} & {"gamma", "beta"}:
            kept[role] = f"{len(self.specs)} {role}"
            self.specs[kept[role]] = TensorSpec(BY_NAME["float32"], shapes[roles[role]])
        is_spelt_anew = operation.kind == "other" and operation.variables
        attributes = {"class_name": "converted"} if is_spelt_anew else operation.attributes
        return operation._replace(name=operation.kind, attributes=attributes, variables=kept)

    def see_as(self, key, shape):
        """Keep another shape."""
        self.specs[key] = TensorSpec(BY_NAME["float32"], shape)

    def read(self, key):
        """Return zeros."""
        return np.zeros(self.specs[key].shape, np.float32)

    def read_block(self, key, block):
        """Return zeros."""
        return self.read(key)[block]

    def verify(self, key):
        """Do nothing."""

    def close(self):
        """Do nothing."""
