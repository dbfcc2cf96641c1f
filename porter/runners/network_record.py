"""Record what the networks of the tables compute: ``python -m porter.runners.network_record [VARIANT...]``.

Every network is built with TensorFlow by the code that defines it, and the config that it gives of itself is
read as a file's is. Run it when a table with a builder changes; a stale record fails a test.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from porter.checkpoints.keras.config import parse_config
from porter.checkpoints.keras.layers import Layer, Variable
from porter.checkpoints.keras.names import leaf_names
from porter.checkpoints.keras.network_config import stored_network
from porter.core.stored_network import Operation, StoredNetwork
from porter.errors import PorterError
from porter.planning.network.canonical import canonical
from porter.planning.network.record import folder, write_record
from porter.runners.builders import Keras, build, source_of
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

# Even at every stride, and odd at every stride: SAME pads differently, and some networks pad by themselves.
_SIZES = ((224, 224), (225, 225))


def main(names: Sequence[str]) -> None:
    """Record the named variants, or all that a builder makes a Keras model for."""
    tables = load_tables()
    for name in names or list(tables.variants):
        variant = tables.variant(name)
        try:
            network = _recorded(variant)
        except PorterError as error:
            print(f"{name}: {error}")  # noqa: T201  (the program's output)
            continue
        if network is None:
            print(f"{name}: its config tells no structure")  # noqa: T201
            continue
        write_record(variant, [network], folder())
        print(f"{name}: {len(network.operations)} operations")  # noqa: T201


def _recorded(variant: Variant) -> StoredNetwork | None:
    lengths: dict[str, object] = {name: free.default for name, free in variant.free.items()}
    epsilon = variant.bn_eps.default if variant.bn_eps else None
    is_fixed = source_of(variant.source.name).fixed_size
    found = []
    for size in _SIZES if is_fixed else _SIZES[:1]:
        sized = {"size": size} if is_fixed else {}
        built = build(variant.source.name, variant.source.arguments, bn_eps=epsilon, **lengths, **sized)
        read = _read(built, variant)
        if read is None:
            return None
        found.append(canonical(read))
    return _merged(found)


def _read(model: Keras, variant: Variant) -> StoredNetwork | None:
    """Return the model's config as a stored network, variables called as the table calls them."""
    names = {}
    for path in map(variant.full_source, variant.entries):
        found = _follow(model, path)
        if found is not None:
            names[id(found)] = path
    config = parse_config(model.to_json())
    if config.layers is None:
        return None
    return stored_network(config, Layer("", layers=list(_layers(model, names))))


def _layers(model: Keras, names: Mapping[int, str]) -> Iterator[Layer]:
    for layer in model.layers:
        variables = [
            Variable(
                leaf_names(type(layer).__name__, variable.name.rpartition("/")[2], len(variable.shape)),
                names.get(id(variable), f"unnamed/{variable.name}"),
                variable.name,
            )
            for variable in layer.weights
        ]
        yield Layer(layer.name, variables)


def _follow(root: Any, path: str) -> Any:
    found = root
    for edge in path.split("/"):
        found = None if found is None else found._trackable_children().get(edge)  # noqa: SLF001 (as TensorFlow saves)
    return found


def _merged(found: Sequence[StoredNetwork]) -> StoredNetwork:
    """Return one network with every amount of padding that was seen, and without what no comparison needs."""
    rows = zip(*(network.operations for network in found), strict=True)
    return found[0]._replace(operations=tuple(_plain(seen) for seen in rows))


def _plain(seen: Sequence[Operation]) -> Operation:
    first = seen[0]
    dropped = ("same_amounts", "shape", "use_bias", "kernel")
    attributes = {name: value for name, value in first.attributes.items() if name not in dropped}
    if isinstance(attributes.get("padding"), tuple):
        attributes["padding"] = tuple(
            sorted({operation.attributes["padding"] for operation in seen}, key=repr)
        )
    return first._replace(attributes=attributes, name="")


if __name__ == "__main__":
    main(sys.argv[1:])
