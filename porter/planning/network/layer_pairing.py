"""Where two networks with the same variables compute something else."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.canonical import PREPARED
from porter.planning.network.small_maps import AS_CONV, AS_POOL, in_form_of

# Known of the source and compared elsewhere, or no part of what is computed.
_APART = frozenset(
    (
        "epsilon",
        "norm_epsilon",
        "bn_epsilon",
        "padding",
        "same_amounts",
        "kernel",
        "shape",
        "use_bias",
        PREPARED,
        AS_CONV,
        AS_POOL,
    )
)
_COMMUTATIVE = ("add", "multiply")
_USUAL = {"groups": 1}  # of a 1x1 convolution on one pixel, which is a dense layer
_MOST_PERMUTED = 3
POOLS = ("global_avg_pool", "global_max_pool")
ACTIVATIONS = frozenset(
    (
        "relu",
        "sigmoid",
        "softmax",
        "tanh",
        "softplus",
        "swish",
        "hard_sigmoid",
        "hard_swish",
        "gelu",
        "elu",
        "mish",
    )
)


class LayerDifference(NamedTuple):
    """One layer that computes something else.

    Attributes:
        layer: Its name in the source.
        expected: What the table's network does there.
        found: What the source says.
    """

    layer: str
    expected: str
    found: str


class Pairing:
    """Two networks, and which of their operations have the same variables.

    Args:
        source: The source's network, its variables named like the reference's.
        reference: The network of the table.
        ported: Names of the variables that are ported; what belongs to others is not compared.

    Attributes:
        pairs: Number of the reference's operation to the source's.
    """

    def __init__(self, source: StoredNetwork, reference: StoredNetwork, ported: frozenset[str]) -> None:
        self._source, self._reference = source.operations, reference.operations
        owners = {name: n for n, o in enumerate(self._source) for name in o.variables.values()}
        self.pairs: dict[int, int] = {}
        self._unpaired: list[int] = []
        for number, operation in enumerate(self._reference):
            names = [name for name in operation.variables.values() if name in ported]
            found = {owners[name] for name in names if name in owners}
            if len(found) == 1:
                self.pairs[number] = found.pop()
            elif names:
                self._unpaired.append(number)
        self._owned = {found: number for number, found in self.pairs.items()}
        self._known: dict[tuple[int, int], tuple[LayerDifference, ...]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every layer of the reference is one layer of the source."""
        return bool(self.pairs) and not self._unpaired and len(self._owned) == len(self.pairs)

    def missing(self) -> tuple[LayerDifference, ...]:
        """Return the layers whose variables are stored, and which the source's network leaves out.

        What follows the source's last layer is not among them: a network may be stored without it.
        """
        owned = {name for operation in self._source for name in operation.variables.values()}
        if len(self.pairs) <= len(self._unpaired) or len(self._owned) != len(self.pairs):
            return ()
        last = max(self.pairs)
        found = [self._reference[n] for n in self._unpaired if n < last]
        return tuple(
            LayerDifference(names[0].rpartition("/")[0], operation.kind, "no layer with its variables")
            for operation in found
            if (names := sorted(operation.variables.values())) and not owned & {*names}
        )

    def differences(self, among: Collection[str] | None = None) -> tuple[LayerDifference, ...]:
        """Return every difference in front of, and in, the layers that have variables.

        Args:
            among: Those with one of these variables alone; all if None.
        """
        found: dict[LayerDifference, None] = {}
        for number, other in self.pairs.items():
            reference, source = self._reference[number], self._source[other]
            if among is not None and not any(name in among for name in reference.variables.values()):
                continue
            found |= dict.fromkeys(own_differences(source, reference))
            found |= dict.fromkeys(self._inputs(other, number))
        return tuple(found)

    def last(self) -> tuple[int, int]:
        """Return the numbers of the last paired operation, in the source and in the reference."""
        number = max(self.pairs)
        return self.pairs[number], number

    def _inputs(self, source: int, reference: int) -> tuple[LayerDifference, ...]:
        """Return the differences between what two operations take."""
        given, wanted = self._source[source], self._reference[reference]
        if len(given.inputs) != len(wanted.inputs):
            told = f"{len(wanted.inputs)} inputs", f"{len(given.inputs)} inputs"
            return (LayerDifference(given.name, *told),)
        is_free = wanted.kind in _COMMUTATIVE and len(given.inputs) <= _MOST_PERMUTED
        best: tuple[LayerDifference, ...] | None = None
        for order in permutations(given.inputs) if is_free else (given.inputs,):
            pairs = zip(order, wanted.inputs, strict=True)
            found = tuple(d for pair in pairs for d in self._between(*pair, given))
            if best is None or len(found) < len(best):
                best = found
            if not best:
                break
        return best or ()

    def _between(self, source: int, reference: int, user: Operation) -> tuple[LayerDifference, ...]:
        """Return the differences between two outputs that `user` takes."""
        if (source, reference) not in self._known:
            self._known[source, reference] = self._compared(source, reference, user)
        return self._known[source, reference]

    def _compared(self, source: int, reference: int, user: Operation) -> tuple[LayerDifference, ...]:
        given, wanted = self._source[source], self._reference[reference]
        if source in self._owned or reference in self.pairs:
            if self.pairs.get(reference) == source:
                return ()
        elif in_form_of(given, wanted).kind == wanted.kind:
            return tuple(own_differences(given, wanted)) or self._inputs(source, reference)
        layer = user.name if given.kind == "input" or source in self._owned else given.name
        behind = "" if layer != user.name else "takes "
        return (LayerDifference(layer, behind + self._told(wanted, reference), behind + told(given)),)

    def _told(self, wanted: Operation, reference: int) -> str:
        """Say what the reference has, by the source's names."""
        other = self.pairs.get(reference)
        return told(wanted) if other is None else told(wanted._replace(name=self._source[other].name))


