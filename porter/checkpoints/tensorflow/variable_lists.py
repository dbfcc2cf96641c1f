"""Layers from lists of variables: what ``tf.train.Checkpoint(weights=model.weights)`` stores.

The paths of such a checkpoint are positions, ``weights/0``; the variables' full names say which of them
belong to one layer, and the list is in the model's order.
"""

from __future__ import annotations

from collections.abc import Iterator

from porter.core.object_graph import Node

_LAYER = "layer_with_weights-"
_RANDOM_STATE = "seed_generator"

Layers = dict[str, dict[str, int]]
"""Node of each variable by its leaf name, by the layer's name, in the model's order."""


def add_listed_layers(nodes: list[Node]) -> bool:
    """Add ``layer_with_weights-K`` edges to the root for the lists of variables that it holds.

    Where several lists share layers (``trainable=..., others=...``) the one that names every layer gives the
    order. Nothing is added if none does, or a layer comes behind the point where the list turns back to
    layers that it had before: its place in the model is then unknown.

    Args:
        nodes: The nodes of one object graph; layers are added at their end.

    Returns:
        Whether edges were added.
    """
    if any(edge.startswith(_LAYER) for node in nodes for edge in node.children):
        return False
    averages = {slot.variable for node in nodes for slot in node.slots}
    lists = [found for found in _lists(nodes, averages) if found]
    layers = [_layers(nodes, numbers) for numbers in lists]
    known = [found for found in layers if found]
    if not known or len(known) < len(lists):
        return False
    merged = _merged(known)
    for number, layer in enumerate(merged.values()):
        nodes[0].children[f"{_LAYER}{number}"] = len(nodes)
        nodes.append(Node(dict(layer)))
    return bool(merged)


def _lists(nodes: list[Node], averages: set[int]) -> Iterator[list[int]]:
    """Yield the variables of each list below the root, moving averages and what has no layer left out."""
    for child in nodes[0].children.values():
        members = nodes[child].children
        if members and all(name.isdecimal() and nodes[n].key is not None for name, n in members.items()):
            ordered = [members[name] for name in sorted(members, key=int)]
            yield [n for n in ordered if n not in averages and _is_of_a_layer(nodes[n].full_name)]


def _is_of_a_layer(full_name: str) -> bool:
    name, _, leaf = full_name.rpartition("/")
    return bool(name) and not leaf.startswith(_RANDOM_STATE)


def _layers(nodes: list[Node], numbers: list[int]) -> Layers:
    """Return the layers of one list; nothing if the order that it gives is not the model's."""
    found: Layers = {}
    before, has_returned = "", False
    for number in numbers:
        name, _, leaf = nodes[number].full_name.rpartition("/")
        is_new = name not in found
        if (is_new and has_returned) or leaf in found.get(name, {}):
            return {}
        has_returned |= not is_new and name != before
        found.setdefault(name, {})[leaf] = number
        before = name
    return found


def _merged(lists: list[Layers]) -> Layers:
    longest = max(lists, key=len)
    merged = {name: dict(layer) for name, layer in longest.items()}
    for layers in lists:
        if merged.keys().isdisjoint(layers):  # an optimizer's variables, or another model
            continue
        for name, layer in layers.items():
            if name not in merged or any(merged[name].get(leaf, n) != n for leaf, n in layer.items()):
                return {}
            merged[name].update(layer)
    return merged
