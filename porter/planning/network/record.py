"""The networks of the tables, as they were recorded from the code that defines them.

A record is a compressed JSON file with the operations of one structure; an index names the structure of each
variant and the digest of the table that it was recorded for. Variables are the numbers of the table's
entries, so that networks that differ in width alone share a file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from porter.core.data_files import shipped_folder
from porter.core.stored_network import Operation, StoredNetwork
from porter.planning.network.dilation import ARGUMENT, dilated, without_stride
from porter.planning.network.fixed_padding import as_pytorch_pads, without_padding
from porter.tables.variants import Variant

_INDEX = "index.json"
_ORIGIN = "the table's network"
_DIGEST = 16


def folder() -> Path:
    """Return the folder of the records that come with porter."""
    return shipped_folder("mappings") / "networks"


def recorded(variant: Variant) -> StoredNetwork | None:
    """Return what a variant's PyTorch network computes, as it was recorded of the reference.

    None for a network of a table's own. Variables are called by the object path that the table gives them,
    below the classification model.
    """
    network = reference(variant)
    if network is None:
        return None
    network = as_pytorch_pads(network, variant)
    stride = variant.target.arguments.get(ARGUMENT)
    return dilated(network, stride) if isinstance(stride, int) else network


def reference(variant: Variant) -> StoredNetwork | None:
    """Return what the code that defines a network computes, as that code pads; None if it has no record."""
    known = _index().get(variant.name)
    if known is None or known["table"] != without_padding(without_stride(variant)).digest[:_DIGEST]:
        return None
    return _read(known["network"], [variant.full_source(entry) for entry in variant.entries])


def is_stale(variant: Variant) -> bool:
    """Whether the table has changed since the variant's network was recorded."""
    known = _index().get(variant.name)
    return known is not None and known["table"] != variant.digest[:_DIGEST]


def write_record(variant: Variant, network: StoredNetwork, target: Path) -> None:
    """Keep what a variant's network computes, and name it in the index.

    Args:
        variant: The network.
        network: What it computes, canonical, variables called as `recorded` says.
        target: The folder of the records.
    """
    numbers = {variant.full_source(entry): n for n, entry in enumerate(variant.entries)}
    text = json.dumps(_document(network, numbers), sort_keys=True, separators=(",", ":")).encode()
    name = hashlib.sha256(text).hexdigest()[:12]
    (target / f"{name}.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    path = target / _INDEX
    index = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    index[variant.name] = {"table": variant.digest[:_DIGEST], "network": name}
    path.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _index.cache_clear()


@cache
def _index() -> dict[str, Any]:
    path = folder() / _INDEX
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _document(network: StoredNetwork, numbers: Mapping[str, int]) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    rows = []
    for operation in network.operations:
        described = json.dumps([operation.kind, dict(operation.attributes)], sort_keys=True)
        kind = kinds.setdefault(described, len(kinds))
        variables = {role: numbers[name] for role, name in operation.variables.items() if name in numbers}
        rows.append([kind, operation.name, list(operation.inputs), variables])
    return {
        "kinds": [json.loads(kind) for kind in kinds],
        "operations": rows,
        "outputs": list(network.outputs),
    }


def _read(name: str, names: Sequence[str]) -> StoredNetwork:
    document = json.loads(gzip.decompress((folder() / f"{name}.json.gz").read_bytes()))
    kinds = [(kind, _tuples(attributes)) for kind, attributes in document["kinds"]]
    return StoredNetwork(
        tuple(
            Operation(
                kinds[kind][0],
                layer,
                tuple(inputs),
                kinds[kind][1],
                {role: names[number] for role, number in variables.items()},
            )
            for kind, layer, inputs, variables in document["operations"]
        ),
        tuple(document["outputs"]),
        _ORIGIN,
    )


def _tuples(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) for name, value in attributes.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list) else value
