"""TensorFlow's side of a check where a person's own function builds the network."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from porter.checkpoints import open_checkpoint
from porter.core.checkpoint import Array, Checkpoint
from porter.errors import ParityError, PorterError
from porter.planning.ledger import moving_averages
from porter.planning.plan import Plan
from porter.runners.as_ported import source_order
from porter.runners.built_network import Built, build_network, failed
from porter.runners.file_witness import FileWitness
from porter.runners.job import Job
from porter.tables.variants import Stage

_SHOWN = 3
_BARE = ".weights.h5"


def open_own_source(
    function: str,
    job: Job,
    port_plan: Plan,
    stages: tuple[Stage, ...],
    checkpoint: Checkpoint,
    inputs: Sequence[Array],
) -> tuple[FileWitness, tuple[str, ...]]:
    """Build a network with a person's function, give it the plan's weights and make it ready to run.

    Args:
        function: ``"package.module:function"``; whoever calls this has made sure that it may be run.
        job: What is to be recorded.
        port_plan: The plan of the port that is checked.
        stages: Those that are wanted.
        checkpoint: The weights, stored or random.
        inputs: Images as the network takes them normalised, (N, H, W, C).

    Returns:
        The network, and what a reader should know of its weights.

    Raises:
        TableError: there is no such function.
        ParityError: it returns no network, or one that the weights do not fit.
        UnfitError: the network cannot be run on these inputs.
    """
    built = build_network(function, port_plan.variant.source.arguments)
    _call(built, function, source_order(port_plan, inputs[0]))
    notes = _assign(built, job, port_plan, checkpoint)
    network = built.as_graph(inputs[0].shape[-1], port_plan.variant.table)
    return FileWitness(network, port_plan, stages, checkpoint, inputs, job.threads), notes


def _call(built: Built, function: str, images: Array) -> None:
    """Run the network once: until then it may have no variables."""
    try:
        built.run(tf.constant(images))
    except Exception as error:  # a person's own code
        raise failed(function, error) from error


def _assign(built: Built, job: Job, port_plan: Plan, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Give every variable of the network its value, and say which have none."""
    variables, initial = built.variables, [np.array(variable) for variable in built.variables]
    with tempfile.TemporaryDirectory(prefix="porter-") as folder:
        form = checkpoint if job.checkpoint is not None else None
        numbered, paths = _numbered(built, job, port_plan, _saved(built, Path(folder), form))
    raws = {average: raw for raw, average in moving_averages(checkpoint).items()}
    values: dict[int, Array] = {}
    for assignment in port_plan.assignments:
        for part, number in zip(assignment.sources, numbered.get(assignment.target, ()), strict=True):
            values[number] = checkpoint.read(raws.get(part.key, part.key))
    stored = _keys(checkpoint)
    for path, number in paths.items():
        if number not in values and path in stored:
            values[number] = checkpoint.read(stored[path])
    for number, variable in enumerate(variables):
        value = values.get(number, initial[number])
        if tuple(value.shape) != tuple(variable.shape):
            raise ParityError(
                "runner/own-source",
                f"{variable.name} of the network {built.words} has another shape than the weights",
                expected=tuple(value.shape),
                found=tuple(variable.shape),
            )
        variable.assign(value.astype(initial[number].dtype))
    return _left(built, [variables[n] for n in range(len(variables)) if n not in values])


def _left(built: Built, variables: Sequence[Any]) -> tuple[str, ...]:
    if not variables:
        return ()
    names = ", ".join(str(variable.name) for variable in variables[:_SHOWN])
    more = f" and {len(variables) - _SHOWN} more" if len(variables) > _SHOWN else ""
    return (f"the network {built.words} keeps its own {names}{more}: no rule of the table names them",)


def _numbered(
    built: Built, job: Job, port_plan: Plan, path: Path
) -> tuple[Mapping[str, tuple[int, ...]], Mapping[str, int]]:
    """Find the variables of the network, which was saved with their numbers in the place of their values.

    However Keras or TensorFlow name what they save, it is read and planned as the source is.

    Returns:
        Numbers of the variables of each target tensor, in the order of the plan; the same by object path.
    """
    with open_checkpoint(path) as saved:
        floats = [key for key in _keys(saved).values() if saved.specs[key].dtype.is_float]
        numbers = {key: _number(saved.read(key)) for key in floats}
        options = replace(job.options, weights="raw", bn_eps=None)
        try:
            planned = replace(job, options=options).plan(saved)
        except PorterError as error:
            raise ParityError(
                "runner/own-source",
                f"the network {built.words} is not the one of the table: {error.problem}",
                file=port_plan.variant.table,
                details=error.details,
            ) from error
        found = {each.target: tuple(numbers[p.key] for p in each.sources) for each in planned.assignments}
        return found, {path: numbers[key] for path, key in _keys(saved).items() if key in numbers}


def _number(values: Array) -> int:
    return int(values.reshape(-1)[0]) if values.size else 0


def _saved(built: Built, folder: Path, form: Checkpoint | None) -> Path:
    """Save the network with the number of every variable for its values, in the form of a source if any."""
    for number, variable in enumerate(built.variables):
        variable.assign(np.full(tuple(variable.shape), number, np.float32))
    if built.is_keras_3:
        is_bare = form is not None and form.path.name.endswith(_BARE)
        path = folder / f"numbered{_BARE if is_bare else '.keras'}"
        (built.model.save_weights if is_bare else built.model.save)(path)
        return path
    names = {key.partition("/")[0] for key in form.specs} if form is not None else set()
    edge = "model" if "model" in names else "root"
    return Path(tf.train.Checkpoint(**{edge: built.model}).write(str(folder / "numbered")))


def _keys(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the key of every variable by its object path."""
    graph = checkpoint.graph
    named = zip(graph.paths, graph.nodes, strict=True)
    return {path: node.key for path, node in named if path is not None and node.key is not None}
