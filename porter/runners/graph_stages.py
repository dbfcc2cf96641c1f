"""Finds a table's stages in the graph of a network that somebody else built, by the weights they consume.

A weight is found by its values, so it does not matter what the graph calls it or what it is nested in. The
end of a stage is a tensor that everything passes through on its way from the stage's weights to the next
stage's: of those that there are (a sum, its activation, the padding after it), the last one before an
operation that belongs to what follows. A stage that is one layer ends where its last weight is used, whatever
goes round it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Any, NamedTuple

from porter.tables.variants import Stage

# Where a stage that has run its weights ends: what changes the image's size or shape, or has weights.
_NEXT = {
    *("Pad", "PadV2", "MirrorPad", "MaxPool", "MaxPoolV2", "AvgPool", "Mean", "Max", "Sum"),
    *("Reshape", "Squeeze", "ExpandDims", "Transpose", "SpaceToBatchND", "ResizeBilinear"),
    *("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2"),
}
_POOLS = {"MaxPool", "MaxPoolV2", "AvgPool"}
# What may follow a classifier without being its activation.
_AFTER_CLASSIFIER = {"Identity", "IdentityN", "Reshape", "Squeeze", "Cast", "StopGradient", "BiasAdd"}
_SUMS = {"Add", "AddV2"}
_JOINS = {"ConcatV2", "Concat", "ResizeNearestNeighbor"}
WITH_CHANNELS = "/with_channels"
"""How a placeholder of images of one channel is called, added in front of one that takes (N, H, W)."""
_RESHAPES = {"Reshape", "Squeeze", "ExpandDims"}
_SHAPES = {"Shape", "ShapeN", "Rank", "Size"}  # what they give depends on no element of the image
_LOGITS = "logits"


class Found(NamedTuple):
    """Where a graph has what a check needs.

    Attributes:
        image: The tensor that holds the images as the first layer with weights takes them.
        stages: Tensor by name of the stage, in the table's order.
        missing: Names of stages that could not be found.
    """

    image: str
    stages: Mapping[str, str]
    missing: tuple[str, ...]


class GraphStages:
    """The part of a graph through which an image reaches an output.

    Args:
        nodes: The frozen graph's nodes.
        source: Name of the operation that gives the image.
        outputs: Names of the operations that the network returns.
    """

    def __init__(self, nodes: Iterable[Any], source: str, outputs: Sequence[str]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._inputs = {
            name: [_operation(i) for i in n.input if i[0] != "^"] for name, n in self._nodes.items()
        }
        self._consumers: dict[str, list[str]] = {name: [] for name in self._nodes}
        self._second: set[str] = set()
        for name, inputs in self._inputs.items():
            for each in inputs:
                self._consumers[each].append(name)
            numbered = (i for i in self._nodes[name].input if i[0] != "^" and ":" in i)
            self._second.update(_operation(i) for i in numbered if not i.endswith(":0"))
        self._source, self._outputs = source, outputs
        self._of_image = set(self._reach(source, self._nodes.keys() - _named(self._nodes, _SHAPES)))
        self._of_constants = self._nodes.keys() - self._of_image

    def find(
        self,
        stages: Sequence[Stage],
        weights: Mapping[str, int],
        weightless: Collection[int],
        *,
        is_cut: bool = False,
        end: str | None = None,
    ) -> Found | None:
        """Find the ends of stages; None where no output follows the last stage's weights.

        Args:
            stages: Those that are wanted, in the table's order.
            weights: Name of a constant to the place of its stage in `stages`.
            weightless: Places of the stages that have no weights.
            is_cut: Whether other layers may follow the last stage, and take what earlier ones give.
            end: TensorFlow's operation that makes something else of the logits, e.g. ``"Softmax"``, or "" if
                the network returns them; if None, they are what the last weights give, biases included.
        """
        users: dict[int, set[str]] = {}
        for constant, stage in weights.items():
            users.setdefault(stage, set()).update(self._users(constant))
        if not users:
            return None
        last = users[max(users)]
        output = self._end_of(last) if is_cut else self._output(last)
        if output is None:
            return None
        order = {name: place for place, name in enumerate(self._ordered(output))}
        places = {s: [order[name] for name in names if name in order] for s, names in users.items()}
        sought = {n: s for n, s in enumerate(stages) if places.get(n) or n in weightless}
        ends, image = self._ends(sought, {s: found for s, found in places.items() if found}, list(order))
        ends |= self._beside(stages, users, ends)
        if end is not None and stages[-1].name == _LOGITS:
            ends[_LOGITS] = self._before(end, list(order))
        ends = {stage.name: ends[stage.name] for stage in stages if stage.name in ends}
        missing = tuple(stage.name for stage in stages if stage.name not in ends)
        return Found(f"{image}:0", {name: f"{end}:0" for name, end in ends.items()}, missing)

    def _before(self, end: str, order: Sequence[str]) -> str:
        """Return what the last operation of a kind takes, or the output for ""."""
        last = next((name for name in reversed(order) if self._nodes[name].op == end), None)
        return order[-1] if last is None else self._inputs[last][0]

    def _beside(
        self, stages: Sequence[Stage], users: Mapping[int, set[str]], known: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield the ends of single layers that lead to another output, with the names of their stages."""
        for number, stage in enumerate(stages):
            if stage.is_layer and stage.name not in known and number in users:
                output = self._output(users[number])
                if output is not None:
                    yield stage.name, max(users[number], key=self._ordered(output).index)

    def _ends(
        self, stages: Mapping[int, Stage], places: Mapping[int, list[int]], order: list[str]
    ) -> tuple[dict[str, str], str]:
        """Return the operation that ends each stage, by its name, and the one that gives the image."""
        cuts = self._cuts(order)
        begun = first = min(min(found) for found in places.values())
        image = self._last(cuts, -1, first, order)
        ends: dict[str, str] = {}
        for number, stage in stages.items():
            later = [min(found) for other, found in places.items() if other > number]
            if stage.is_layer and number in places:
                ends[stage.name] = order[max(places[number])]
                begun = max([begun, *places[number]])
                continue
            begun = max([begun, *places[number]]) if number in places else _after(cuts, begun)
            end = self._last(cuts, begun - 1, min(later, default=len(order)), order, stage)
            if end is not None:
                ends[stage.name] = end
                begun = order.index(end)
        return ends, image or self._source

    def _last(
        self, cuts: Sequence[int], after: int, limit: int, order: Sequence[str], stage: Stage | None = None
    ) -> str | None:
        """Return the last operation, of those in question, that still belongs to what comes before it."""
        possible = [cut for cut in cuts if after < cut < limit]
        if not possible:
            return None
        for place, following in pairwise(possible):
            between = order[place + 1 : following + 1]
            if not all(self._may_follow(name, stage) for name in between):
                return order[place]
        return order[possible[-1]]

    def _may_follow(self, name: str, stage: Stage | None) -> bool:
        op = self._nodes[name].op
        if stage is None and self._source.endswith(WITH_CHANNELS) and op in _RESHAPES:
            return True
        if stage is None or stage.name != _LOGITS:
            return op not in _NEXT or (stage is not None and stage.is_pooled and op in _POOLS)
        constant = sum(each not in self._of_image for each in self._inputs[name])
        return op in _AFTER_CLASSIFIER or (op in _SUMS and constant == 1)

    def _cuts(self, order: Sequence[str]) -> list[int]:
        """Return the places of operations that no path goes round."""
        place = {name: number for number, name in enumerate(order)}
        cuts, furthest = [], 0
        for number, name in enumerate(order):
            if furthest <= number and name not in self._second:
                cuts.append(number)
            furthest = max([furthest, *(place[each] for each in self._consumers[name] if each in place)])
        return cuts

    def _output(self, users: set[str]) -> str | None:
        """Return the output nearest to the last weights, of those that depend on all of them."""
        found = []
        for output in self._outputs:
            order = self._ordered(output)
            if users <= set(order):
                found.append((len(order), output))
        return min(found, default=(0, None))[1]

    def _end_of(self, users: set[str]) -> str | None:
        """Return the operation that ends with some weights: the last of their users, and what belongs to it.

        What goes on from there takes other weights, or what its last stage does not depend on.
        """
        ends = [user for user in users if users <= set(self._ordered(user))]
        if not ends:
            return None
        end, before = ends[0], set(self._ordered(ends[0]))
        while True:
            following = [name for name in self._consumers[end] if self._continues(name, before)]
            if len(following) != 1:
                return end
            end = following[0]
            before.add(end)

    def _continues(self, name: str, before: AbstractSet[str]) -> bool:
        if name not in self._of_image:
            return False
        images = [each for each in self._inputs[name] if each in self._of_image]
        node = self._nodes[name]
        return node.op not in {*_NEXT, *_JOINS} and all(each in before for each in images)

    def _ordered(self, output: str) -> list[str]:
        """Return every operation from the image to `output`, each after those that it takes."""
        order: list[str] = []
        seen: set[str] = set()
        pending = [(output, False)]
        while pending:
            name, done = pending.pop()
            if done:
                order.append(name)
            elif name not in seen and name in self._of_image:
                seen.add(name)
                pending.append((name, True))
                pending += [(each, False) for each in self._inputs[name]]
        return order

    def _users(self, constant: str) -> set[str]:
        """Return the operations that bring a constant, or what is computed of constants, to the image."""
        reached = set(self._reach(constant, self._of_constants))
        return {user for name in reached for user in self._consumers[name]} & self._of_image

    def _reach(self, start: str, allowed: AbstractSet[str]) -> Iterator[str]:
        seen, pending = {start}, [start]
        while pending:
            name = pending.pop()
            yield name
            for user in self._consumers[name]:
                if user in allowed and user not in seen:
                    seen.add(user)
                    pending.append(user)


def _after(cuts: Sequence[int], place: int) -> int:
    return next((cut for cut in cuts if cut > place), cuts[-1] + 1)


def _operation(tensor: str) -> str:
    return tensor.partition(":")[0]


def _named(nodes: Mapping[str, Any], ops: set[str]) -> set[str]:
    return {name for name, node in nodes.items() if node.op in ops}
