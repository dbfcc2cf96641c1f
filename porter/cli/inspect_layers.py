"""The layers of a source that carries its network, in order of execution, for `porter inspect`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from porter.cli.columns import columns
from porter.core.stored_network import Operation, StoredNetwork
from porter.errors import printable

_MOST_SHOWN = 60


def lines(network: StoredNetwork) -> Iterator[str]:
    """Yield a table of the layers: number, kind, the source's name, what it takes, attributes."""
    yield f"layers in order of execution, from {network.origin}"
    rows = []
    for number, operation in enumerate(network.operations):
        taken = " ".join(map(str, operation.inputs))
        kind = str(operation.attributes.get("class_name", operation.kind))
        rows.append((str(number), printable(kind), printable(operation.name), taken, _attributes(operation)))
    yield from columns(("number", "kind", "name", "takes", "attributes"), rows)
    yield f"the network returns {', '.join(map(str, network.outputs))}"


def document(network: StoredNetwork) -> list[dict[str, Any]]:
    """Return the layers as a JSON document has them."""
    return [
        {
            "kind": operation.kind,
            "name": operation.name,
            "takes": list(operation.inputs),
            "attributes": {name: _plain(value) for name, value in operation.attributes.items()},
            "variables": dict(operation.variables),
        }
        for operation in network.operations
    ]


def _attributes(operation: Operation) -> str:
    told = (
        f"{name} {_told(value)}"
        for name, value in operation.attributes.items()
        if name != "class_name" and value is not None and value != ()
    )
    return printable("; ".join(told))


def _told(value: object) -> str:
    if isinstance(value, list | tuple) and all(isinstance(each, int) for each in value):
        return "x".join(map(str, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _plain(value: object) -> Any:
    """Return a value as JSON has it; arrays of constants and what else it does not have as text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
