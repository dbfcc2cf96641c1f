"""timm's tensor names to another library's: data, independent of order, and a bijection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from porter.core.layouts import Layout
from porter.errors import PlanError

_INDEX = re.compile(r"\{([a-z]+)(?::(\d+)\.\.(\d+))?\}")
_EXPRESSION = re.compile(r"\{(\d*)([a-z]+)([+-]\d+)?\}")


@dataclass(frozen=True, slots=True)
class Rename:
    """What one timm module or tensor is called.

    Attributes:
        names: Its name; several if timm's tensor is split into equal parts along axis 0.
        layout: Axis order from timm's tensor to the target's, or None if they are the same.
    """

    names: tuple[str, ...]
    layout: Layout | None = None


@dataclass(frozen=True, slots=True)
class BlockLine:
    """Blocks of one kind: those that hold exactly these modules.

    Attributes:
        timm: Pattern of the block's name, ``"blocks.{s}.{b}"``; ``{s:2..4}`` fits these numbers only.
        target: Its name in the target; ``{b}``, ``{2b+1}``, and ``{n}`` for its number among all blocks of
            the pattern, in timm's order.
        modules: Module or tensor name below the block to its name below the target's.
        optional: Those that a block of this kind may lack.
    """

    timm: str
    target: str
    modules: Mapping[str, Rename]
    optional: frozenset[str]


@dataclass(frozen=True, slots=True)
class Names:
    """All names of a table.

    Attributes:
        title: The target's network in words.
        outside: Module or tensor name outside the blocks to its name.
        optional: Those of `outside` that may be missing.
        blocks: Kinds of blocks.
    """

    title: str
    outside: Mapping[str, Rename]
    optional: frozenset[str]
    blocks: tuple[BlockLine, ...]


def rename(names: Names, tensors: Iterable[str]) -> dict[str, Rename]:
    """Return the new name, or names, of every timm tensor.

    Raises:
        PlanError: a tensor or block fits no rule or more than one, a rule fits nothing, or two tensors would
            get one name.
    """
    given = list(tensors)
    found: dict[str, list[Rename]] = {tensor: [] for tensor in given}
    for names_of_block in _all_blocks(names, given):
        for tensor, renamed in names_of_block:
            found[tensor].append(renamed)
    for tensor, renamed in _leaves(names.outside, given):
        found[tensor].append(renamed)
    _refuse_unused(names, given)
    return _unique(names.title, found)


def _all_blocks(names: Names, tensors: list[str]) -> Iterator[list[tuple[str, Rename]]]:
    """Yield the new names of every block. A tensor belongs to the deepest pattern that it fits."""
    rest = tensors
    patterns = dict.fromkeys(line.timm for line in names.blocks)
    for _, same in groupby(sorted(patterns, key=_depth, reverse=True), key=_depth):
        taken: set[str] = set()
        for pattern in same:
            lines = [line for line in names.blocks if line.timm == pattern]
            for number, (prefix, indices, below) in enumerate(_blocks(pattern, rest)):
                line = _line(lines, prefix, below)
                numbers = indices | {"n": number}
                yield [
                    (f"{prefix}.{tensor}", _below(line.target, renamed, numbers))
                    for tensor, renamed in _leaves(line.modules, below)
                ]
                taken.update(f"{prefix}.{tensor}" for tensor in below)
        rest = [tensor for tensor in rest if tensor not in taken]


def _depth(pattern: str) -> int:
    return _INDEX.sub("0", pattern).count(".")


def _blocks(pattern: str, tensors: list[str]) -> Iterator[tuple[str, dict[str, int], list[str]]]:
    """Yield (name, indices, tensors below it) of every block of the pattern, in timm's order."""
    ranges = {name: range(int(a), int(b) + 1) for name, a, b in _INDEX.findall(pattern) if a}
    compiled = re.compile(f"(?P<block_>{_regex(pattern)})\\.(?P<below_>.+)")
    blocks: dict[tuple[int, ...], tuple[str, dict[str, int], list[str]]] = {}
    for match in filter(None, map(compiled.fullmatch, tensors)):
        named = match.groupdict()
        prefix, tensor = named.pop("block_"), named.pop("below_")
        indices = {name: int(value) for name, value in named.items()}
        if all(indices[name] in allowed for name, allowed in ranges.items()):
            blocks.setdefault(tuple(indices.values()), (prefix, indices, []))[2].append(tensor)
    for key in sorted(blocks):
        yield blocks[key]


def _regex(pattern: str) -> str:
    position, pieces = 0, []
    for match in _INDEX.finditer(pattern):
        pieces += [re.escape(pattern[position : match.start()]), f"(?P<{match.group(1)}>\\d+)"]
        position = match.end()
    return "".join([*pieces, re.escape(pattern[position:])])


def _line(lines: list[BlockLine], block: str, tensors: list[str]) -> BlockLine:
    fitting = [line for line in lines if _fits(line, tensors)]
    if len(fitting) != 1:
        raise PlanError(
            "target/block",
            f"block {block!r} of timm's network fits {len(fitting)} kinds of block of the target",
            expected="exactly one",
            found=", ".join(tensors[:6]),
        )
    return fitting[0]


def _fits(line: BlockLine, tensors: list[str]) -> bool:
    used = {_key(line.modules, tensor) for tensor in tensors}
    return None not in used and used >= set(line.modules) - line.optional


def _key(modules: Mapping[str, Rename], tensor: str) -> str | None:
    """Return the key that means `tensor`: its own name, or the module it is a parameter of."""
    return next((key for key in (tensor, tensor.rpartition(".")[0]) if key in modules), None)


def _leaves(modules: Mapping[str, Rename], tensors: Iterable[str]) -> Iterator[tuple[str, Rename]]:
    for tensor in tensors:
        key = _key(modules, tensor)
        if key is not None:
            rule = modules[key]
            leaf = tensor[len(key) :]
            yield tensor, Rename(tuple(name + leaf for name in rule.names), rule.layout)


def _below(target: str, renamed: Rename, numbers: Mapping[str, int]) -> Rename:
    def value(match: re.Match[str]) -> str:
        factor, name, offset = match.groups()
        return str(int(factor or 1) * numbers[name] + int(offset or 0))

    names = (".".join(filter(None, (target, name))) for name in renamed.names)
    return Rename(tuple(_EXPRESSION.sub(value, name) for name in names), renamed.layout)


def _refuse_unused(names: Names, tensors: list[str]) -> None:
    used = {_key(names.outside, tensor) for tensor in tensors}
    missing = set(names.outside) - names.optional - used
    if missing:
        raise PlanError("target/missing", f"{names.title} needs timm's {min(missing)!r}, which is not there")


def _unique(title: str, found: Mapping[str, list[Rename]]) -> dict[str, Rename]:
    owners: dict[str, str] = {}
    for tensor, rules in found.items():
        if len(rules) != 1:
            raise PlanError(
                "target/no-name" if not rules else "target/two-names",
                f"{title} has {len(rules)} names for this tensor",
                tensor=tensor,
                expected="exactly one",
            )
        for name in rules[0].names:
            if name in owners:
                raise PlanError("target/same-name", f"{owners[name]!r} is called {name!r} too", tensor=tensor)
            owners[name] = tensor
    return {tensor: rules[0] for tensor, rules in found.items()}
