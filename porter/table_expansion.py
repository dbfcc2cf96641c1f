"""Templates and blocks to entries: every rule of every block becomes one line per variable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from porter.errors import TableError
from porter.kinds import Leaf, kind_named
from porter.layouts import parse_layout
from porter.tables import Dim, Entry


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a template: a TensorFlow sub-layer and the PyTorch sub-module it becomes.

    Attributes:
        source: Object path below the block's layer; "" for the layer itself.
        target: Module or tensor name below the block's target.
        kind: Kind of layer.
        layout: Axis order, for kind ``"tensor"``.
        shape: TensorFlow's shape of the main variable: numbers, names, products of names.
        when: Name of a block parameter; the rule applies where it is neither 0 nor false.
        bias: True where the layer has a bias.
        bn_eps: An epsilon that TensorFlow fixes here, or None.
    """

    source: str
    target: str
    kind: str
    layout: str | None
    shape: tuple[str, ...]
    when: str | None
    bias: bool
    bn_eps: float | None


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of block: its rules, the defaults of its parameters, and the modules that make its stage."""

    name: str
    rules: tuple[Rule, ...]
    defaults: Mapping[str, Any]
    modules: tuple[str, ...]

    @property
    def parameters(self) -> set[str]:
        """Every name that a rule refers to."""
        names = {rule.when for rule in self.rules if rule.when}
        for rule in self.rules:
            names.update(n for token in rule.shape for n in token.split("*") if not n.isdigit())
        return names


@dataclass(frozen=True, slots=True)
class Block:
    """One line of a variant's block list."""

    stage: str
    part: str
    source: str
    target: str
    template: Template
    parameters: Mapping[str, Dim]


def expand(block: Block) -> Iterator[tuple[Rule, Entry]]:
    """Yield (rule, entry) for every variable of `block`.

    Raises:
        TableError: a shape does not fit its kind or names an unknown parameter.
    """
    for rule in block.template.rules:
        if rule.when is None or block.parameters[rule.when]:
            for leaf in _leaves(rule):
                yield rule, _entry(block, rule, leaf)


def has_counter(rule: Rule) -> bool:
    """Whether PyTorch keeps a batch counter for the rule's layer."""
    return kind_named(rule.kind, rule.layout).counter


def _leaves(rule: Rule) -> Iterator[Leaf]:
    kind = kind_named(rule.kind, rule.layout)
    if len(rule.shape) != kind.rank:
        raise TableError(
            "table/rank",
            f"rule {rule.source!r}: shape {' '.join(rule.shape)!r}",
            expected=f"{kind.rank} lengths for kind {kind.name!r}",
        )
    yield from kind.leaves
    if rule.bias:
        if kind.bias is None:
            raise TableError("table/bias", f"rule {rule.source!r}: kind {kind.name!r} has no bias")
        yield kind.bias


def _entry(block: Block, rule: Rule, leaf: Leaf) -> Entry:
    dims = [_length(token, block.parameters) for token in rule.shape]
    shape = tuple(dims if leaf.axes is None else [dims[axis] for axis in leaf.axes])
    layout = parse_layout(leaf.layout)
    return Entry(
        part=block.part,
        source=_join("/", block.source, rule.source, leaf.source),
        source_shape=shape,
        layout=layout,
        target=_join(".", block.target, rule.target, leaf.target),
        target_shape=_target_shape(shape, leaf.layout),
        kind=rule.kind,
        bn_eps=rule.bn_eps,
        is_variance=leaf.is_variance,
        block=f"{block.stage}: {block.template.name}.{rule.source or leaf.source}",
    )


def _length(token: str, parameters: Mapping[str, Dim]) -> Dim:
    factors = [int(name) if name.isdigit() else parameters[name] for name in token.split("*")]
    if len(factors) == 1:
        return factors[0]
    product = 1
    for factor in factors:
        if isinstance(factor, str):
            raise TableError("table/shape", f"{token!r}: a free length cannot be multiplied")
        product *= factor
    return product


def _target_shape(shape: tuple[Dim, ...], pattern: str) -> tuple[Dim, ...]:
    """Apply a layout to a shape whose lengths may be names; a merged axis must be known."""
    layout = parse_layout(pattern)
    names = dict(zip((group[0] if group else "1" for group in layout.source), shape, strict=True))
    result: list[Dim] = []
    for group in layout.target:
        known = [names[axis] for axis in group if names[axis] != 1]
        if len(known) <= 1:
            result.append(known[0] if known else 1)
        else:
            result.append(_length("*".join(map(str, known)), {}))
    return tuple(result)


def _join(separator: str, *names: str) -> str:
    return separator.join(name for name in names if name)
