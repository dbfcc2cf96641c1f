"""The port itself: open, plan, move the bytes, say how to load the result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from porter.checkpoints import open_checkpoint
from porter.core.checkpoint import Checkpoint
from porter.errors import OutputError
from porter.outputs.metadata import describe
from porter.outputs.renaming import TARGETS
from porter.outputs.timm_call import create_model_call
from porter.planning.options import DEFAULTS, PortOptions, require_known
from porter.planning.plan import Plan, plan
from porter.tables.variants import Tables
from porter.transfer.source_hashes import SourceHashes
from porter.transfer.transfer import Progress, TransferReport, transfer

if TYPE_CHECKING:  # a port to timm needs none of it, and importing it takes longer than planning
    from porter.networks.bn_folding import Folding
    from porter.outputs.renaming.aim import Aim

PathLike = str | os.PathLike[str]


class PortResult(NamedTuple):
    """What a port did.

    Attributes:
        plan: Every assignment and the ledger.
        report: Bytes, time, source digests and findings about the values.
        out: The file or folder that was written.
        aim: What was written for a library other than timm, or None.
        folding: Which norms are part of a convolution now; None where that was not asked for.
        is_sharded: Whether `out` is a folder of several files for timm.
        load: How to load `out`, where it is not one of these.
    """

    plan: Plan
    report: TransferReport
    out: Path
    aim: Aim | None = None
    folding: Folding | None = None
    is_sharded: bool = False
    load: str | None = None

    @property
    def loading_line(self) -> str:
        """One line of Python that loads the output into the library it was written for, strictly."""
        if self.load is not None:
            return self.load
        if self.aim is not None:
            return self.aim.table.load.format(path=os.fspath(self.out))
        if self.is_sharded or self.folding is not None or self.plan.variant.is_own:
            return f"porter.load_model({os.fspath(self.out)!r})"
        return create_model_call(self.plan, self.out)


def port(
    source: PathLike,
    out: PathLike,
    *,
    tables: Tables | None = None,
    options: PortOptions = DEFAULTS,
    target: str = "timm",
    fold_bn: bool = False,
    max_shard_size: int | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> PortResult:
    """Port TensorFlow weights to a safetensors file that timm loads with ``strict=True``.

    Args:
        source: A checkpoint prefix, its ``.index`` file, a training directory or a SavedModel.
        out: The file (or folder, see `target`) to write; it appears whole or not at all.
        tables: Known networks; those that come with porter if None.
        options: What was chosen about the port.
        target: ``"timm"``; ``"transformers"`` writes a folder for ``from_pretrained``, ``"netspresso"`` a
            file under NetsPresso Trainer's names.
        fold_bn: Fold norms and layer scales into the convolutions before them; needs torch and timm.
        max_shard_size: Write a folder of files with at most this many bytes of tensors each, and an index,
            as Hugging Face does; for timm, folded or not, and for transformers.
        progress: Called with bytes written and bytes in all, as the work goes on.
        **choices: Single attributes of `PortOptions`, by name, in place of those of `options`.

    Raises:
        CheckpointError: the source cannot be read.
        PlanError: the source and the tables do not close, or the target cannot hold this network.
        OutputError: the output cannot be written.
        MissingDependencyError: torch or timm is needed and not installed.

    Example:
        >>> result = porter.port("ckpt-1", "mobilenet.safetensors")
        >>> result.plan.variant.name, result.report.tensors
        ('keras_mobilenetv1_025', 164)
        >>> print(result.loading_line)
        porter.load_model('mobilenet.safetensors')
    """
    options = options.merged(choices)
    # The digests are under way while the plan is being made.
    with open_checkpoint(source) as checkpoint, SourceHashes(checkpoint.files) as hashes:
        made = plan(checkpoint, tables, options)
        aimed = aim_at(made, target)
        return carry_out(
            checkpoint,
            made,
            out,
            dtype=options.dtype,
            aimed=aimed,
            fold_bn=fold_bn,
            max_shard_size=max_shard_size,
            progress=progress,
            hashes=hashes,
        )


def aim_at(plan: Plan, target: str) -> Aim | None:
    """Return the plan aimed at the library `target`, or None for timm, whose names a plan has anyway.

    Raises:
        PlanError: the library cannot hold this network, or is none that porter writes for.
    """
    require_known("target", target, TARGETS)
    if target == "timm":
        return None
    from porter.outputs.renaming.aim import aim  # noqa: PLC0415 - see above

    return aim(plan, target)


def carry_out(  # noqa: PLR0913 (one for each choice that is left after planning)
    checkpoint: Checkpoint,
    plan: Plan,
    out: PathLike,
    *,
    dtype: str | None = None,
    aimed: Aim | None = None,
    fold_bn: bool = False,
    max_shard_size: int | None = None,
    progress: Progress | None = None,
    hashes: SourceHashes | None = None,
) -> PortResult:
    """Move the bytes of a plan that was made from `checkpoint`; the other arguments are those of `port`.

    Args:
        checkpoint: The open source.
        plan: The port to timm.
        out: The file or folder to write.
        dtype: As for `port`.
        aimed: The plan aimed at another library, or None.
        fold_bn: As for `port`; only for timm.
        max_shard_size: As for `port`.
        progress: As for `port`.
        hashes: The digests of the checkpoint's files, where they were begun before.

    Raises:
        CheckpointError: the source is damaged or changed meanwhile.
        OutputError: the output cannot be written, or a library other than timm was asked for folded norms.
    """
    if max_shard_size is not None and max_shard_size < 1:
        raise OutputError("output/shard-size", "a shard holds at least one byte", found=max_shard_size)
    if aimed is not None and fold_bn:
        raise OutputError("output/folded", "no library but timm has the network without norms")
    shared: dict[str, Any] = {"dtype": dtype, "progress": progress, "hashes": hashes}
    is_sharded = max_shard_size is not None
    if aimed is not None:
        from porter.outputs.other_library import write  # noqa: PLC0415 - see above

        report = write(checkpoint, plan, aimed, out, max_shard_size=max_shard_size, **shared)
        return PortResult(plan, report, Path(out), aimed, is_sharded=is_sharded)
    if fold_bn:
        from porter.outputs.folded import write_folded  # noqa: PLC0415 - see above

        report, folding = write_folded(checkpoint, plan, out, max_shard_size=max_shard_size, **shared)
        return PortResult(plan, report, Path(out), folding=folding, is_sharded=is_sharded)
    if max_shard_size is not None:
        from porter.outputs.shards import write_shards  # noqa: PLC0415 - see above

        report = write_shards(checkpoint, plan, out, max_shard_size=max_shard_size, **shared)
        return PortResult(plan, report, Path(out), is_sharded=True)
    metadata = describe(plan, checkpoint.format, dtype)
    report = transfer(checkpoint, plan.assignments, out, metadata=metadata, **shared)
    return PortResult(plan, report, Path(out))
