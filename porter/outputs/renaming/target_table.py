"""A target table's file: strict TOML in, frozen dataclasses out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from porter.core.layouts import parse_layout
from porter.errors import PlanError
from porter.outputs.renaming.renaming import BlockLine, Names, Rename
from porter.tables.shipped import mappings_folder
from porter.tables.strict_toml import Section, parse_toml, read_text

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of timm's `create_model` that the target can express.

    Attributes:
        default: timm's own value if the port does not set it.
        config: The entry of config.json that takes it, or None if the target has one fixed value.
        values: timm's value, as text, to the target's; None if they are the same.
    """

    default: object
    config: str | None
    values: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Model:
    """One timm network of a target table.

    Attributes:
        config: Entries of config.json.
        defaults: timm's defaults if they differ from the table's.
        notes: What a person should know before trusting the result.
    """

    config: Mapping[str, object]
    defaults: Mapping[str, object]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetTable:
    """One family of networks in another library.

    Attributes:
        file: Where the table stands.
        target: ``"transformers"`` or ``"netspresso"``.
        title: The network in words.
        load: Python that loads the output; ``{path}`` stands for it.
        folder: Whether the output is a folder with config.json and preprocessor_config.json.
        names: The renaming.
        models: timm networks by name.
        refused: Networks that the target cannot compute, by name pattern, with the reason.
        arguments: What the target can express of `create_model`'s arguments.
        bn_eps: The epsilon that the target's classes fix, or None.
        native_size: Whether the target's network is the same at its config's ``image_size`` only.
        config: Entries of config.json.
        preprocessor: Entries of preprocessor_config.json.
        notes: What a person should know before trusting the result.
        digest: sha256 of the file.
    """

    file: Path
    target: str
    title: str
    load: str
    folder: bool
    names: Names
    models: Mapping[str, Model]
    refused: Mapping[str, str]
    arguments: Mapping[str, Argument]
    bn_eps: float | None
    native_size: bool
    config: Mapping[str, object]
    preprocessor: Mapping[str, object]
    notes: tuple[str, ...]
    digest: str


def target_table(target: str, model: str) -> TargetTable:
    """Return the table that names timm's `model` in library `target`.

    Raises:
        PlanError: no table does.
        TableError: a table is malformed.
    """
    tables = [read_target_table(file) for file in _files(target)]
    for table in tables:
        if model in table.models:
            return table
        for pattern, reason in table.refused.items():
            if fnmatchcase(model, pattern):
                raise PlanError("target/refused", f"{table.title} cannot compute {model!r}: {reason}")
    known = sorted(name for table in tables for name in table.models)
    raise PlanError(
        "target/unknown-model",
        f"--target {target} has no table for {model!r}",
        hint=f"It knows {', '.join(known)}.",
    )


def _files(target: str) -> list[Path]:
    return sorted((mappings_folder() / "targets" / target).glob("*.toml"))


def read_target_table(file: Path) -> TargetTable:
    """Read one table.

    Raises:
        TableError: it is malformed.
    """
    text = read_text(file)
    top = parse_toml(file, text)
    if (schema := top.take("schema", int)) != SCHEMA:
        raise top.error("table/schema", "schema", expected=SCHEMA, found=schema)
    title = top.take("title", str)
    optional = frozenset(top.take_list("optional", str, []))
    names = Names(title, _renames(top.section("names")), optional, _blocks(top))
    table = TargetTable(
        file=file,
        target=top.take("target", str),
        title=title,
        load=top.take("load", str),
        folder=top.take("folder", bool),
        names=names,
        models={name: _model(section) for name, section in top.section("model").sections()},
        refused=top.take("refused", dict, {}),
        arguments={name: _argument(s) for name, s in top.section("arguments", optional=True).sections()},
        bn_eps=top.take("bn_eps", float, None),
        native_size=top.take("native_size", bool, default=False),
        config=top.take("config", dict, {}),
        preprocessor=top.take("preprocessor", dict, {}),
        notes=tuple(top.take_list("notes", str, [])),
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )
    top.finish()
    return table


def _blocks(top: Section) -> tuple[BlockLine, ...]:
    lines: list[BlockLine] = []
    for number, values in enumerate(top.take_list("blocks", dict, [])):
        line = Section(values, top.file, f"blocks[{number}]")
        timm, target = _one_or_more(line, "timm"), _one_or_more(line, "target")
        if len(timm) != len(target):
            raise line.error("table/places", "timm and target", expected="equally many", found=len(target))
        optional = frozenset(line.take_list("optional", str, []))
        modules = _renames(line.section("modules"))
        if unknown := optional - set(modules):
            raise line.error("table/unknown-key", f"optional {min(unknown)!r} is no module of the block")
        line.finish()
        lines += [BlockLine(t, name, modules, optional) for t, name in zip(timm, target, strict=True)]
    return tuple(lines)


def _one_or_more(section: Section, key: str) -> list[str]:
    return section.take_list(key, str) if section.holds(key, list) else [section.take(key, str)]


def _renames(section: Section) -> dict[str, Rename]:
    return {name: _rename(value, name, section) for name, value in section.rest().items()}


def _rename(value: Any, name: str, parent: Section) -> Rename:
    """A text is the name; a table gives a `layout` with the `name`, or the names of a `split`."""
    if isinstance(value, str):
        return Rename((value,))
    if not isinstance(value, dict):
        raise parent.error("table/type", f"key {name!r}", expected="a name or a table", found=repr(value))
    rule = Section(value, parent.file, f"{parent.name}.{name}")
    split = tuple(rule.take_list("split", str, []))
    renamed = (
        Rename(split) if split else Rename((rule.take("name", str),), parse_layout(rule.take("layout", str)))
    )
    rule.finish()
    return renamed


def _model(section: Section) -> Model:
    model = Model(
        section.take("config", dict, {}),
        section.take("defaults", dict, {}),
        tuple(section.take_list("notes", str, [])),
    )
    section.finish()
    return model


def _argument(section: Section) -> Argument:
    config, values = section.take("config", str, None), section.take("values", dict, None)
    if not config and not values:
        raise section.error("table/missing-key", "needs 'config', 'values' or both")
    rest = section.rest()
    if set(rest) != {"default"}:
        raise section.error("table/unknown-key", "keys", expected="'default' besides", found=sorted(rest))
    return Argument(rest["default"], config, values)