def tail(operations: Sequence[Operation], number: int) -> Iterator[Operation]:
    """Yield what follows an operation, as long as one thing alone takes its output."""
    while True:
        users = [n for n, o in enumerate(operations[number + 1 :], number + 1) if number in o.inputs]
        if len(users) != 1:
            return
        number = users[0]
        yield operations[number]


def told(operation: Operation) -> str:
    """Return an operation in words: ``"relu (max_value 6)"``."""
    if operation.kind == "input":
        return "the image"
    values = {
        name: value
        for name, value in operation.attributes.items()
        if name not in ("same_amounts", "kernel", "use_bias", "class_name", "shape", AS_CONV, AS_POOL)
        and value not in (None, 0.0, (1, 1), 1, [])
    }
    kind = operation.kind if operation.kind != "other" else str(operation.attributes.get("class_name"))
    if operation.variables:
        return f"{kind} {operation.name}"
    inner = ", ".join(f"{name} {_value(value)}" for name, value in values.items())
    return f"{kind} ({inner})" if inner else kind


def own_differences(given: Operation, wanted: Operation) -> Iterator[LayerDifference]:
    """Yield the differences between the attributes of two operations."""
    given = in_form_of(given, wanted)
    if given.kind != wanted.kind:
        yield LayerDifference(given.name, wanted.kind, given.kind)
        return
    for name in sorted({*given.attributes, *wanted.attributes} - _APART):
        usual = _USUAL.get(name)
        is_there, should = given.attributes.get(name, usual), wanted.attributes.get(name, usual)
        if not _equal(is_there, should):
            yield LayerDifference(given.name, f"{name} {_value(should)}", f"{name} {_value(is_there)}")
    if not _epsilon_is_adopted(given):
        is_there, should = given.attributes.get("epsilon"), wanted.attributes.get("epsilon")
        if not _equal(is_there, should):
            yield LayerDifference(given.name, f"epsilon {_value(should)}", f"epsilon {_value(is_there)}")
    if "padding" in wanted.attributes and not _pads_alike(given.attributes, wanted.attributes):
        yield LayerDifference(
            given.name,
            f"padding {_padding(wanted.attributes['padding'])}",
            f"padding {_padding(given.attributes['padding'])}",
        )


def _epsilon_is_adopted(operation: Operation) -> bool:
    """Whether its epsilon is an argument of the port: that of a norm with a variance of its own."""
    return operation.kind == "norm" or any(role.endswith("variance") for role in operation.variables)


def _pads_alike(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two paddings are one.

    The reference's is ``"same"``, or every amount that was seen at even and odd sizes. Several mean that the
    network pads as SAME does.
    """
    padding, allowed = given["padding"], wanted["padding"]
    at_size = given.get("same_amounts")
    if allowed in ("same", padding):
        return bool(padding == allowed or (at_size is not None and padding == at_size))
    if isinstance(allowed, str):
        return False
    pads_as_same = len(allowed) > 1
    if pads_as_same and (padding == "same" or at_size is not None):
        return bool(padding in ("same", at_size))
    amounts = at_size if padding == "same" else padding
    return amounts in allowed


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, float | int) and isinstance(second, float | int):
        return bool(first == second) or abs(first - second) <= 1e-6 * max(abs(first), abs(second))
    return bool(_plain(first) == _plain(second))


def _plain(value: Any) -> Any:
    """Return tuples as lists: JSON knows no others."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _padding(value: Any) -> str:
    """Say what pads: several amounts at several sizes are SAME."""
    return "same" if value and not isinstance(value, str) and not _is_amounts(value) else _value(value)


def _is_amounts(value: Any) -> bool:
    """Whether a padding is (top, bottom), (left, right), or a list of one such."""
    return len(value) == 1 or isinstance(value[0][0], int)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)
