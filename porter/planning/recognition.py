"""Which network is in a checkpoint, and where: decided by names and shapes, never by a file's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.core.object_graph import ObjectGraph
from porter.errors import PlanError
from porter.planning.arrangement import arranged
from porter.tables.variants import Dim, Entry, Signature, Tables, Variant, stem

_SHOWN = 5
_MOST_TRIED = 10  # what is not among the likest of a hundred would not be among the five that are shown


class Match(NamedTuple):
    """A variant whose every rule found its variable.

    Attributes:
        variant: The network.
        nodes: Object graph node of each part that is there.
        keys: Checkpoint key of each entry of the variant, in order; None for a part that is not there.
        lengths: Lengths that the checkpoint decided, by name.
        graph: What `nodes` are numbers in: the checkpoint's graph, with edges for what it does not name.
        twins: Variants that fit alike and were passed over, because a table says that this one is meant.
    """

    variant: Variant
    nodes: Mapping[str, int]
    keys: tuple[str | None, ...]
    lengths: Mapping[str, int]
    graph: ObjectGraph
    twins: tuple[Variant, ...] = ()


class Mismatch(NamedTuple):
    """Why a variant does not fit, at the place where it fits best.

    Attributes:
        variant: The network that was tried.
        found: How many of its variables are there with the right shape.
        total: How many it has.
        reasons: One line per variable that is missing or has another shape.
        rules: Where in the table the rule of each of them stands.
    """

    variant: Variant
    found: int
    total: int
    reasons: tuple[str, ...]
    rules: tuple[str, ...]

    def __str__(self) -> str:
        """Return one line for the list of candidates."""
        first = self.reasons[0] if self.reasons else "no variable of it is here"
        more = f" (and {len(self.reasons) - 1} more)" if len(self.reasons) > 1 else ""
        return f"{self.variant.name}: {self.found} of {self.total} variables fit; {first}{more}"


def recognise(checkpoint: Checkpoint, tables: Tables, variant: str | None = None) -> Match:
    """Find the one network of `tables` that the checkpoint holds.

    Args:
        checkpoint: The source.
        tables: Known networks.
        variant: Try this one only; needed where two networks have the same names and shapes.

    Raises:
        PlanError: no network fits, another than `variant` does, more than one does, or one is there twice.
        TableError: `variant` is not known.
    """
    wanted = [tables.variant(variant)] if variant else list(_candidates(checkpoint, tables))
    matches = _found(checkpoint, wanted)
    if not matches and variant:
        _refuse_other(checkpoint, wanted[0], _found(checkpoint, _candidates(checkpoint, tables)))
        raise _no_match(checkpoint, wanted, known=wanted[0].name)
    if not matches:
        raise _no_match(checkpoint, list(_near(checkpoint, tables)), known=_any_of(tables))
    matches = _without_twins(matches)
    if len({match.variant.name for match in matches}) > 1:
        names = ", ".join(sorted({match.variant.name for match in matches}))
        raise PlanError(
            "plan/ambiguous-variant",
            f"the names and shapes fit {names} alike",
            file=checkpoint.path,
            hint="Say which one it is with --variant.",
        )
    if len(matches) > 1:
        places = ", ".join(sorted(_place(match) for match in matches))
        raise PlanError(
            "plan/several-networks",
            f"{matches[0].variant.name} is there {len(matches)} times: at {places}",
            file=checkpoint.path,
            hint="Save the one you want by itself.",
        )
    return matches[0]


def _found(checkpoint: Checkpoint, candidates: Iterable[Variant]) -> list[Match]:
    return _most_complete([match for candidate in candidates for match in _matches(checkpoint, candidate)])


def _refuse_other(checkpoint: Checkpoint, wanted: Variant, there: list[Match]) -> None:
    """Say which network the checkpoint holds, where that is known."""
    if there:
        names = " or ".join(sorted({match.variant.name for match in _without_twins(there)}))
        raise PlanError(
            "plan/other-network",
            f"its names and shapes are those of {names}",
            file=checkpoint.path,
            expected=wanted.name,
            hint="Leave --variant out, or look for the checkpoint that was meant.",
        )


def _without_twins(matches: list[Match]) -> list[Match]:
    """Pass over a network where the one that it is a twin of fits too; that one's match names it."""
    names = {match.variant.name for match in matches}
    twins: dict[str, dict[str, Variant]] = {}
    for match in matches:
        if match.variant.twin is not None and match.variant.twin.of in names:
            twins.setdefault(match.variant.twin.of, {})[match.variant.name] = match.variant
    passed_over = {name for found in twins.values() for name in found}
    return [
        match._replace(twins=tuple(twins.get(match.variant.name, {}).values()))
        for match in matches
        if match.variant.name not in passed_over
    ]


def _most_complete(matches: list[Match]) -> list[Match]:
    """Leave out what takes some of another match's variables and no others: a network without its biases."""
    taken = [frozenset(key for key in match.keys if key is not None) for match in matches]
    return [
        match for match, keys in zip(matches, taken, strict=True) if not any(keys < more for more in taken)
    ]


