"""A mapping table file to variants: strict TOML in, frozen dataclasses out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.errors import TableError
from porter.kinds import kind_named
from porter.strict_toml import Section, read_toml
from porter.table_expansion import Block, Rule, Template, expand, has_counter
from porter.tables import (
    BatchNormEpsilon,
    Dim,
    Entry,
    FreeLength,
    InputSpec,
    Network,
    Part,
    Stage,
    Tables,
    Variant,
)

SCHEMA = 1


@dataclass(frozen=True)
class _Family:
    """What the variants of one file share."""

    file: Path
    title: str
    version: int
    builder: str
    parts: tuple[Part, ...]
    free: Mapping[str, FreeLength]
    target_arguments: Mapping[str, object]
    bn_eps: Mapping[str, Any]
    input: Mapping[str, Any]
    templates: Mapping[str, Template]


def mappings_folder() -> Path:
    """Return the folder of the tables that come with porter: inside a wheel, or beside a checkout."""
    packaged = Path(__file__).parent / "mappings"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "mappings"


def load_tables(*files: Path) -> Tables:
    """Read mapping tables.

    Args:
        *files: Table files; every table that comes with porter where none is given.

    Raises:
        TableError: a table is malformed or contradicts itself.
    """
    variants: dict[str, Variant] = {}
    for file in files or sorted(mappings_folder().glob("*/*.toml")):
        for variant in read_table(Path(file)):
            if variant.name in variants:
                other = variants[variant.name].table
                raise TableError("table/duplicate", f"variant {variant.name!r} is also in {other}", file=file)
            variants[variant.name] = variant
    return Tables(variants)


def read_table(file: Path) -> Iterator[Variant]:
    """Yield the variants of one table file.

    Raises:
        TableError: the table is malformed or contradicts itself.
    """
    top = read_toml(file)
    if (schema := top.take("schema", int)) != SCHEMA:
        raise top.error("table/schema", "schema", expected=SCHEMA, found=schema)
    variants = top.section("variant")
    family = _family(top)
    used: set[tuple[str, str]] = set()
    for name, section in variants.sections():
        yield _variant(name, section, family, used)
    for template in family.templates.values():
        for rule in template.rules:
            if (template.name, rule.source) not in used:
                raise top.error(
                    "table/unused-rule",
                    f"[template.{template.name}.rules] {rule.source!r} never applies to any variant",
                )


def _family(top: Section) -> _Family:
    top.take("family", str)
    target = top.section("target")
    if (library := target.take("library", str)) != "timm":
        raise target.error("table/library", "library", expected="'timm'", found=repr(library))
    source = top.section("source")
    family = _Family(
        file=top.file,
        title=top.take("title", str),
        version=top.take("version", int),
        builder=source.take("builder", str),
        parts=tuple(_part(name, section) for name, section in top.section("part").sections()),
        free={name: _free(name, s) for name, s in top.section("free", optional=True).sections()},
        target_arguments=target.section("arguments", optional=True).rest(),
        bn_eps=top.take("bn_eps", dict, {}),
        input=top.take("input", dict, {}),
        templates={name: _template(name, s) for name, s in top.section("template").sections()},
    )
    for section in (source, target, top):
        section.finish()
    return family


def _part(name: str, section: Section) -> Part:
    absent = section.take("absent", dict, None)
    part = Part(name, section.take("path", str), absent)
    section.finish()
    return part


def _free(name: str, section: Section) -> FreeLength:
    free = FreeLength(name, section.take("argument", str), section.take("default", int))
    section.finish()
    return free


def _template(name: str, section: Section) -> Template:
    rules = tuple(_rule(source, rule) for source, rule in section.section("rules").sections())
    modules = tuple(section.take("modules", list, []))
    template = Template(name, rules, section.section("defaults", optional=True).rest(), modules)
    unknown = set(template.defaults) - template.parameters
    section.finish()
    if unknown:
        raise section.error("table/unknown-parameter", f"default for {min(unknown)!r}, which no rule uses")
    return template


def _rule(source: str, section: Section) -> Rule:
    rule = Rule(
        source=source,
        target=section.take("target", str),
        kind=section.take("kind", str),
        layout=section.take("layout", str, None),
        shape=tuple(section.take("shape", str).split()),
        when=section.take("when", str, None),
        bias=section.take("bias", bool, default=False),
        bn_eps=section.take("bn_eps", float, None),
    )
    section.finish()
    try:
        kind_named(rule.kind, rule.layout)
    except TableError as error:
        raise section.error(error.code, str(error)) from None
    return rule


def _variant(name: str, section: Section, family: _Family, used: set[tuple[str, str]]) -> Variant:
    target = section.section("target")
    model = target.take("model", str)
    arguments = {**family.target_arguments, **target.rest()}
    source = section.section("source").rest()
    parameters = section.section("parameters", optional=True).rest()
    bn_eps = _bn_eps({**family.bn_eps, **section.take("bn_eps", dict, {})}, section)
    pictures = _input({**family.input, **section.take("input", dict, {})}, section)
    activation = section.take("float64_activation", str, None)
    blocks = tuple(_blocks(section, family, parameters))
    section.finish()
    entries, counters = _entries(blocks, section, used)
    return Variant(
        name=name,
        table=family.file,
        title=family.title,
        version=family.version,
        source=Network(family.builder, source),
        target=Network(model, arguments),
        parts=family.parts,
        free=family.free,
        bn_eps=bn_eps,
        input=pictures,
        float64_activation=activation,
        entries=entries,
        counters=counters,
        stages=tuple(_stage(block, family) for block in blocks),
    )


def _bn_eps(values: dict[str, Any], parent: Section) -> BatchNormEpsilon | None:
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


def _input(values: dict[str, Any], parent: Section) -> InputSpec:
    section = Section(values, parent.file, f"{parent.name}.input")
    spec = InputSpec(
        size=section.take("size", int),
        square=section.take("square", bool, default=False),
        mean=tuple(section.take("mean", list)),
        std=tuple(section.take("std", list)),
        crop_pct=section.take("crop_pct", float),
        interpolation=section.take("interpolation", str),
        check_sizes=tuple(section.take("check_sizes", list, [224, 225, 200])),
    )
    section.finish()
    return spec


def _blocks(section: Section, family: _Family, shared: Mapping[str, Any]) -> Iterator[Block]:
    width: Dim | None = None
    for number, values in enumerate(section.take("blocks", list)):
        line = Section(values, section.file, f"{section.name}.blocks[{number}]")
        block = _block(line, family, shared, width)
        width = block.parameters.get("out")
        yield block


def _block(line: Section, family: _Family, shared: Mapping[str, Any], width: Dim | None) -> Block:
    name = line.take("template", str)
    if name not in family.templates:
        raise line.error(
            "table/template", f"unknown template {name!r}", expected=f"one of {[*family.templates]}"
        )
    template = family.templates[name]
    target = line.take("target", str, "")
    part, _, source = line.take("source", str).partition("/")
    if part not in {known.name for known in family.parts}:
        raise line.error(
            "table/part", f"unknown part {part!r}", expected=f"one of {[p.name for p in family.parts]}"
        )
    stage = line.take("stage", str, target)
    given = line.rest()
    return Block(
        stage, part, source, target, template, _parameters(line, template, family, shared, given, width)
    )


def _parameters(
    line: Section,
    template: Template,
    family: _Family,
    shared: Mapping[str, Any],
    given: Mapping[str, Any],
    width: Dim | None,
) -> dict[str, Dim]:
    """Block over variant over template default; ``in`` is the previous block's ``out``."""
    wanted = template.parameters | {"out"}
    inherited = {} if width is None else {"in": width}
    values = (
        inherited | dict(template.defaults) | {k: v for k, v in shared.items() if k in wanted} | dict(given)
    )
    unknown, missing = set(given) - wanted - {"in"}, template.parameters - set(values)
    if unknown:
        raise line.error("table/unknown-parameter", f"template {template.name!r} has no {min(unknown)!r}")
    if missing:
        raise line.error("table/missing-parameter", f"template {template.name!r} needs {min(missing)!r}")
    for key, value in values.items():
        if isinstance(value, str) and value not in family.free:
            raise line.error("table/free-length", f"{key} = {value!r} is no [free] length")
    return values


