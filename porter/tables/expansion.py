"""Templates and blocks to entries: every rule of every block becomes one line per variable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from porter.core.layouts import parse_layout
from porter.errors import TableError
from porter.tables.kinds import Kind, Leaf, kind_named
from porter.tables.table_records import Constant, Dim
from porter.tables.variants import Entry

_MEAN = "running_mean"
# What a layer computes with where it has no such variable.
IMPLIED: Mapping[str, float] = MappingProxyType({"gamma": 1.0, "beta": 0.0, "bias": 0.0})
_COUNTED = re.compile(r"(\w+)\{\+\w*\}")


class Rule(NamedTuple):
    """One line of a template: a TensorFlow sub-layer and the PyTorch sub-module it becomes.

    Attributes:
        source: Object path below the block's layer; "" for the layer itself. With numbered layers a label,
            which rules about one layer share, and after a slash the path below that layer.
            ``conv2d{+label}`` is the next layer of that kind, as Keras counts them.
        target: Module or tensor name below the block's target.
        kind: Kind of layer.
        layout: Axis order, for kind ``"tensor"``.
        shape: TensorFlow's shape of the main variable: numbers, names, products of names.
        when: Name of a block parameter; the rule applies if it is neither 0 nor false.
        bias: True if the layer has a bias, ``"fold"`` if a batch normalisation takes it up.
        bias_into: That batch normalisation, below the block's target.
        bn_eps: An epsilon that TensorFlow fixes here, or None.
        join: True if the variable is one of several that make up the target, along its first axis.
        repeat: Name of a block parameter, or a number: how many layers the rule stands for, ``{}`` in
            `source` being their number from 0; None for one layer.
        scale: The values of the main variable are multiplied by it.
        gain: Gain of the main variable when its values are random, or None for the usual.
        without: Variables that PyTorch's layer has and TensorFlow's does without: gamma, beta or bias.
        neither: Variables that both do without.
        ones: For kind ``"tensor"``: shape by name of parameters beside the target that TensorFlow does
            without, and that are 1.
        zeros: Those that are 0.
        counter: For kind ``"tensor"``: whether PyTorch counts batches beside the target.
    """

    source: str
    target: str
    kind: str
    layout: str | None
    shape: tuple[str, ...]
    when: str | None
    bias: Literal["fold"] | bool
    bias_into: str
    bn_eps: float | None
    join: bool
    repeat: str | None
    scale: float
    gain: float | None
    without: tuple[str, ...] = ()
    neither: tuple[str, ...] = ()
    ones: Mapping[str, str] = MappingProxyType({})
    zeros: Mapping[str, str] = MappingProxyType({})
    counter: bool = False


class Template:
    """A kind of block: its rules, the defaults of its parameters, and the modules that make its stage."""

    __slots__ = ("defaults", "modules", "name", "parameters", "rules")

    def __init__(
        self, name: str, rules: tuple[Rule, ...], defaults: Mapping[str, Any], modules: tuple[str, ...]
    ) -> None:
        self.name = name
        self.rules = rules
        self.defaults = defaults
        self.modules = modules
        self.parameters = frozenset(_names(rules))


class Block(NamedTuple):
    """One block of a variant.

    Attributes:
        stage: Name of the stage that it is.
        part: Name of the part it belongs to.
        source: Object path of its layer below the part; "" if layers are numbered.
        target: PyTorch module.
        template: Its kind.
        parameters: Value of every name that a rule of the template refers to.
        probe: Object path below the model of the layer whose output is the stage, or None.
        modules: PyTorch modules of the stage, or None for the template's.
        activation: Whether the last module computes the activation too that follows its layer; None if the
            table does not say.
        pool: Whether the last module pools too.
    """

    stage: str
    part: str
    source: str
    target: str
    template: Template
    parameters: Mapping[str, Dim]
    probe: str | None
    modules: tuple[str, ...] | None
    activation: bool | None = None
    pool: bool = False


class Numbering:
    """Hands out ``layer_with_weights-N``, the edges by which Keras tracks the layers of a flat model.

    Args:
        first: The first number by object path of a part; parts with the same path share their numbers.
    """

    def __init__(self, first: Mapping[str, int]) -> None:
        self._next = dict(first)

    def take(self, path: str) -> str:
        """Return the edge of the next layer of the part at `path`."""
        number = self._next[path]
        self._next[path] = number + 1
        return f"layer_with_weights-{number}"


class LayerNames:
    """Names layers as Keras does over a whole network if the code gives no names: conv2d, conv2d_1, ..."""

    def __init__(self) -> None:
        self._next: Counter[str] = Counter()

    def named(self, path: str) -> str:
        """Return a path with each ``conv2d{+label}`` replaced by the next name of that kind."""
        return _COUNTED.sub(self._name, path)

    def _name(self, match: re.Match[str]) -> str:
        kind = match[1]
        number = self._next[kind]
        self._next[kind] += 1
        return f"{kind}_{number}" if number else kind


def expand(
    block: Block,
    leaf_names: Mapping[str, str],
    part_path: str,
    numbering: Numbering | None,
    layer_names: LayerNames,
) -> Iterator[tuple[Rule, Entry]]:
    """Yield (rule, entry) for every variable of `block`.

    Args:
        block: The block.
        leaf_names: What the source calls a variable that is called otherwise here.
        part_path: Object path of the block's part below the model.
        numbering: How layers are numbered if nothing else distinguishes them.
        layer_names: What was counted in the blocks before.

    Raises:
        TableError: a shape does not fit its kind or names an unknown parameter.
    """
    numbered: dict[str, str] = {}
    for rule in block.template.rules:
        if rule.when is None or block.parameters[rule.when]:
            for layer in _layers(rule, block):
                source = layer_names.named(layer)
                if numbering is not None:
                    label, _, inside = layer.partition("/")
                    if label not in numbered:
                        numbered[label] = numbering.take(part_path)
                    source = f"{numbered[label]}/{inside}" if inside else numbered[label]
                for leaf, is_main in _leaves(rule):
                    yield rule, _entry(block, rule, source, leaf, leaf_names, is_main=is_main)


def constants(block: Block) -> Iterator[Constant]:
    """Yield the parameters of PyTorch's that the layers of `block` do without in TensorFlow."""
    for rule in block.template.rules:
        if rule.when is None or block.parameters[rule.when]:
            yield from _beside(rule, block)
            kind = kind_named(rule.kind, rule.layout)
            for leaf in filter(None, (*kind.leaves, kind.bias)):
                if leaf.source in rule.without:
                    for layer in _layers(rule, block):
                        entry = _entry(block, rule, layer, leaf, {}, is_main=False)
                        yield Constant(block.part, entry.target, entry.target_shape, IMPLIED[leaf.source])