def mismatch(checkpoint: Checkpoint, variant: Variant) -> Mismatch:
    """Return how far `variant` fits, for a checkpoint that it does not fit."""
    required = _required(variant)
    checkpoint = _with_edges_of(variant, checkpoint)
    best = Mismatch(variant, 0, len(required), (), ())
    for node in _roots(checkpoint.graph, required):
        faults = list(_faults(checkpoint, required, node, {}))
        found = len(required) - len(faults)
        if found > best.found:
            rules, reasons = zip(*faults, strict=True) if faults else ((), ())
            best = Mismatch(variant, found, len(required), reasons, rules)
    return best


def _candidates(checkpoint: Checkpoint, tables: Tables) -> Iterator[Variant]:
    """Yield the variants that the checkpoint may hold, as far as a few of their variables tell."""
    if _tells_only_an_order(checkpoint):
        there = {spec.shape for spec in checkpoint.specs.values()}
        may_hold = partial(_has_shapes, there)
    else:
        may_hold = partial(_has_variables, checkpoint, {})
    for name in tables.variants:
        signature = tables.signatures.get(name)
        if signature is None or may_hold(signature):
            yield tables.variants[name]


def _near(checkpoint: Checkpoint, tables: Tables) -> Iterator[Variant]:
    """Yield the variants that are likest to the checkpoint by their signatures.

    To expand and try every variant takes seconds, and a refusal names five.
    """
    unnamed = _tells_only_an_order(checkpoint)
    stems = set(map(stem, checkpoint.graph.owners))
    shapes = {spec.shape for spec in checkpoint.specs.values()}
    known: dict[str, dict[int, tuple[int, ...]]] = {}
    likeness: dict[str, tuple[float, float]] = {}
    for name in tables.variants:
        signature = tables.signatures.get(name)
        if signature is None:
            yield tables.variants[name]
        elif unnamed or not stems.isdisjoint(signature.stems):
            likeness[name] = _likeness(checkpoint, known, shapes, signature)
    for name in sorted(likeness, key=lambda name: likeness[name], reverse=True)[:_MOST_TRIED]:
        yield tables.variants[name]


def _likeness(
    checkpoint: Checkpoint,
    known: dict[str, dict[int, tuple[int, ...]]],
    shapes: set[tuple[int, ...]],
    signature: Signature,
) -> tuple[float, float]:
    """Return which shares of a signature are there, by path and shape below one node, and by shape alone."""
    fitting: Counter[int] = Counter()
    for path, wanted in signature.pairs:
        if path not in known:
            known[path] = dict(_shapes_at(checkpoint, path))
        fitting.update(node for node, shape in known[path].items() if _fits(shape, wanted, {}))
    alike = sum(
        wanted in shapes or (not _is_fixed(wanted) and any(_fits(shape, wanted, {}) for shape in shapes))
        for _, wanted in signature.pairs
    )
    count = len(signature.pairs)
    return max(fitting.values(), default=0) / count, alike / count


def _has_shapes(there: set[tuple[int, ...]], signature: Signature) -> bool:
    """Whether every shape of the signature is there: all that can be said before names are found."""
    return all(any(_fits(shape, wanted, {}) for shape in there) for _, wanted in signature.pairs)


def _has_variables(
    checkpoint: Checkpoint, known: dict[str, dict[int, tuple[int, ...]]], signature: Signature
) -> bool:
    """Whether a node has all of the signature below it; `known` keeps the shapes below each node by path."""
    for path, _ in signature.pairs:
        if path not in known:
            known[path] = dict(_shapes_at(checkpoint, path))
    first, _ = signature.pairs[0]
    return any(
        all(node in known[path] and _fits(known[path][node], shape, {}) for path, shape in signature.pairs)
        for node in known[first]
    )