def _entries(
    blocks: tuple[Block, ...], section: Section, used: set[tuple[str, str]]
) -> tuple[tuple[Entry, ...], tuple[tuple[str, str], ...]]:
    entries: list[Entry] = []
    counters: list[tuple[str, str]] = []
    for block in blocks:
        for rule, entry in _expand(block, section):
            used.add((block.template.name, rule.source))
            entries.append(entry)
            if has_counter(rule) and entry.is_variance:
                module = entry.target.rpartition(".")[0]
                counters.append((block.part, f"{module}.num_batches_tracked"))
    _refuse_repeats([f"{e.part}/{e.source}" for e in entries], "source", section)
    _refuse_repeats([entry.target for entry in entries], "target", section)
    _refuse_repeats([block.stage for block in blocks], "stage", section)
    return tuple(entries), tuple(counters)


def _expand(block: Block, section: Section) -> Iterator[tuple[Rule, Entry]]:
    try:
        yield from expand(block)
    except TableError as error:
        raise section.error(error.code, f"block {block.stage!r}: {error}") from None


def _refuse_repeats(names: list[str], what: str, section: Section) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise section.error("table/repeated", f"{what} {name!r} is assigned twice")
        seen.add(name)


def _stage(block: Block, family: _Family) -> Stage:
    part = next(part for part in family.parts if part.name == block.part)
    modules = block.template.modules or (block.target,)
    source = "/".join(filter(None, (part.path, block.source)))
    return Stage(block.stage, source, modules, f"{block.stage}: {block.template.name}")
