"""A plan for timm to the same plan for another library: other names, other axis orders, split tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from porter.core.assignments import Assignment, StoredPart
from porter.core.layouts import Layout
from porter.errors import PlanError
from porter.outputs.renaming.renaming import Rename, rename
from porter.outputs.renaming.target_table import TargetTable


def retarget(
    table: TargetTable, assignments: Sequence[Assignment], bn_eps: float | None
) -> tuple[Assignment, ...]:
    """Return the assignments under the target's names.

    Args:
        table: The renaming.
        assignments: A port to timm.
        bn_eps: timm's batch normalisation epsilon for it. Where the target's classes fix another one, the
            difference goes into the variance: ``var + bn_eps == (var + difference) + fixed``.

    Raises:
        PlanError: the table and the assignments do not close, or a tensor cannot be split.
    """
    renamed = rename(table.names, (item.target for item in assignments))
    shift = 0.0 if bn_eps is None or table.bn_eps is None else bn_eps - table.bn_eps
    result: list[Assignment] = []
    for item in assignments:
        shifted = item._replace(offset=item.offset + shift) if item.is_variance else item
        result.extend(_renamed(shifted, renamed[item.target]))
    return tuple(result)


def _renamed(item: Assignment, rule: Rename) -> Iterator[Assignment]:
    if rule.layout is not None:
        item = _moved(item, rule.layout)
    if len(rule.names) == 1:
        yield item._replace(target=rule.names[0])
        return
    length, rest = divmod(item.shape[0], len(rule.names)) if item.shape else (0, 1)
    if rest or item.subtract:
        raise _cannot_split(item, len(rule.names))
    for number, name in enumerate(rule.names):
        parts = tuple(_between(item, number * length, (number + 1) * length))
        yield item._replace(target=name, shape=(length, *item.shape[1:]), parts=parts)


def _moved(item: Assignment, layout: Layout) -> Assignment:
    if len(item.parts) > 1 and layout.source[0] != layout.target[0]:
        raise PlanError(
            "target/joined", f"joined parts cannot be rearranged to {layout.pattern!r}", tensor=item.target
        )
    return item._replace(
        shape=layout.target_shape(item.shape),
        parts=tuple(part._replace(layout=part.layout.then(layout)) for part in item.parts),
        subtract=tuple(part._replace(layout=part.layout.then(layout)) for part in item.subtract),
    )


def _between(item: Assignment, start: int, stop: int) -> Iterator[StoredPart]:
    """Yield what lies in rows `start` to `stop` of the joined parts."""
    begin = 0
    for part in item.parts:
        rows = part.target_shape[0]
        first, last = max(start, begin) - begin, min(stop, begin + rows) - begin
        if first < last:
            yield part if last - first == rows else _rows(item, part, slice(first, last))
        begin += rows


def _rows(item: Assignment, part: StoredPart, rows: slice) -> StoredPart:
    """Select rows of the target's first axis, which must be one axis of the stored variable."""
    axes = [axis for axis, group in enumerate(part.layout.source) if group == part.layout.target[0]]
    if not axes or part.selection is not None:
        raise _cannot_split(item, 1)
    whole = [slice(0, length) for length in part.spec.shape]
    whole[axes[0]] = rows
    return part._replace(selection=tuple(whole))


def _cannot_split(item: Assignment, parts: int) -> PlanError:
    return PlanError(
        "target/split", f"cannot be split into {parts} equal parts", tensor=item.target, found=item.shape
    )


def config_of(table: TargetTable, model: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the entries of config.json that a port's arguments of `timm.create_model` decide.

    Args:
        table: The target's table.
        model: timm's name.
        arguments: timm's arguments for these weights.

    Raises:
        PlanError: an argument changes what the network computes and the target cannot express it.
    """
    defaults = table.models[model].defaults
    unknown = set(arguments) - set(table.arguments)
    if unknown:
        name = min(unknown)
        raise PlanError(
            "target/argument", f"{table.title} cannot express timm's {name}={arguments[name]!r} of {model}"
        )
    config: dict[str, object] = {}
    for name, known in table.arguments.items():
        value = arguments.get(name, defaults.get(name, known.default))
        if known.values is not None:
            if str(value) not in known.values:
                raise PlanError(
                    "target/argument",
                    f"{table.title} cannot express timm's {name}={value!r} of {model}",
                    expected=f"one of {sorted(known.values)}",
                )
            value = known.values[str(value)]
        if known.config is not None:
            config[known.config] = value
    return config
