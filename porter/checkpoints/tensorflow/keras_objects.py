"""Gives the object graph of Keras 3 the edges that every Keras before it stored.

Keras 3 tracks the layers of a model as the list ``_operations`` and calls some variables by private names.
Its `export` stores a list ``variables`` in the model's order, and each of them again as ``_all_variables``.
``tf.train.Checkpoint(weights=model.weights)`` stores such a list too, for any Keras; there the full names
tell which variables are one layer. Tables name layers as ``layer_with_weights-K``, so those edges are added
beside the stored ones.

Source: the attributes of keras.Functional, keras.Sequential and keras.export.ExportArchive in Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from porter.checkpoints.tensorflow.variable_lists import add_listed_layers
from porter.core.checkpoint import TensorSpec
from porter.core.object_graph import Node

_OPERATIONS, _FUNCTIONAL = "_operations", "_functional"
_EXPORTED, _COPIES = "variables", "_all_variables"
_PRIVATE = ("_kernel", "_embeddings")
_LAYER = "layer_with_weights-"
_RANDOM_STATE = "seed_generator"
_NESTED, _UNNAMED = "nested", "variable"
_LAYER_AND_LEAF = ("layer", "variable")  # the path of a variable that is in no inner model

_Named = tuple[list[str], int]
"""A variable's path in the model, and its node."""


def add_layer_edges(nodes: list[Node], specs: Mapping[str, TensorSpec]) -> None:
    """Add the edges to the nodes of one object graph; a graph that Keras 3 did not write is left as it is."""
    exported = nodes[0].children.get(_EXPORTED)
    if exported is not None and _COPIES in nodes[0].children:
        _add_exported_layers(nodes, exported)
    elif any(_OPERATIONS in node.children for node in nodes):
        weighted = _holders_of_variables(nodes)
        for node in nodes:
            if _OPERATIONS in node.children:
                _add_numbers(node, nodes[node.children[_OPERATIONS]], weighted)
        for node in nodes:  # a Sequential is a shell around the functional model that it makes
            if _FUNCTIONAL in node.children:
                _add_edges_of(node, nodes[node.children[_FUNCTIONAL]])
    elif not add_listed_layers(nodes):
        return
    for node in nodes:
        _add_public_names(node, nodes, specs)


def add_layers_behind_normalizations(nodes: list[Node]) -> None:
    """Add a node to each model that begins with Normalization layers: its layers, counted without those.

    Keras counts a layer that somebody put in front of a network as one of its own, if it is no model within
    a model.
    """
    for model in [node for node in nodes if f"{_LAYER}0" in node.children]:
        layers: list[int] = []
        while (number := model.children.get(f"{_LAYER}{len(layers)}")) is not None:
            layers.append(number)
        for first in range(1, len(layers)):
            if not _is_normalization(nodes[layers[first - 1]]):
                break
            model.children[f"behind_{first}_normalizations"] = len(nodes)
            nodes.append(Node({f"{_LAYER}{n}": number for n, number in enumerate(layers[first:])}))


def _is_normalization(layer: Node) -> bool:
    """Whether a layer has what a Normalization measured; `adapt` leaves a count beside it."""
    return {"mean", "variance"} <= layer.children.keys() and "gamma" not in layer.children


def _add_exported_layers(nodes: list[Node], exported: int) -> None:
    """Make a layer of each run of variables that share a layer's name: the list is in the model's order.

    The models inside the model count as one layer each in some tables (ConvNeXt's stem), so a second node
    has the layers as they are nested.
    """
    listed = sorted(nodes[exported].children.items(), key=lambda child: _position(child[0]))
    named = [(nodes[number].full_name.split("/"), number) for _, number in listed]
    found = [(path, number) for path, number in named if path[1:] and not path[-1].startswith(_RANDOM_STATE)]
    _add_runs(nodes, nodes[0], [(["/".join(path[:-1]), path[-1]], number) for path, number in found])
    if any(len(path) > len(_LAYER_AND_LEAF) for path, _ in found):
        nodes[0].children[_NESTED] = len(nodes)
        nodes.append(Node())
        _add_runs(nodes, nodes[-1], found)


def _add_runs(nodes: list[Node], model: Node, named: Sequence[_Named]) -> None:
    """Add a layer to a model for each run of variables whose paths begin alike."""
    runs = groupby(_told_apart(named), key=lambda each: each[0])
    for count, (_, run) in enumerate(runs):
        variables = [each for _, each in run]
        layer = Node()
        model.children[f"{_LAYER}{count}"] = len(nodes)
        nodes.append(layer)
        layer.children |= {path[1]: number for path, number in variables if len(path) == len(_LAYER_AND_LEAF)}
        inner = [(path[1:], number) for path, number in variables if len(path) > len(_LAYER_AND_LEAF)]
        if inner:
            _add_runs(nodes, layer, inner)
        else:
            _name_the_only(layer)


def _told_apart(named: Sequence[_Named]) -> Iterator[tuple[tuple[str, int], _Named]]:
    """Yield each variable with its layer's name, and how many layers of this name there were in a row."""
    before, repeated = "", 0
    seen: set[tuple[str, ...]] = set()
    for path, number in named:
        if path[0] != before or tuple(path) in seen:
            repeated = repeated + 1 if path[0] == before else 0
            before, seen = path[0], set()
        seen.add(tuple(path))
        yield (path[0], repeated), (path, number)


def _name_the_only(layer: Node) -> None:
    """Call a layer's only variable what ConvNeXt's LayerScale calls it, if it has no name of its own."""
    (leaf, number), *others = layer.children.items()
    if not others and leaf.rstrip("0123456789_") == _UNNAMED:
        layer.children["gamma"] = number


def _add_numbers(model: Node, operations: Node, weighted: set[int]) -> None:
    count = 0
    for name, number in sorted(operations.children.items(), key=lambda child: _position(child[0])):
        if number in weighted:
            model.children.setdefault(f"{_LAYER}{count}", number)
            count += 1
        model.children.setdefault(f"layer-{name}", number)


def _add_edges_of(shell: Node, model: Node) -> None:
    for name, number in model.children.items():
        if name.startswith("layer"):
            shell.children.setdefault(name, number)


def _holders_of_variables(nodes: list[Node]) -> set[int]:
    """Return every node from which a variable can be reached, the state of a random generator left out."""
    parents: list[list[int]] = [[] for _ in nodes]
    for number, node in enumerate(nodes):
        for name, child in node.children.items():
            if not name.startswith(_RANDOM_STATE):
                parents[child].append(number)
    found: set[int] = set()
    pending = [number for number, node in enumerate(nodes) if node.key is not None]
    while pending:
        number = pending.pop()
        if number not in found:
            found.add(number)
            pending += parents[number]
    return found


def _add_public_names(node: Node, nodes: list[Node], specs: Mapping[str, TensorSpec]) -> None:
    for name in _PRIVATE:
        if name in node.children:
            node.children.setdefault(name.removeprefix("_"), node.children[name])
    kernel = node.children.get("kernel")
    key = None if kernel is None else nodes[kernel].key
    if kernel is not None and key is not None and len(specs[key].shape) == 4:
        node.children.setdefault("depthwise_kernel", kernel)  # one name for both; the table's shapes decide


def _position(name: str) -> int:
    return int(name) if name.isdigit() and len(name) < 10 else -1