def _beside(rule: Rule, block: Block) -> Iterator[Constant]:
    """Yield the parameters that a rule of one tensor names beside its target."""
    module = ".".join(filter(None, (block.target, rule.target.rpartition(".")[0])))
    for value, shapes in ((1.0, rule.ones), (0.0, rule.zeros)):
        for leaf, shape in shapes.items():
            lengths = tuple(_length(token, block.parameters) for token in shape.split())
            yield Constant(block.part, ".".join(filter(None, (module, leaf))), lengths, value)


def has_counter(rule: Rule, entry: Entry) -> bool:
    """Whether PyTorch keeps a batch counter beside an entry of a rule."""
    return rule.counter or (entry.is_variance and kind_named(rule.kind, rule.layout).counter)


def check_rule(rule: Rule) -> None:
    """Check what can be checked of a rule without a block.

    Raises:
        TableError: kind, layout, rank and bias do not fit each other.
    """
    kind = kind_named(rule.kind, rule.layout)
    if len(rule.shape) != kind.rank:
        raise TableError(
            "table/rank",
            f"shape {' '.join(rule.shape)!r}",
            expected=f"{kind.rank} lengths for kind {kind.name!r}",
            found=len(rule.shape),
        )
    if rule.bias and kind.bias is None:
        raise TableError("table/bias", f"kind {kind.name!r} has no bias")
    if (rule.bias == "fold") != bool(rule.bias_into):
        raise TableError("table/fold", "bias = 'fold' and bias_into belong together")
    known = {leaf.source for leaf in (*kind.leaves, kind.bias) if leaf} & IMPLIED.keys()
    if not set(rule.without) <= known or (rule.bias and "bias" in rule.without):
        raise TableError(
            "table/without", f"without = {list(rule.without)}", expected=f"some of {sorted(known)}"
        )
    leaves = {leaf.source for leaf in kind.leaves}
    if not set(rule.neither) < leaves or set(rule.neither) & set(rule.without):
        raise TableError(
            "table/neither", f"neither = {list(rule.neither)}", expected=f"some of {sorted(leaves)}"
        )
    if rule.kind != "tensor" and (rule.ones or rule.zeros or rule.counter):
        raise TableError(
            "table/beside", "ones, zeros and counter belong to kind 'tensor'", hint="Use without."
        )
    if (rule.repeat is not None) != ("{}" in rule.source):
        raise TableError("table/repeat", "a rule with repeat, and no other, has {} in its key")


