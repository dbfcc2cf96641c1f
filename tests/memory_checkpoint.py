"""A checkpoint in memory, for tests of what comes after reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from porter.core.checkpoint import Checkpoint, TensorSpec
from porter.core.dtypes import BY_NAME
from porter.core.object_graph import Node, ObjectGraph, Slot


class MemoryCheckpoint(Checkpoint):
    """Arrays by object path. The graph is stored (edges with shared nodes) or made from the names."""

    def __init__(self, arrays, *, dtypes=None, slots=(), stored=True):
        self.path = Path("memory")
        self.format = "memory"
        self.files = ()
        self._arrays = {name: np.asarray(value) for name, value in arrays.items()}
        dtypes = dtypes or {}
        self.specs = {
            name: TensorSpec(BY_NAME[dtypes.get(name, value.dtype.name)], value.shape)
            for name, value in sorted(self._arrays.items())
        }
        self.graph = ObjectGraph.from_names(self.specs)
        if stored:
            self.graph = ObjectGraph(self.graph.nodes, stored=True)
            self.graph.nodes[0].slots = tuple(self._slot(*slot) for slot in slots)

    def _slot(self, name, original, key):
        nodes = self.graph.node_of_key
        return Slot(name, nodes[original], nodes[key])

    def alias(self, path, existing):
        """Let `path` lead to the node that `existing` leads to, as TensorFlow's shared objects do."""
        parent, _, edge = path.rpartition("/")
        node = 0
        for part in filter(None, parent.split("/")):
            if part not in self.graph.nodes[node].children:
                self.graph.nodes.append(Node())
                self.graph.nodes[node].children[part] = len(self.graph.nodes) - 1
            node = self.graph.nodes[node].children[part]
        self.graph.nodes[node].children[edge] = self.graph.resolve(existing)

    def read(self, key):
        """Return the array."""
        return self._arrays[key]

    def verify(self, key):
        """Do nothing: memory has no checksum."""

    def read_block(self, key, block):
        """Return a part of the array."""
        return self._arrays[key][block]

    def close(self):
        """Do nothing."""
