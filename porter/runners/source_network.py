"""Which network TensorFlow runs in a check: a person's own, the source's own, or one of porter's builders."""

from __future__ import annotations

from collections.abc import Sequence

from porter.checkpoints.carried import Carried, carried_network
from porter.core.checkpoint import Array, Checkpoint
from porter.core.named_function import is_function_name
from porter.errors import ParityError
from porter.planning.plan import Plan
from porter.runners.file_witness import FileWitness, UnfitError, open_witness
from porter.runners.job import Job, planned_stages
from porter.runners.own_source import open_own_source
from porter.runners.substitute import network_of
from porter.tables.trust import require_trust
from porter.tables.variants import FILE_BUILDER


def open_source_network(
    job: Job, port_plan: Plan, checkpoint: Checkpoint, inputs: Sequence[Array]
) -> tuple[FileWitness | None, tuple[str, ...]]:
    """Return the network that is run, and what a reader should know of it.

    The function that the person named comes first, then the network that the source carries, then what the
    table names.

    Returns:
        None in place of a network if it is one of porter's builders.

    Raises:
        ParityError: there is no network to run.
        TableError: the table names a function, and is not trusted.
    """
    if job.source is not None:
        return _own(job.source, job, port_plan, checkpoint, inputs)
    reason = "the source stores no network"
    carried = carried_network(checkpoint) if job.checkpoint is not None else None
    is_stated = carried is not None or (job.checkpoint is not None and checkpoint.training is not None)
    if is_stated:
        try:
            return open_witness(carried, port_plan, planned_stages(port_plan), checkpoint, inputs, job), ()
        except UnfitError as error:
            network = "the file's own network" if carried else "the network that params.yaml describes"
            reason = f"TensorFlow could not run {network} ({error})"
            _require_builder(port_plan, checkpoint, carried, reason)
    elif (
        job.checkpoint is not None and port_plan.has_own_head
    ):  # TensorFlow.js's, which TensorFlow runs nowhere
        reason = "TensorFlow cannot run the network that the source stores"
        _require_builder(port_plan, checkpoint, carried, reason)
    builder = network_of(port_plan.variant).source.name
    if is_function_name(builder):
        require_trust([builder], port_plan.variant.table, trust_table=job.trust_table)
        return _own(builder, job, port_plan, checkpoint, inputs)
    if builder == FILE_BUILDER:
        raise _nothing_to_run(job, port_plan, checkpoint, reason)
    if job.checkpoint is None:
        return None, ()
    ran = f"it ran {builder}, as the table describes it" if is_stated else f"TensorFlow ran {builder}"
    return None, (f"{reason}: {ran}",)


def _require_builder(port_plan: Plan, checkpoint: Checkpoint, carried: Carried | None, reason: str) -> None:
    """Refuse to run one of porter's builders in the place of what none of them builds."""
    if port_plan.has_own_head:
        raise ParityError(
            "runner/own-head",
            f"{reason}, and nothing else has its head",
            file=checkpoint.path,
            hint="--backbone-only checks the backbone alone.",
        )
    if carried is Carried.TFLITE:
        raise ParityError(
            "runner/tflite-unfit", f"{reason}, and nothing else takes folded weights", file=checkpoint.path
        )
    if carried is Carried.GRAPH:
        raise ParityError(
            "runner/graph-unfit",
            f"{reason}, and nothing else takes a graph's constants",
            file=checkpoint.path,
        )


def _own(
    function: str, job: Job, port_plan: Plan, checkpoint: Checkpoint, inputs: Sequence[Array]
) -> tuple[FileWitness, tuple[str, ...]]:
    try:
        return open_own_source(function, job, port_plan, planned_stages(port_plan), checkpoint, inputs)
    except UnfitError as error:
        raise ParityError(
            "runner/own-source", f"the network that {function} builds cannot be checked: {error}"
        ) from error


def _nothing_to_run(job: Job, port_plan: Plan, checkpoint: Checkpoint, reason: str) -> ParityError:
    if job.checkpoint is None:
        return ParityError(
            "runner/no-network",
            f"the table of {port_plan.variant.name} names no network for TensorFlow but that in the source",
            file=port_plan.variant.table,
            hint="Give a --checkpoint that carries its network, or --source package.module:function.",
        )
    return ParityError(
        "runner/no-network",
        f"there is no network for TensorFlow to run: {reason}, and the table names none",
        file=checkpoint.path,
        hint="Save the whole model (.keras, .h5, SavedModel), or give --source package.module:function.",
    )