def _shapes_at(checkpoint: Checkpoint, path: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    for node in _starts(checkpoint.graph, [path]):
        spec = checkpoint.specs.get(_key(checkpoint.graph, path, node) or "")
        if spec is not None:
            yield node, spec.shape


def _matches(checkpoint: Checkpoint, variant: Variant) -> Iterator[Match]:
    required = _required(variant)
    checkpoint = _with_edges_of(variant, checkpoint)
    graph = checkpoint.graph
    first = variant.parts[0]
    for node in _roots(graph, required[:1]):
        lengths: dict[str, int] = {}
        if next(_faults(checkpoint, required, node, lengths), None) is None:
            nodes = {first.name: node} | _optional_parts(checkpoint, variant, node, lengths)
            keys = tuple(
                _key(graph, entry.source, nodes[entry.part]) if entry.part in nodes else None
                for entry in variant.entries
            )
            yield Match(variant, nodes, keys, lengths, graph)


def _with_edges_of(variant: Variant, checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with the variant's edges where it tells only an order; usually unchanged."""
    if not _tells_only_an_order(checkpoint):
        return checkpoint
    first = variant.parts[0]
    left_out = [f"{path}/*" for path, _ in variant.left_out]
    below_first = [entry.source for entry in _required(variant)] + left_out
    whole = [variant.full_source(entry) for entry in variant.entries]
    whole += [f"{first.path}/{path}" if first.path else path for path in left_out]
    return arranged(checkpoint, whole, below_first)


def _tells_only_an_order(checkpoint: Checkpoint) -> bool:
    return any(node.anonymous for node in checkpoint.graph.nodes)


def _required(variant: Variant) -> list[Entry]:
    return [entry for entry in variant.entries if entry.part == variant.parts[0].name]


def _optional_parts(
    checkpoint: Checkpoint, variant: Variant, first_node: int, lengths: dict[str, int]
) -> dict[str, int]:
    """Find the other parts below a model whose first part is exactly the node that matched."""
    graph = checkpoint.graph
    found: dict[str, int] = {}
    path = variant.parts[0].path
    for model in _starts(graph, [path]) if path else [first_node]:
        if graph.resolve(path, model) == first_node:
            for part in variant.parts[1:]:
                node = graph.resolve(part.path, model)
                entries = [entry for entry in variant.entries if entry.part == part.name]
                if node is not None and next(_faults(checkpoint, entries, node, lengths), None) is None:
                    found[part.name] = node
    return found


def _roots(graph: ObjectGraph, entries: Iterable[Entry]) -> Iterator[int]:
    """Yield nodes from which at least one of `entries` leads to a variable."""
    paths = [entry.source for entry in entries]
    for node in _starts(graph, paths):
        if any(_key(graph, path, node) is not None for path in paths):
            yield node


def _starts(graph: ObjectGraph, paths: Iterable[str]) -> list[int]:
    """Return the nodes at which at least one of `paths` can begin."""
    edges = {path.partition("/")[0] for path in paths}
    return sorted({node for edge in edges for node in graph.owners.get(edge, ())})


def _key(graph: ObjectGraph, path: str, start: int) -> str | None:
    node = graph.resolve(path, start)
    return None if node is None else graph.nodes[node].key


def _faults(
    checkpoint: Checkpoint, entries: Iterable[Entry], node: int, lengths: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """Yield (rule, line) for every entry that is missing or misshapen below `node`; bind free lengths."""
    for entry in entries:
        key = _key(checkpoint.graph, entry.source, node)
        if key is None or key not in checkpoint.specs:
            yield entry.block, f"{entry.source} is missing"
        elif not _fits(shape := checkpoint.specs[key].shape, entry.source_shape, lengths):
            told = f"{entry.source} has shape {shape}, expected {_shape(entry.source_shape)}"
            yield entry.block, told


def _fits(shape: tuple[int, ...], expected: tuple[Dim, ...], lengths: dict[str, int]) -> bool:
    if len(shape) != len(expected):
        return False
    return all(
        length == (lengths.setdefault(dim, length) if isinstance(dim, str) else dim)
        for length, dim in zip(shape, expected, strict=True)
    )


def _is_fixed(dims: tuple[Dim, ...]) -> bool:
    return all(isinstance(dim, int) for dim in dims)


def _shape(dims: tuple[Dim, ...]) -> str:
    return f"({', '.join(map(str, dims))}{',' if len(dims) == 1 else ''})"


def _place(match: Match) -> str:
    node = match.nodes[match.variant.parts[0].name]
    return repr(match.graph.paths[node] or "the root")


def _any_of(tables: Tables) -> str:
    names = list(tables.variants)
    return names[0] if len(names) == 1 else f"any of the {len(names)} known networks"


def _no_match(checkpoint: Checkpoint, wanted: list[Variant], known: str) -> PlanError:
    tried = sorted((mismatch(checkpoint, v) for v in wanted), key=lambda m: m.found / m.total, reverse=True)
    near = [candidate for candidate in tried if candidate.found]
    if not near:
        names = list(islice(checkpoint.specs, 3))
        return PlanError(
            "plan/unknown-network",
            f"no table fits this checkpoint: none of its {len(checkpoint.specs)} variables "
            f"({', '.join(names)}, ...) belongs to {known}",
            file=checkpoint.path,
            hint="porter inspect lists what is in it; --table FILE adds a table of your own.",
            details=_lost_order(checkpoint),
        )
    return PlanError(
        "plan/no-match",
        "no network fits; the nearest are listed below",
        file=checkpoint.path,
        hint="porter inspect lists what is in it; porter table VARIANT lists what is expected.",
        details=[str(candidate) for candidate in near[:_SHOWN]] + _lost_order(checkpoint),
    )


def _lost_order(checkpoint: Checkpoint) -> list[str]:
    """Return a line for each model inside the model whose layers may be listed out of order."""
    return [
        f"{name} {'was' if certain else 'may have been'} frozen in part: the file lists first what trains "
        "and does not tell the order of the layers; the full model (.h5, .keras) or a checkpoint does"
        for name, certain in checkpoint.frozen_in_part.items()
    ]
