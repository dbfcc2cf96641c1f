"""The block list of a variant: ranges spread out, parameters filled in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from porter.tables.expansion import Block, Template
from porter.tables.family_section import Family
from porter.tables.faults import Faults
from porter.tables.strict_toml import Section
from porter.tables.table_records import Dim

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)(?:\.\.(\d+))?\}")
_RANGED = ("source", "target", "stage", "probe", "modules")


def read_blocks(
    section: Section, family: Family, shared: Mapping[str, Any], faults: Faults
) -> Iterator[Block]:
    """Take the blocks of a variant.

    Args:
        section: The variant's section.
        family: What it shares with the others of the file.
        shared: The variant's own values of block parameters.
        faults: Where a fault goes.

    Raises:
        TableError: a line is malformed, unless `faults` collects.
    """
    width: Dim | None = None
    for number, values in enumerate(section.take_list("blocks", dict)):
        line = Section(values, section.file, f"{section.name}.blocks[{number}]")
        width_behind = values.get("out", width)
        with faults.catch():
            for single in _singles(line, values):
                block = _block(single, family, shared, width)
                if block is not None:
                    width = block.parameters.get("out")
                    yield block
        if faults.count:
            width = width_behind


def _singles(line: Section, values: Mapping[str, Any]) -> Iterator[Section]:
    """Yield what a line stands for; a group of lines takes turns, all of them at each number."""
    if "lines" not in values:
        yield from _spread(line, values)
        return
    group = line.take_list("lines", dict)
    line.finish()
    inner = [Section(each, line.file, f"{line.name}.lines[{n}]") for n, each in enumerate(group)]
    spread = [list(_spread(*each)) for each in zip(inner, group, strict=True)]
    if len({len(each) for each in spread}) != 1:
        raise line.error(
            "table/range",
            "lines of unequal length",
            expected="lines whose ranges have one length",
            found=[len(each) for each in spread],
        )
    for turn in zip(*spread, strict=True):
        yield from turn


def _spread(line: Section, values: Mapping[str, Any]) -> Iterator[Section]:
    """Yield a line for each number of its ranges ``{a..b}`` (``{a..b..step}``), or the line itself."""
    lengths_given = {
        key
        for key, value in values.items()
        if key not in _RANGED and isinstance(value, str) and _RANGE.fullmatch(value)
    }
    texts = {key: value for key, value in values.items() if key in (*_RANGED, *lengths_given)}
    found = [match for text in _texts(texts.values()) for match in _RANGE.finditer(text)]
    counts = {len(_numbers(match, line)): match[0] for match in found}
    if not counts:
        yield line
        return
    if len(counts) > 1:
        raise line.error("table/range", f"ranges of unequal length: {', '.join(counts.values())}")
    chained = {key: value for key, value in values.items() if key != "in"}
    for index in range(*counts):
        ranged = {key: _at(text, index, line) for key, text in texts.items()}
        ranged |= {key: int(ranged[key]) for key in lengths_given}
        yield Section({**(chained if index else values), **ranged}, line.file, line.name)


def _texts(values: Any) -> Iterator[str]:
    for value in values:
        yield from (text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str))


def _numbers(match: re.Match[str], line: Section) -> range:
    first, last, step = (int(group or 1) for group in match.groups())
    if last <= first or step < 1 or (last - first) % step:
        raise line.error(
            "table/range", f"range {match[0]!r}", expected="{first..last} or {first..last..step}"
        )
    return range(first, last + 1, step)


def _at(text: Any, index: int, line: Section) -> Any:
    if isinstance(text, list):
        return [_at(each, index, line) for each in text]
    if not isinstance(text, str):
        return text
    return _RANGE.sub(lambda match: str(_numbers(match, line)[index]), text)


def _block(line: Section, family: Family, shared: Mapping[str, Any], width: Dim | None) -> Block | None:
    """Read one line; None if its template was refused already."""
    name = line.take("template", str)
    if name in family.broken:
        return None
    if name not in family.templates:
        raise line.error(
            "table/template", f"unknown template {name!r}", expected=f"one of {[*family.templates]}"
        )
    template = family.templates[name]
    target = line.take("target", str, "")
    part, source = _place(line, family)
    stage = line.take("stage", str, target)
    probe = line.take("probe", str, None)
    modules = line.take_list("modules", str) if "modules" in line.keys else None
    activation = line.take("activation", bool) if "activation" in line.keys else None
    pool = line.take("pooled", bool, default=False)
    return Block(
        stage=stage,
        part=part,
        source=source,
        target=target,
        template=template,
        parameters=_parameters(line, template, family, shared, width),
        probe=probe,
        modules=None if modules is None else tuple(modules),
        activation=activation,
        pool=pool,
    )


def _place(line: Section, family: Family) -> tuple[str, str]:
    """Return the part and the path below it; if layers are numbered there is no path."""
    numbered = family.first is not None
    default: Any = {"default": next(iter(family.parts), "")} if numbered else {}
    part, _, source = line.take("source", str, **default).partition("/")
    if part not in family.parts:
        raise line.error("table/part", f"unknown part {part!r}", expected=f"one of {[*family.parts]}")
    if numbered and source:
        raise line.error(
            "table/order",
            f"source {part}/{source!r}",
            expected=f"the part alone ({part!r}), for order = 'layers' numbers the layers",
        )
    return part, source


def _parameters(
    line: Section, template: Template, family: Family, shared: Mapping[str, Any], width: Dim | None
) -> dict[str, Dim]:
    """Block over variant over template default; ``in`` is the previous block's ``out``."""
    given = line.rest()
    wanted = template.parameters | {"out"}
    values: dict[str, Any] = {} if width is None else {"in": width}
    values.update(template.defaults)
    values.update((key, value) for key, value in shared.items() if key in wanted)
    values.update(given)
    unknown, missing = set(given) - wanted - {"in"}, template.parameters - set(values)
    if unknown:
        raise line.error("table/unknown-parameter", f"template {template.name!r} has no {_all(unknown)}")
    if missing:
        raise line.error("table/missing-parameter", f"template {template.name!r} needs {_all(missing)}")
    for key, value in values.items():
        if isinstance(value, str) and value not in family.free:
            raise line.error("table/free-length", f"{key} = {value!r} is no [free] length")
        if type(value) not in (int, bool, str) or (type(value) is int and value < 0):
            raise line.error(
                "table/type",
                f"key {key!r}",
                expected="a length, true, false or the name of a [free] length",
                found=f"{type(value).__name__} {value!r}",
            )
    return values


def _all(names: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(names)))