def _names(rules: tuple[Rule, ...]) -> Iterator[str]:
    """Yield every name that a rule refers to."""
    for rule in rules:
        if rule.when is not None:
            yield rule.when
        beside = [token for shape in (*rule.ones.values(), *rule.zeros.values()) for token in shape.split()]
        tokens = (*rule.shape, *beside, *([rule.repeat] if rule.repeat else []))
        for token in tokens:
            yield from (name for name in token.split("*") if not name.isdigit())


def _layers(rule: Rule, block: Block) -> Iterator[str]:
    """Yield the path of every layer that the rule stands for, below the part."""
    path = f"{block.source}/{rule.source}" if block.source and rule.source else block.source or rule.source
    if rule.repeat is None:
        yield path
        return
    count = _length(rule.repeat, block.parameters)
    if not isinstance(count, int):
        raise TableError("table/repeat", f"{rule.repeat!r} is a free length")
    yield from (path.replace("{}", str(number)) for number in range(count))


def _leaves(rule: Rule) -> Iterator[tuple[Leaf, bool]]:
    """Yield (variable, whether it is the main one)."""
    kind: Kind = kind_named(rule.kind, rule.layout)
    for number, leaf in enumerate(kind.leaves):
        if leaf.source not in (*rule.without, *rule.neither):
            yield leaf, number == 0
    if rule.bias and kind.bias is not None:
        yield kind.bias, False


def _entry(
    block: Block, rule: Rule, layer: str, leaf: Leaf, leaf_names: Mapping[str, str], *, is_main: bool
) -> Entry:
    parameters = block.parameters
    dims = [parameters[t] if t in parameters else _length(t, parameters) for t in rule.shape]
    shape = tuple(dims if leaf.axes is None else [_side(dims, axis) for axis in leaf.axes])
    folded = rule.bias == "fold" and leaf.source == "bias"
    inner = (rule.bias_into, _MEAN) if folded else (rule.target, leaf.target)
    name = leaf_names.get(leaf.source, leaf.source)
    return Entry(
        part=block.part,
        source="/".join(filter(None, (layer, name))),
        source_shape=shape,
        layout=parse_layout(leaf.layout),
        target=".".join(filter(None, (block.target, *inner))),
        target_shape=_target_shape(shape, leaf.layout),
        kind=rule.kind,
        bn_eps=rule.bn_eps,
        is_variance=leaf.is_variance,
        block=f"{block.stage}: {block.template.name}.{rule.source or leaf.source}",
        role=leaf.source,
        join=rule.join,
        folded=folded,
        scale=rule.scale if is_main else 1.0,
        gain=rule.gain if is_main else None,
    )


def _side(dims: Sequence[Dim], axis: int | tuple[int, ...]) -> Dim:
    """Return the length of one axis of a leaf: one of the rule's, or the product of several."""
    lengths = [dims[axis]] if isinstance(axis, int) else [dims[n] for n in axis if dims[n] != 1]
    if len(lengths) == 1:
        return lengths[0]
    if any(isinstance(length, str) for length in lengths):
        raise TableError("table/shape", f"{dims}: a free length cannot be multiplied")
    return prod(length for length in lengths if isinstance(length, int))


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


@lru_cache(maxsize=4096)
def _target_shape(shape: tuple[Dim, ...], pattern: str) -> tuple[Dim, ...]:
    """Apply a layout to a shape whose lengths may be names; a merged axis must be known."""
    layout = parse_layout(pattern)
    if layout.splits:
        lengths = [dim for dim in shape if isinstance(dim, int)]
        if len(lengths) != len(shape):
            raise TableError("table/shape", f"{pattern!r}: a free length cannot be split")
        return layout.target_shape(tuple(lengths))
    names = dict(zip((group[0] if group else "1" for group in layout.source), shape, strict=True))
    result: list[Dim] = []
    for group in layout.target:
        known = [names[axis] for axis in group if names[axis] != 1]
        if len(known) <= 1:
            result.append(known[0] if known else 1)
        else:
            result.append(_length("*".join(map(str, known)), {}))
    return tuple(result)
