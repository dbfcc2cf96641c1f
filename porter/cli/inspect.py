"""`porter inspect`: what is in a checkpoint, mapped or not."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from porter.checkpoints import open_checkpoint
from porter.checkpoints.tensorflow.index_alone import MISSING, IndexAlone
from porter.cli import inspect_layers
from porter.cli.columns import columns
from porter.cli.command import Command
from porter.cli.shared_options import SomePath, json_option, table_option, verbosity_options
from porter.core.checkpoint import Checkpoint
from porter.core.stored_network import StoredNetwork
from porter.errors import CheckpointError, PlanError, printable
from porter.planning.identification import identify
from porter.planning.ledger import moving_averages, optimizer_state
from porter.tables.known_tables import Tables

_SAFETENSORS = "checkpoint/safetensors"
_OPTIMIZER = "optimizer state"

_Roles = dict[str, tuple[str, str]]  # raw key and role, by key


@click.command("inspect", cls=Command)
@click.argument("source", type=SomePath())
@table_option
@json_option
@verbosity_options
def inspect(source: Path, tables: Tables, as_json: bool, verbosity: int) -> None:
    """Show what SOURCE holds: container, files, tensors, optimizer slots, moving averages, network.

    Works for any checkpoint, whether a table knows its network or not. Of a source that carries its network
    the layers are shown in order of execution, of a .safetensors file what it was ported from. With -v every
    object path and the checkpoint key of each tensor is shown; with -q the summary alone.

    \b
    Example:
      porter inspect training/ckpt-100
      porter inspect saved_model/ -q
      porter inspect ckpt-100 --json | jq .tensors[0]
    """
    try:
        with _no_collection():
            opened = open_checkpoint(source)
    except CheckpointError as error:
        if error.code == MISSING:
            opened = IndexAlone(source, error)
        elif error.code == _SAFETENSORS:
            _inspect_ported(source, as_json=as_json, verbosity=verbosity)
            return
        else:
            raise
    with opened as checkpoint, _no_collection():
        if as_json:
            click.echo(json.dumps(_document(checkpoint, tables), indent=2))
            return
        roles = _roles(checkpoint)
        click.echo("\n".join(_summary(checkpoint, tables, roles)))
        if verbosity >= 0:
            click.echo("")
            rows = list(_rows(checkpoint, roles))
            named: tuple[str, ...] = ("tensor", "name", "dtype", "shape", "role")
            if not any(row[1] for row in rows):
                named, rows = (named[0], *named[2:]), [(row[0], *row[2:]) for row in rows]
            click.echo("\n".join(columns(named, rows)))
            network = _stored_network(checkpoint)
            if network is not None:
                click.echo("\n" + "\n".join(inspect_layers.lines(network)))
        if verbosity > 0:
            click.echo("")
            click.echo("\n".join(_paths(checkpoint)))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Do not look for garbage meanwhile: a large checkpoint is a million objects that all are shown."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _inspect_ported(source: Path, *, as_json: bool, verbosity: int) -> None:
    from porter.cli import inspect_ported

    if as_json:
        click.echo(json.dumps(inspect_ported.document(source), indent=2))
    else:
        click.echo("\n".join(inspect_ported.lines(source, with_tensors=verbosity >= 0)))


def _summary(checkpoint: Checkpoint, tables: Tables, roles: _Roles) -> Iterator[str]:
    specs = checkpoint.specs.values()
    kinds = Counter(role.partition(" ")[0] for _, role in roles.values())
    yield f"format    {checkpoint.format}"
    for file in checkpoint.files:
        yield f"file      {printable(str(file))} ({file.stat().st_size:,} bytes)"
    for missing in _missing(checkpoint):
        yield f"missing   {printable(missing)}: the numbers are in it; a port needs it beside the index"
    yield f"tensors   {len(checkpoint.specs):,} ({sum(spec.nbytes for spec in specs) / 1e6:,.1f} MB)"
    slots = kinds["slot"] + kinds["optimizer"]
    yield f"slots     {slots:,} of an optimizer, {kinds['moving']:,} moving averages"
    yield f"graph     {checkpoint.graph.origin}"
    yield f"network   {_network(checkpoint, tables)}"


def _missing(checkpoint: Checkpoint) -> list[str]:
    return [str(path) for path in checkpoint.missing] if isinstance(checkpoint, IndexAlone) else []


def _network(checkpoint: Checkpoint, tables: Tables) -> str:
    try:
        match = identify(checkpoint, tables)
    except PlanError as error:
        return f"not recognised: {error}"
    parts = " and ".join(match.nodes)
    lengths = "".join(f", {name} {length}" for name, length in match.lengths.items())
    return f"{match.variant.name} ({parts}{lengths})"


def _stored_network(checkpoint: Checkpoint) -> StoredNetwork | None:
    """Return the network that the source carries; None where it carries none that is read."""
    try:
        return checkpoint.stored_network
    except CheckpointError:  # its tensors are shown all the same, and a port names what is damaged
        return None


def _roles(checkpoint: Checkpoint) -> _Roles:
    """Return (raw key, role) of each slot variable; variables with a life of their own are left out."""
    averages = {average: raw for raw, average in moving_averages(checkpoint).items()}
    roles = {key: (key, _OPTIMIZER) for key in optimizer_state(checkpoint)}
    roles |= {key: (raw, f"slot {name}") for key, (raw, name) in checkpoint.graph.slots.items()}
    return roles | {average: (raw, "moving average") for average, raw in averages.items()}


def _rows(checkpoint: Checkpoint, roles: _Roles) -> Iterator[tuple[str, ...]]:
    """Yield path, stored name if it is another, dtype, shape and role of each tensor."""
    graph = checkpoint.graph
    for key, spec in checkpoint.specs.items():
        raw, role = roles.get(key, (key, ""))
        shape = "x".join(map(str, spec.shape)) or "scalar"
        path, node = _path(checkpoint, raw), graph.node_of_key.get(key)
        full_name = "" if node is None else graph.nodes[node].full_name
        name = "" if full_name in (path, key) else full_name
        yield printable(path), printable(name), spec.dtype.name, shape, role


def _path(checkpoint: Checkpoint, key: str) -> str:
    node = checkpoint.graph.node_of_key.get(key)
    return (None if node is None else checkpoint.graph.paths[node]) or key


def _paths(checkpoint: Checkpoint) -> Iterator[str]:
    graph = checkpoint.graph
    for key, node in graph.node_of_key.items():
        yield f"{printable(key)}  (full name {printable(graph.nodes[node].full_name)!r})"
        for path in graph.aliases(node):
            yield f"  {printable(path)}"


def _document(checkpoint: Checkpoint, tables: Tables) -> dict[str, Any]:
    graph, roles = checkpoint.graph, _roles(checkpoint)
    network = _stored_network(checkpoint)
    tensors = []
    for key, spec in checkpoint.specs.items():
        node = graph.node_of_key.get(key)
        tensors.append(
            {
                "key": key,
                "dtype": spec.dtype.name,
                "shape": list(spec.shape),
                "full_name": "" if node is None else graph.nodes[node].full_name,
                "object_paths": [] if node is None else graph.aliases(node),
                "role": roles[key][1] if key in roles else "",
                "belongs_to": owner if (owner := roles.get(key, (key,))[0]) != key else None,
            }
        )
    return {
        "schema": "porter-inspect",
        "schema_version": 1,
        "format": checkpoint.format,
        "files": [{"name": file.name, "size": file.stat().st_size} for file in checkpoint.files],
        "missing": _missing(checkpoint),
        "object_graph": graph.stored,
        "network": _network_document(checkpoint, tables),
        "tensors": tensors,
        "layers": inspect_layers.document(network) if network is not None else None,
    }


def _network_document(checkpoint: Checkpoint, tables: Tables) -> dict[str, Any]:
    try:
        match = identify(checkpoint, tables)
    except PlanError as error:
        return {"variant": None, "reason": str(error)}
    return {"variant": match.variant.name, "parts": list(match.nodes), "lengths": dict(match.lengths)}
