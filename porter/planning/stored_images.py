"""The images that a source's own network takes, and what it does to them, wherever the source says so."""

from __future__ import annotations

from porter.core.checkpoint import Checkpoint
from porter.core.object_graph import ObjectGraph
from porter.core.stored_preprocessing import StoredInput


def stored_images(checkpoint: Checkpoint) -> StoredInput:
    """Return what the source says of its images; from its graph, where no config does."""
    stored, network = checkpoint.stored_input, checkpoint.stored_network
    if stored.steps or stored.unread or network is None or not network.is_graph:
        return stored
    from porter.core.image_preparation import prepared_by  # noqa: PLC0415  (most have no graph)

    return prepared_by(stored, network)


def normalizations(graph: ObjectGraph) -> list[int]:
    """Return the nodes of Normalization layers: told by their variables, which no layer that trains has."""
    return [
        number
        for number, node in enumerate(graph.nodes)
        if all(
            (child := node.children.get(name)) is not None and graph.nodes[child].key is not None
            for name in ("mean", "variance")
        )
    ]
