"""What the variants of one table file share: parts, free lengths, templates, defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from porter.errors import TableError
from porter.tables.expansion import Rule, Template, check_rule
from porter.tables.faults import Faults
from porter.tables.kinds import KINDS
from porter.tables.strict_toml import Section
from porter.tables.table_records import FreeLength, Preset, Proof
from porter.tables.target_section import Target, read_proof, read_target
from porter.tables.variants import ModelPart

SCHEMA = 1


class Family(NamedTuple):
    """The sections of a table file that are not about one variant.

    Attributes:
        file: The file.
        title: Name for people.
        version: The table's own version.
        builder: TensorFlow builder by name.
        classifier_activation: What the source has behind the classifier, if that is not softmax.
        parts: Parts of the classification model.
        first: Number of the first layer by object path of a part; None if layers have paths of their own.
        leaf_names: What the source calls a variable, by what Keras calls it.
        free: Lengths that the checkpoint decides.
        note: What a person should know of the proof, or "".
        presets: Other ways in which the networks' weights take images, by name.
        left_out: (object path below the first part, reason) of what is not ported on purpose.
        target: Where every variant's PyTorch network comes from.
        proof: How the table was proved, if it says so.
        network: How to build the PyTorch network, if its library has no entry point for it.
        bn_eps: Defaults of every variant's section of that name.
        input: Likewise.
        templates: Kinds of blocks by name.
        broken: Names of templates that were refused.
    """

    file: Path
    title: str
    version: int
    builder: str
    classifier_activation: str | None
    parts: Mapping[str, ModelPart]
    first: Mapping[str, int] | None
    leaf_names: Mapping[str, str]
    free: Mapping[str, FreeLength]
    note: str
    presets: Mapping[str, Preset]
    left_out: tuple[tuple[str, str], ...]
    target: Target
    proof: Proof | None
    network: Mapping[str, object]
    bn_eps: Mapping[str, Any]
    input: Mapping[str, Any]
    templates: Mapping[str, Template]
    broken: frozenset[str]


def read_family(top: Section, faults: Faults) -> Family:
    """Take everything but the variants from a table file.

    Raises:
        TableError: something is wrong, unless `faults` collects.
    """
    title = version = builder = note = activation = None
    with faults.catch():
        top.take("family", str)
    with faults.catch():
        title = top.take("title", str)
    with faults.catch():
        version = top.take("version", int)
    with faults.catch():
        note = top.take("note", str, "")
    source, target = top.section("source"), top.section("target")
    with faults.catch():
        builder = source.take("builder", str)
    with faults.catch():
        activation = source.take("classifier_activation", str, None)
    first, parts = _parts(top, faults, numbered=_has_numbered_layers(source, faults))
    templates, broken = _templates(top, faults)
    family = Family(
        file=top.file,
        title=title or "",
        version=version or 0,
        builder=builder or "",
        classifier_activation=activation,
        parts=parts,
        first=first,
        leaf_names=_leaf_names(source, faults),
        free=_free(top, faults),
        note=note or "",
        presets=_presets(top, faults),
        left_out=_left_out(top, faults),
        target=read_target(target, faults),
        proof=read_proof(top, faults),
        network=top.section("network", optional=True).rest(),
        bn_eps=top.take("bn_eps", dict, {}),
        input=top.take("input", dict, {}),
        templates=templates,
        broken=broken,
    )
    for section in (source, target, top):
        with faults.catch():
            section.finish()
    return family


def _has_numbered_layers(source: Section, faults: Faults) -> bool:
    numbered = False
    with faults.catch():
        if (order := source.take("order", str, None)) is not None:
            numbered = True
            if order != "layers":
                raise source.error("table/order", "order", expected="'layers'", found=repr(order))
    return numbered


def _parts(
    top: Section, faults: Faults, *, numbered: bool
) -> tuple[Mapping[str, int] | None, Mapping[str, ModelPart]]:
    parts: dict[str, ModelPart] = {}
    first: dict[str, int] = {}
    for name, section in top.section("part").sections():
        with faults.catch():
            path = section.take("path", str)
            if numbered:
                first.setdefault(path, section.take("first", int, 0))
            parts[name] = ModelPart(
                name,
                path,
                section.take("absent", dict, None),
                tuple(section.take_list("without", str, [])),
                section.take("uncertain", str, ""),
            )
            section.finish()
    with faults.catch():
        if not parts:
            raise top.error("table/part", "[part] names no part of a network")
    return first if numbered else None, parts


def _leaf_names(source: Section, faults: Faults) -> Mapping[str, str]:
    known = {leaf.source for kind in KINDS.values() for leaf in (*kind.leaves, kind.bias) if leaf}
    names = source.section("leaf_names", optional=True)
    found = {}
    for ours in sorted(known):
        with faults.catch():
            found[ours] = names.take(ours, str, ours)
    with faults.catch():
        names.finish()
    return {ours: theirs for ours, theirs in found.items() if ours != theirs}


def _free(top: Section, faults: Faults) -> Mapping[str, FreeLength]:
    found = {}
    for name, section in top.section("free", optional=True).sections():
        found[name] = FreeLength(name, "", 0)  # its name is known even if the rest is wrong
        with faults.catch():
            found[name] = FreeLength(name, section.take("argument", str), section.take("default", int))
            section.finish()
    return found


def _presets(top: Section, faults: Faults) -> Mapping[str, Preset]:
    found = {}
    for name, section in top.section("preset", optional=True).sections():
        with faults.catch():
            mean, std = (tuple(section.take_list(key, float)) for key in ("mean", "std"))
            found[name] = Preset(mean, std, section.take("when", str))
            section.finish()
    return found


def _left_out(top: Section, faults: Faults) -> tuple[tuple[str, str], ...]:
    section = top.section("left_out", optional=True)
    found = []
    for path in section.keys:
        with faults.catch():
            found.append((path, section.take(path, str)))
    return tuple(found)


def _templates(top: Section, faults: Faults) -> tuple[Mapping[str, Template], frozenset[str]]:
    templates: dict[str, Template] = {}
    broken = set()
    for name, section in top.section("template").sections():
        before = faults.count
        with faults.catch():
            templates[name] = _template(name, section, faults)
        if faults.count > before:
            broken.add(name)
    return templates, frozenset(broken)


def _template(name: str, section: Section, faults: Faults) -> Template:
    rules, before = [], faults.count
    for key, rule in section.section("rules").sections():
        with faults.catch():
            rules.append(_rule(key, rule))
    modules = tuple(section.take_list("modules", str, []))
    template = Template(name, tuple(rules), section.section("defaults", optional=True).rest(), modules)
    section.finish()
    unknown = set(template.defaults) - template.parameters
    if unknown and faults.count == before:
        raise section.error("table/unknown-parameter", f"default for {min(unknown)!r}, which no rule uses")
    return template


def _shapes(section: Section, key: str) -> dict[str, str]:
    shapes = section.section(key, optional=True)
    return {name: shapes.take(name, str) for name in shapes.keys}


def _rule(key: str, section: Section) -> Rule:
    rule = Rule(
        source=key,
        target=section.take("target", str),
        kind=section.take("kind", str),
        layout=section.take("layout", str, None),
        shape=tuple(section.take("shape", str).split()),
        when=section.take("when", str, None),
        bias=_bias(section),
        bias_into=section.take("bias_into", str, ""),
        bn_eps=section.take("bn_eps", float, None),
        join=section.take("join", bool, default=False),
        repeat=section.take("repeat", str, None),
        scale=section.take("scale", float, 1.0),
        gain=section.take("gain", float, None),
        without=tuple(section.take_list("without", str, [])),
        neither=tuple(section.take_list("neither", str, [])),
        ones=_shapes(section, "ones"),
        zeros=_shapes(section, "zeros"),
        counter=section.take("counter", bool, default=False),
    )
    section.finish()
    try:
        check_rule(rule)
    except TableError as error:
        raise section.error(error.code, str(error)) from None
    return rule


def _bias(section: Section) -> Literal["fold"] | bool:
    if not section.holds("bias", str):
        return section.take("bias", bool, default=False)
    if (value := section.take("bias", str)) != "fold":
        raise section.error("table/bias", "bias", expected="true, false or 'fold'", found=repr(value))
    return "fold"
