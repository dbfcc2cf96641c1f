"""Record what the networks of the tables compute: ``python -m porter.runners.network_record [VARIANT...]``.

Every network is built with TensorFlow by the code that defines it. Where the config that it gives of itself
tells every layer, that is read as a file's is, and else its graph, as a SavedModel's is. Where another one
stands in for one that nobody can build any more, its record is that one's under other names. Run it when a
table with a builder changes; a stale record fails a test.
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
from porter.planning.network.record import folder, recorded, write_record
from porter.planning.network.small_maps import AS_CONV, AS_POOL
from porter.runners.builders import Keras, build, source_of
from porter.runners.substitute import network_of
from porter.runners.traced_network import traced_network
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

# Even at every stride, and odd at every stride: SAME pads differently, and some networks pad by themselves.
_SIZES = ((224, 224), (225, 225))


def main(names: Sequence[str]) -> None:
    """Record the named variants, or all that can be built; those that stand in for others come first."""
    tables = load_tables()
    variants = [tables.variant(name) for name in names or tables.variants]
    for variant in sorted(variants, key=lambda each: network_of(each) is not each):
        try:
            network = _recorded(variant)
        except PorterError as error:
            print(f"{variant.name}: {error}")  # noqa: T201  (the program's output)
            continue
        if network is None:
            print(f"{variant.name}: nothing tells its structure")  # noqa: T201
            continue
        write_record(variant, network, folder())
        print(f"{variant.name}: {len(network.operations)} operations", flush=True)  # noqa: T201


def _recorded(variant: Variant) -> StoredNetwork | None:
    other = network_of(variant)
    if other is not variant:
        targets = {other.full_source(entry): entry.target for entry in other.entries}
        names = {entry.target: variant.full_source(entry) for entry in variant.entries}
        here = {name: names[target] for name, target in targets.items()}
        network = recorded(other)
        return None if network is None else _renamed(network, here)
    is_fixed = source_of(variant.source.name).fixed_size
    sizes = _SIZES if is_fixed else _SIZES[:1]
    seen = [canonical(network) for size in sizes if (network := _read(variant, size)) is not None]
    return _merged(seen) if len(seen) == len(sizes) else None


def _renamed(network: StoredNetwork, names: Mapping[str, str]) -> StoredNetwork:
    """Return the network with its variables called by other names."""
    operations = (
        operation._replace(variables={role: names[name] for role, name in operation.variables.items()})
        for operation in network.operations
    )
    return network._replace(operations=tuple(operations))


def _read(variant: Variant, size: tuple[int, int]) -> StoredNetwork | None:
    """Build a network for images of a size, and read it with its variables called as the table calls them.

    As its config says, or else as its graph does; None if neither tells it.
    """
    lengths: dict[str, Any] = {name: free.default for name, free in variant.free.items()}
    epsilon = variant.bn_eps.default if variant.bn_eps else None
    source = variant.source
    sized = {"size": size} if source_of(source.name).fixed_size else {}
    model = build(source.name, source.arguments, bn_eps=epsilon, **lengths, **sized)
    found = {path: _follow(model, path) for path in map(variant.full_source, variant.entries)}
    variables = {path: variable for path, variable in found.items() if variable is not None}
    read = _of_config(model, {id(variable): path for path, variable in variables.items()})
    if isinstance(read, StoredNetwork) and all(o.kind != "other" for o in canonical(read).operations):
        return read
    read = traced_network(model, variables, (None, *size, lengths.get("channels", 3)))
    return read if isinstance(read, StoredNetwork) else None


def _of_config(model: Keras, names: Mapping[int, str]) -> StoredNetwork | str | None:
    """Return the model's config as a stored network; None where it tells no layers."""
    try:
        config = parse_config(model.to_json())
    except NotImplementedError:  # a class with no config
        return None
    if config.layers is None:
        return None
    return stored_network(config, Layer("", layers=list(_layers(model, names))))


def _layers(model: Keras, names: Mapping[int, str]) -> Iterator[Layer]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield Layer(layer.name, layers=list(_layers(layer, names)))
            continue
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
    dropped = ("same_amounts", "shape", "use_bias", "kernel", AS_CONV, AS_POOL)
    attributes = {name: value for name, value in first.attributes.items() if name not in dropped}
    if isinstance(attributes.get("padding"), tuple):
        attributes["padding"] = tuple(
            sorted({operation.attributes["padding"] for operation in seen}, key=repr)
        )
    return first._replace(attributes=attributes, name="")


if __name__ == "__main__":
    main(sys.argv[1:])
