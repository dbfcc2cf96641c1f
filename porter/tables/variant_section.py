"""One variant of a mapping table, expanded: entries, stages and arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from porter.errors import TableError
from porter.tables.block_lists import read_blocks
from porter.tables.expansion import Block, LayerNames, Numbering, constants, expand, has_counter
from porter.tables.family_section import Family
from porter.tables.faults import Faults
from porter.tables.strict_toml import Section
from porter.tables.table_records import BatchNormEpsilon, Constant, InputSpec
from porter.tables.variants import Entry, Network, Stage, Twin, Variant

_CHECK_SIZES = (224, 225, 200)


class _Expanded(NamedTuple):
    """A block and what became of it; `used` are the (template, rule) that applied."""

    block: Block
    entries: tuple[Entry, ...]
    counters: tuple[tuple[str, str], ...]
    constants: tuple[Constant, ...]
    used: frozenset[tuple[str, str]]


def read_variant(
    name: str, section: Section, family: Family, faults: Faults, used: set[tuple[str, str]]
) -> Variant | None:
    """Take a variant from its section.

    Args:
        name: The variant.
        section: Its section.
        family: What it shares with the others of the file.
        faults: Where a fault goes.
        used: (template, rule) of every rule that applies is added.

    Returns:
        The variant; None if `faults` collected something.

    Raises:
        TableError: something is wrong, unless `faults` collects.
    """
    before = faults.count
    target = source = spec = bn_eps = activation = twin = None
    with faults.catch():
        source = Network(section.take("builder", str, family.builder), section.section("source").rest())
        target = _target(section, family)
    own = section.section("network", optional=True).rest()
    with faults.catch():
        bn_eps = _bn_eps(section, family)
    with faults.catch():
        spec = _input(section, family)
    blocks: tuple[Block, ...] = ()
    with faults.catch():
        twin = _twin(section)
        activation = section.take("float64_activation", str, None)
        blocks = _blocks(section, family, faults)
    expanded = _expand(blocks, section, family, faults)
    used.update(*(each.used for each in expanded))
    if faults.count > before or family.broken or source is None or target is None or spec is None:
        return None
    return Variant(
        name=name,
        table=family.file,
        title=family.title,
        version=family.version,
        source=source,
        target=target,
        parts=tuple(family.parts.values()),
        free=family.free,
        bn_eps=bn_eps,
        input=spec,
        float64_activation=activation,
        entries=tuple(entry for each in expanded for entry in each.entries),
        counters=tuple(dict.fromkeys(counter for each in expanded for counter in each.counters)),
        stages=tuple(_stage(each, family) for each in expanded if each.block.stage),
        network={**family.network, **own} or None,
        left_out=family.left_out,
        twin=twin,
        constants=tuple(constant for each in expanded for constant in each.constants),
        **_of_file(family),
    )


def _of_file(family: Family) -> dict[str, Any]:
    """Return what every variant of a file has alike."""
    return {
        "note": family.note,
        "classifier_activation": family.classifier_activation,
        "presets": family.presets,
        "library": family.target.library,
        "adjust": family.target.adjust,
        "proof": family.proof,
    }


def _target(section: Section, family: Family) -> Network:
    shared = family.target
    target = section.section("target", optional=bool(shared.builder))
    default: Any = {"default": shared.builder} if shared.builder else {}
    return Network(target.take("model", str, **default), {**shared.arguments, **target.rest()})


def _twin(parent: Section) -> Twin | None:
    values = parent.take("twin", dict, {})
    if not values:
        return None
    section = Section(values, parent.file, f"{parent.name}.twin")
    twin = Twin(
        section.take("of", str),
        section.take("differs", str),
        section.take("layer", str, ""),
        section.take("beside", str, ""),
    )
    section.finish()
    return twin


def _bn_eps(parent: Section, family: Family) -> BatchNormEpsilon | None:
    values = {**family.bn_eps, **parent.take("bn_eps", dict, {})}
    if not values:
        return None
    section = Section(values, parent.file, f"{parent.name}.bn_eps")
    epsilon = BatchNormEpsilon(
        argument=section.take("argument", str),
        default=section.take("default", float),
        source=section.take("source", str),
        note=section.take("note", str, ""),
    )
    section.finish()
    return epsilon


def _input(parent: Section, family: Family) -> InputSpec:
    values = {**family.input, **parent.take("input", dict, {})}
    section = Section(values, parent.file, f"{parent.name}.input")
    spec = InputSpec(
        size=section.take("size", int),
        square=section.take("square", bool, default=False),
        mean=tuple(section.take_list("mean", float)),
        std=tuple(section.take_list("std", float)),
        crop_pct=section.take("crop_pct", float),
        interpolation=section.take("interpolation", str),
        check_sizes=tuple(section.take_list("check_sizes", int, [*_CHECK_SIZES])),
        channel_order=section.take("channel_order", str, "rgb"),
        normalization=section.take("normalization", str, ""),
    )
    section.finish()
    if spec.channel_order not in ("rgb", "bgr"):
        raise section.error(
            "table/channel-order", "channel_order", expected="'rgb' or 'bgr'", found=repr(spec.channel_order)
        )
    return spec


def _blocks(section: Section, family: Family, faults: Faults) -> tuple[Block, ...]:
    shared = section.section("parameters", optional=True).rest()
    blocks = tuple(read_blocks(section, family, shared, faults))
    section.finish()
    return blocks


def _expand(blocks: tuple[Block, ...], section: Section, family: Family, faults: Faults) -> list[_Expanded]:
    numbering = None if family.first is None else Numbering(family.first)
    layer_names = LayerNames()
    expanded = []
    for block in blocks:
        try:
            expanded.append(_expand_block(block, family, numbering, layer_names))
        except TableError as error:
            with faults.catch():
                raise section.error(error.code, f"block {block.stage!r}: {error}") from None
    with faults.catch():
        _check_targets([entry for each in expanded for entry in each.entries], section)
    with faults.catch():
        targets = [c.target for each in expanded for c in each.constants]
        _refuse_repeats((*targets, *{e.target for each in expanded for e in each.entries}), "target", section)
    with faults.catch():
        _refuse_repeats(
            (f"{e.part}/{e.source}" for each in expanded for e in each.entries), "source", section
        )
    with faults.catch():
        _refuse_repeats((block.stage for block in blocks if block.stage), "stage", section)
    return expanded


def _expand_block(
    block: Block, family: Family, numbering: Numbering | None, layer_names: LayerNames
) -> _Expanded:
    path = family.parts[block.part].path
    entries, counters, used = [], [], set()
    for rule, entry in expand(block, family.leaf_names, path, numbering, layer_names):
        used.add((block.template.name, rule.source))
        entries.append(entry)
        if has_counter(rule, entry):
            counters.append((block.part, f"{entry.target.rpartition('.')[0]}.num_batches_tracked"))
    return _Expanded(block, tuple(entries), tuple(counters), tuple(constants(block)), frozenset(used))


def _check_targets(entries: list[Entry], section: Section) -> None:
    """Refuse a target that is made twice, and a folded bias whose batch normalisation is not there."""
    by_target: dict[str, Entry] = {}
    for entry in entries:
        if not entry.folded:
            other = by_target.setdefault(entry.target, entry)
            if other is not entry and not (entry.join and other.join):
                raise section.error("table/repeated", f"target {entry.target!r} is assigned twice")
            if entry.join and isinstance(entry.target_shape[0], str):
                raise section.error("table/join", f"target {entry.target!r}: a free length cannot be joined")
    for entry in entries:
        if entry.folded and entry.target not in by_target:
            raise section.error("table/fold", f"{entry.block}: no rule makes {entry.target!r}")


def _refuse_repeats(names: Iterable[str], what: str, section: Section) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise section.error("table/repeated", f"{what} {name!r} is assigned twice")
        seen.add(name)


def _stage(expanded: _Expanded, family: Family) -> Stage:
    block = expanded.block
    modules = block.modules or block.template.modules or (block.target,)
    is_layer = not block.activation
    if block.activation is None:
        is_layer = family.target.library != "timm" and _is_layer(modules[-1], expanded.entries)
    where = f"{block.stage}: {block.template.name}"
    return Stage(block.stage, _probe(expanded, family), modules, where, is_layer, block.pool)


def _is_layer(module: str, entries: tuple[Entry, ...]) -> bool:
    """Whether a module holds the weights of a block itself: PyTorch's own layers apply no activation."""
    own = [entry for entry in entries if not entry.folded]
    return bool(own) and all(entry.target.rpartition(".")[0] == module for entry in own)


def _probe(expanded: _Expanded, family: Family) -> str:
    """Return the object path of the layer whose output is the stage: if layers are numbered, the last."""
    block, source = expanded.block, expanded.block.source
    if block.probe is not None:
        return block.probe
    if family.first is not None and expanded.entries:
        source = expanded.entries[-1].source.rpartition("/")[0]
    return "/".join(filter(None, (family.parts[block.part].path, source)))
