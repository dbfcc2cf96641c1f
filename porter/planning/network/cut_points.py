"""Where a network that ends early ends in PyTorch: modules, and what of their output is meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from porter.core.cut import ACTIVATED, LINEAR, WHOLE, Cut, Feature
from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.layer_pairing import ACTIVATIONS, POOLS
from porter.tables.variants import Entry, Stage, Variant

_ENDINGS = ("max_pool", "avg_pool", "pad", "global_avg_pool", "global_max_pool", "flatten", "reshape")
_SQUEEZE = "se"  # what timm calls the module that weighs channels
# Pools between two stages of a table, in neither, by the module in front of them; see `_pool_behind`.
_POOLS = {
    "act1": "maxpool",
    "features.norm0": "features.pool0",
    "Conv2d_2b_3x3": "Pool1",
    "Conv2d_4a_3x3": "Pool2",
    "stem.conv": "stem.pool",
    "conv2d_2b": "maxpool_3a",
    "conv2d_4a": "maxpool_5a",
}
_IN_ORDER = re.compile(r"(features\.)(\d+)")  # VGG, which is one sequence
_BEFORE_ALL = -1
_BLOCKS = "blocks"
# What the modules are called that `porter.networks.cut` runs in order.
_SEQUENTIAL = re.compile(
    r"(conv_stem|conv_head|conv\d|bn\d|act\d|blocks|block\d+"  # EfficientNet, Xception
    r"|maxpool|layer\d"  # ResNet
    r"|stem|stages|norm(_pre)?|Conv2d_\w+|Mixed_\w+"  # ConvNeXt and ResNetV2, InceptionV3
    r"|conv2d_\d\w|mixed_\w+|repeat(_\d)?|s\d)(\..+)?"  # InceptionResNetV2, RegNet
    r"|features\.\w+"  # VGG, and DenseNet, whose blocks are no sequences
)
_WITH_POOL = re.compile(r"features\.transition\d")  # whose last layer is a pool


class CutPoints:
    """The outputs of a network's modules by the operations of its record.

    Args:
        variant: The network.
        reference: Its record.
    """

    def __init__(self, variant: Variant, reference: StoredNetwork) -> None:
        self._operations = reference.operations
        backbone = {part.name for part in variant.backbone_parts if not part.without}
        entries = {variant.full_source(entry): entry for entry in variant.entries if entry.part in backbone}
        self._modules = [_places(operation, entries) for operation in self._operations]
        self._stages = tuple(stage for stage in variant.stages if _is_sequential(stage))
        self._stage_of = self._numbered()
        self._users: list[list[int]] = [[] for _ in self._operations]
        for number, operation in enumerate(self._operations):
            for taken in operation.inputs:
                self._users[taken].append(number)
        self._pools = dict(self._between_stages())

    def closure(self, there: Collection[str]) -> frozenset[int]:
        """Return the operations that can run with some variables alone, up to where a pool or layer follows.

        Args:
            there: Names of the variables.
        """
        found: set[int] = set()
        for number, operation in enumerate(self._operations):
            names = operation.variables.values()
            runs = all(name in there for name in names) if names else True
            if runs and all(taken in found for taken in operation.inputs):
                found.add(number)
        return frozenset(found)

    def end(self, closure: frozenset[int]) -> int | None:
        """Return the operation that a network ends with which has these; None if it has several ends."""
        kept = closure - self._trailing(closure)
        ends = {n for n in kept if not any(user in kept for user in self._users[n])}
        taken = {self._operations[n].inputs[0] for n in ends if self._operations[n].kind in ACTIVATIONS}
        past = {n for n in taken if any(user not in kept for user in self._users[n])}
        ends = {self._operations[n].inputs[0] if self._is_of_the_next(n, past) else n for n in ends}
        return ends.pop() if len(ends) == 1 else None

    def vectors(self, closure: frozenset[int]) -> frozenset[int]:
        """Return the pools over all of the image that end a network, and what follows them."""
        found: set[int] = set()
        for number in sorted(self._trailing(closure)):
            operation = self._operations[number]
            if operation.kind in POOLS or not found.isdisjoint(operation.inputs):
                found.add(number)
        return frozenset(found)

    def cut(self, exits: Sequence[int], names: Sequence[str]) -> Cut | None:
        """Return the cut that gives the outputs of some operations; None where timm's modules give no such.

        Args:
            exits: Numbers of the operations, in the order in which the source returns them.
            names: The source's names of them; nothing if it tells none.
        """
        outputs = [feature for number in exits if (feature := self._feature(number)) is not None]
        last = max((self._stage_of[number] for number in exits), default=_BEFORE_ALL)
        if len(outputs) < len(exits) or not 0 <= last < len(self._stages):
            return None
        needed = self.ancestors(exits)
        told = f" ({', '.join(names)})" if names else ""
        stage = self._stages[last]
        if self._end_of(last) in needed:
            pooled = any(number == self._pools.get(last) for number in exits)
            end = str(_pool_behind(stage.target[-1])) if pooled else stage.target[-1]
            return Cut(end, (), tuple(outputs), f"behind {stage.name}{told}")
        steps = self._steps(last, needed)
        if steps is None:
            return None
        before = self._stages[last - 1].target[-1] if last else ""
        before = str(_pool_behind(before)) if last - 1 in self._pools else before
        place = f"inside {stage.name}, behind its {_told(steps[-1], stage)}"
        return Cut(before, steps, tuple(outputs), f"{place}{told}")

    def timm_indices(self, cut: Cut) -> tuple[int, ...]:
        """Return timm's numbers of the maps that a network returns, for `out_indices` of `features_only`.

        Timm's are those of the last block in front of each stride. Nothing if an output is none of them.
        """
        last = {}
        for stage in self._stages:
            group, *place = stage.target[-1].split(".")
            if group == _BLOCKS and len(place) > 1:
                last[int(place[0])] = stage.target[-1]
        strided = {
            int(module.split(".")[1])
            for (module, _), operation in zip(self._modules, self._operations, strict=True)
            if module is not None and module.startswith(f"{_BLOCKS}.") and _is_strided(operation)
        }
        ends = [last[n] for n in sorted(last) if n + 1 not in last or n + 1 in strided]
        found = [ends.index(o.module) for o in cut.outputs if o.side == WHOLE and o.module in ends]
        is_every = len(found) == len(cut.outputs) and found == sorted(set(found))
        return tuple(found) if is_every and strided else ()

    def stages(self, cut_at: Collection[int]) -> tuple[Stage, ...]:
        """Return the stages that are there as a whole where a network ends at some operations."""
        needed = self.ancestors(cut_at)
        return tuple(s for n, s in enumerate(self._stages) if self._end_of(n) in needed)

    def _numbered(self) -> list[int]:
        """Return the number of the stage that each operation belongs to: that of its last weights."""
        places = {module: number for number, stage in enumerate(self._stages) for module in stage.target}
        found: list[int] = []
        for operation, (module, _) in zip(self._operations, self._modules, strict=True):
            own = [number for place, number in places.items() if _is_in(module, place)]
            own = own or [len(self._stages) if operation.variables else _BEFORE_ALL]
            found.append(max(*own, _BEFORE_ALL, *(found[taken] for taken in operation.inputs)))
        return found

    def _end_of(self, stage: int) -> int | None:
        """Return the operation that a stage ends with."""
        own = frozenset(n for n, number in enumerate(self._stage_of) if number == stage)
        if not _WITH_POOL.fullmatch(self._stages[stage].target[-1]):
            own -= self._trailing(own)
        ends = {n for n in own if not self._users[n] or any(user not in own for user in self._users[n])}
        ends -= {n for n in ends if self._is_of_the_next(n, ends)}
        return ends.pop() if len(ends) == 1 else None

    def _is_of_the_next(self, number: int, ends: Collection[int]) -> bool:
        """Whether an operation is the activation that a block begins with, which its shortcut goes past."""
        operation = self._operations[number]
        return operation.kind in ACTIVATIONS and operation.inputs[0] in ends

    def _trailing(self, among: frozenset[int]) -> frozenset[int]:
        """Return the pools, and padding, that nothing with weights follows, and what does follow them."""
        weighing: set[int] = set()
        for number in sorted(among, reverse=True):
            if self._operations[number].variables or any(user in weighing for user in self._users[number]):
                weighing.add(number)
        found: set[int] = set()
        for number in sorted(among - weighing):
            operation = self._operations[number]
            if operation.kind in _ENDINGS or (operation.inputs and found.issuperset(operation.inputs)):
                found.add(number)
        for number in sorted(found, reverse=True):  # what a sum takes, as a block's own pool, stays with it
            if any(user in among and user not in found for user in self._users[number]):
                found.remove(number)
        return frozenset(found)

    def _feature(self, number: int) -> Feature | None:
        """Return the module whose output an operation's is."""
        stage = self._stage_of[number]
        if 0 <= stage < len(self._stages) and self._end_of(stage) == number:
            return Feature(self._stages[stage].target[-1])
        operation = self._operations[number]
        module, is_whole = self._modules[number]
        if operation.variables:
            side = LINEAR if operation.kind == "norm" else WHOLE
            return Feature(module, side) if module is not None and is_whole else None
        if self._pools.get(stage) == number:
            return Feature(str(_pool_behind(self._stages[stage].target[-1])))
        before = operation.inputs[0] if operation.inputs else number
        if operation.kind in ACTIVATIONS and self._operations[before].kind == "norm":
            norm, _ = self._modules[before]
            return None if norm is None else Feature(norm, ACTIVATED)
        return self._squeezed(operation)

    def _squeezed(self, operation: Operation) -> Feature | None:
        """Return the module that weighs channels, if an operation is its last."""
        if operation.kind != "multiply":
            return None
        for taken in operation.inputs:
            gate = self._operations[taken]
            weighed = gate.inputs[0] if gate.kind in ACTIVATIONS else taken
            module, _ = self._modules[weighed]
            if module is not None and f".{_SQUEEZE}." in module:
                return Feature(module.partition(f".{_SQUEEZE}.")[0] + f".{_SQUEEZE}")
        return None

    def ancestors(self, numbers: Collection[int]) -> frozenset[int]:
        """Return some operations and all that they depend on."""
        found: set[int] = set()
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                waiting.extend(self._operations[number].inputs)
        return frozenset(found)

    def _steps(self, stage: int, needed: Collection[int]) -> tuple[Feature, ...] | None:
        """Return the modules of a stage that run one after the other; None where the cut leaves a fork."""
        own = {n for n in needed if self._stage_of[n] == stage}
        ends = [n for n in own if not any(user in own for user in self._users[n])]
        if len(ends) != 1:
            return None
        found: list[Feature] = []
        number: int | None = ends[0]
        while number is not None and self._stage_of[number] == stage:
            operation = self._operations[number]
            feature = self._feature(number)
            module, _ = self._modules[number]
            if feature is None and found and module is not None:
                feature = Feature(module)  # its bias is in the norm behind it, which runs too
            if feature is None:
                return None
            found.append(feature)
            number = self._before(operation, feature)
        return tuple(reversed(found)) if number is not None and self._begins(stage, number) else None

    def _begins(self, stage: int, taken: int) -> bool:
        """Whether an operation is what a stage takes."""
        return stage == 0 or taken in (self._pools.get(stage - 1), self._end_of(stage - 1))

    def _between_stages(self) -> Iterator[tuple[int, int]]:
        """Yield the number of each stage that a pool of its own follows, and the pool's."""
        for number, stage in enumerate(self._stages):
            if _pool_behind(stage.target[-1]) and (end := self._end_of(number)) is not None:
                padded = [user for user in self._users[end] if self._operations[user].kind == "pad"]
                pools = [u for n in (end, *padded) for u in self._users[n]]
                yield from ((number, u) for u in pools if self._operations[u].kind == "max_pool")

    def _before(self, operation: Operation, feature: Feature) -> int | None:
        """Return the operation whose output the modules of a step take."""
        if feature.module.endswith(f".{_SQUEEZE}"):
            return self._before_squeeze(operation)
        taken = operation.inputs[0]
        return self._operations[taken].inputs[0] if feature.side == ACTIVATED else taken

    def _before_squeeze(self, operation: Operation) -> int | None:
        """Return what is weighed: the factor that the other one depends on."""
        for taken, other in (operation.inputs, operation.inputs[::-1]):
            if taken in self.ancestors([other]):
                return taken
        return None


