"""Whether the rules of a table fit a checkpoint: by paths below a node, and by shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from porter.core.checkpoint import Checkpoint
from porter.core.object_graph import ObjectGraph
from porter.tables.known_tables import Tables
from porter.tables.table_records import Dim
from porter.tables.variants import Entry, Variant


def candidates(checkpoint: Checkpoint, tables: Tables) -> Iterator[Variant]:
    """Yield the variants whose kernels may all be there, as far as a few of their variables tell."""
    there = {spec.shape for spec in checkpoint.specs.values()}
    for name in tables.variants:
        signature = tables.signatures.get(name)
        shapes = () if signature is None else [shape for _, shape in signature.pairs]
        if all(any(shape_fits(shape, wanted, {}) for shape in there) for wanted in shapes):
            yield tables.variants[name]


def with_edges_of(variant: Variant, checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with the variant's edges if it tells only an order; usually unchanged."""
    if not tells_only_an_order(checkpoint):
        return checkpoint
    from porter.planning.arrangement import arranged  # noqa: PLC0415  (most name their layers)

    first = variant.parts[0]
    left_out = left_out_paths(variant)
    below_first = sources_of(required_entries(variant)) | left_out
    backbone = {part.name for part in variant.backbone_parts}
    below_backbone = sources_of(entry for entry in variant.entries if entry.part in backbone) | left_out
    whole = {variant.full_source(entry): len(entry.source_shape) for entry in variant.entries}
    whole |= {f"{first.path}/{path}" if first.path else path: axes for path, axes in left_out.items()}
    return arranged(checkpoint, whole, below_backbone, below_first)


def sources_of(entries: Iterable[Entry]) -> dict[str, int]:
    """Return the path of the source of each rule, with how many axes its variable has."""
    return {entry.source: len(entry.source_shape) for entry in entries}


def left_out_paths(variant: Variant) -> dict[str, int]:
    """Return paths of all that lies below what a table leaves out; of any number of axes."""
    return {f"{path}/*": 0 for path, _ in variant.left_out}


def tells_only_an_order(checkpoint: Checkpoint) -> bool:
    """Whether the source names no layers, so that their order is all there is to go by."""
    return any(node.anonymous for node in checkpoint.graph.nodes)


def required_entries(variant: Variant) -> list[Entry]:
    """Return the rules of the parts that every checkpoint of the network has."""
    return [entry for entry in variant.entries if entry.part == variant.parts[0].name]


def roots_of(graph: ObjectGraph, entries: Iterable[Entry]) -> Iterator[int]:
    """Yield nodes from which at least one of `entries` leads to a variable."""
    paths = [entry.source for entry in entries]
    for node in starts_of(graph, paths):
        if any(key_below(graph, path, node) is not None for path in paths):
            yield node


def starts_of(graph: ObjectGraph, paths: Iterable[str]) -> list[int]:
    """Return the nodes at which at least one of `paths` can begin."""
    edges = {path.partition("/")[0] for path in paths}
    return sorted({node for edge in edges for node in graph.owners.get(edge, ())})


def key_below(graph: ObjectGraph, path: str, start: int) -> str | None:
    """Return the checkpoint key of the variable at `path` below a node, or None."""
    node = graph.resolve(path, start)
    return None if node is None else graph.nodes[node].key


def faults_of(
    checkpoint: Checkpoint, entries: Iterable[Entry], node: int, lengths: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """Yield (rule, line) for every entry that is missing or misshapen below `node`; bind free lengths."""
    for entry in entries:
        key = key_below(checkpoint.graph, entry.source, node)
        if key is None or key not in checkpoint.specs:
            yield entry.block, f"{entry.source} is missing"
        elif not shape_fits(shape := checkpoint.specs[key].shape, entry.source_shape, lengths):
            told = f"{entry.source} has shape {shape}, expected {shape_text(entry.source_shape)}"
            yield entry.block, told


def shape_fits(shape: tuple[int, ...], expected: tuple[Dim, ...], lengths: dict[str, int]) -> bool:
    """Whether a shape is the expected one; free lengths are noted in `lengths` and must agree."""
    if len(shape) != len(expected):
        return False
    return all(
        length == (lengths.setdefault(dim, length) if isinstance(dim, str) else dim)
        for length, dim in zip(shape, expected, strict=True)
    )


def is_fixed(dims: tuple[Dim, ...]) -> bool:
    """Whether no length is free."""
    return all(isinstance(dim, int) for dim in dims)


def shape_text(dims: tuple[Dim, ...]) -> str:
    """Return a shape for a message."""
    return f"({', '.join(map(str, dims))}{',' if len(dims) == 1 else ''})"


def shapes_at(checkpoint: Checkpoint, path: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield each node with a variable at `path` below it, and that variable's shape."""
    for node in starts_of(checkpoint.graph, [path]):
        spec = checkpoint.specs.get(key_below(checkpoint.graph, path, node) or "")
        if spec is not None:
            yield node, spec.shape
