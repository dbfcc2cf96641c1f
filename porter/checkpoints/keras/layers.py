"""The layers of a Keras file, and the object graph that TensorFlow would store for the same model.

An HDF5 file knows layers by name; TensorFlow's checkpoints know them by the edges of an object graph. Mapping
tables speak of edges, so every Keras file is given the edges of its model: ``layer_with_weights-K`` for the
K-th layer that has weights, ``layer-N`` for the N-th of all, and the names of the variables by class.
Where a file does not tell the name of an edge it tells an order: `porter.core.object_graph.Node.anonymous`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from porter.core.object_graph import Node

NOT_TRAINABLE = ("moving_mean", "moving_variance", "mean", "variance", "count", "seed_generator_state")


class Order(Enum):
    """What a file says of the order of the layers that a layer or model is made of.

    Attributes:
        MODEL: They are all the layers of a model, in the model's order.
        CLASS: They are layers of a model, in the model's order within a class; between classes it is unknown.
        BUILT: They are in order, but whether they are layers of a model or attributes of a layer is unknown.
        UNKNOWN: Nothing; names are all there is.
    """

    MODEL = "model"
    CLASS = "class"
    BUILT = "built"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Variable:
    """One dataset as a variable of a layer.

    Attributes:
        edges: Names that TensorFlow may know it by; several if the file does not tell which is right.
        key: Path of the dataset.
        full_name: The stored name.
        scale: Key of what the stored integers are divided by, one number for each output; "" if they are the
            values themselves.
    """

    edges: tuple[str, ...]
    key: str
    full_name: str
    scale: str = ""


@dataclass(slots=True)
class Layer:
    """A layer, or a model, or anything else that holds variables.

    Attributes:
        name: The stored name, or the attribute's name.
        variables: Its own variables.
        layers: Layers that it is made of.
        order: What is known of the order of `layers`.
        attributes: Further parts, each under the name of a Python attribute.
        is_state: True for optimizers, metrics and random generators, which are no layers with weights.
        is_frozen_in_part: Whether layers below are listed out of the model's order, trainable ones first.
        is_assumed: Whether that they are not is assumed, for nothing in the file tells.
        is_trainable: False if the model's config says that it is frozen.
    """

    name: str
    variables: list[Variable] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    order: Order = Order.UNKNOWN
    attributes: list[Layer] = field(default_factory=list)
    is_state: bool = False
    is_frozen_in_part: bool = False
    is_assumed: bool = False
    is_trainable: bool = True

    @property
    def all(self) -> Iterator[Layer]:
        """Every layer below this one, at any depth."""
        for layer in self.layers:
            yield layer
            yield from layer.all

    @property
    def has_weights(self) -> bool:
        """Whether Keras would count it as a layer with weights."""
        parts = (*self.layers, *self.attributes)
        return not self.is_state and (bool(self.variables) or any(part.has_weights for part in parts))

    @property
    def trainable_variables(self) -> Iterator[Variable]:
        """The variables that an optimizer is given, in its order if `order` is the model's."""
        if self.is_state or not self.is_trainable:
            return
        yield from (variable for variable in self.variables if variable.edges[0] not in NOT_TRAINABLE)
        for part in (*self.layers, *self.attributes):
            yield from part.trainable_variables


def graph_of(root: Layer) -> list[Node]:
    """Return the nodes of a model's object graph."""
    nodes: list[Node] = []
    _add(nodes, root)
    return nodes


def _add(nodes: list[Node], layer: Layer) -> int:
    index = len(nodes)
    node = Node()
    nodes.append(node)
    for variable in layer.variables:
        for edge in variable.edges:
            node.children.setdefault(edge, len(nodes))
        nodes.append(Node(key=variable.key, full_name=variable.full_name))
    for part in layer.attributes:
        if not part.is_state:
            node.children.setdefault(part.name, _add(nodes, part))
    anonymous = []
    for edges, child in zip(_edges(layer), layer.layers, strict=True):
        number = _add(nodes, child)
        for edge in edges:
            node.children.setdefault(edge, number)
        if layer.order in (Order.CLASS, Order.BUILT) and child.has_weights:
            anonymous.append(number)
    for part in layer.attributes:
        if part.is_state:
            node.children.setdefault(part.name, _add(nodes, part))
    node.anonymous = tuple(anonymous)
    return index


def _edges(layer: Layer) -> Iterator[tuple[str, ...]]:
    """Yield the edges to each of the layers of `layer`."""
    weighted = 0
    for position, child in enumerate(layer.layers):
        own: tuple[str, ...] = ()
        if child.has_weights and layer.order in (Order.MODEL, Order.BUILT):
            own = (f"layer_with_weights-{weighted}",)
            weighted += 1
        if layer.order is Order.MODEL:
            yield (*own, f"layer-{position}")
        else:
            yield (*own, child.name)