def _pool_behind(module: str) -> str | None:
    """Return the module that pools behind another, if the network pools there; None if none can."""
    in_order = _IN_ORDER.fullmatch(module)
    return f"{in_order[1]}{int(in_order[2]) + 1}" if in_order else _POOLS.get(module)


def _is_strided(operation: Operation) -> bool:
    strides = operation.attributes.get("strides")
    return isinstance(strides, tuple) and max(strides) > 1


def _places(operation: Operation, entries: Mapping[str, Entry]) -> tuple[str | None, bool]:
    """Return the module that has an operation's variables, and whether it computes all of what that does.

    A convolution's bias may have gone into the norm behind it.
    """
    found = [entries[name] for name in operation.variables.values() if name in entries]
    modules = {entry.target.rpartition(".")[0] for entry in found if not entry.folded}
    is_whole = not any(entry.folded for entry in found)
    return (modules.pop() if len(modules) == 1 else None), is_whole


def _is_in(module: str | None, place: str) -> bool:
    return module is not None and (module == place or module.startswith(f"{place}."))


def _is_sequential(stage: Stage) -> bool:
    return all(_SEQUENTIAL.fullmatch(target) for target in stage.target)


def _told(step: Feature, stage: Stage) -> str:
    leaf = step.module.removeprefix(f"{stage.target[-1]}.")
    return f"{leaf} and its activation" if step.side == ACTIVATED else leaf
