"""A port to several files: a folder that appears whole, or not at all."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from porter.core.checkpoint import Checkpoint
from porter.outputs.metadata import describe
from porter.planning.plan import Plan
from porter.transfer.atomic_folder import new_folder
from porter.transfer.sharded_writer import ShardedWriter
from porter.transfer.source_hashes import SourceHashes
from porter.transfer.transfer import Progress, TransferReport, transfer


def write_shards(
    checkpoint: Checkpoint,
    plan: Plan,
    out: str | os.PathLike[str],
    *,
    max_shard_size: int,
    dtype: str | None = None,
    progress: Progress | None = None,
    hashes: SourceHashes | None = None,
) -> TransferReport:
    """Move the bytes of a plan to a folder of shards and an index; the other arguments are those of `port`.

    Args:
        checkpoint: The open source that `plan` was made from.
        plan: The port to timm.
        out: The folder: not there yet, or empty.
        max_shard_size: Bytes of tensors that a shard may hold.
        dtype: As for `port`.
        progress: As for `port`.
        hashes: The digests of the checkpoint's files, where they were begun before.

    Raises:
        CheckpointError: the source is damaged or changed meanwhile.
        OutputError: the output cannot be written.
    """
    with new_folder(Path(out)) as folder:
        report = transfer(
            checkpoint,
            plan.assignments,
            folder,
            dtype=dtype,
            metadata=describe(plan, checkpoint.format, dtype),
            progress=progress,
            hashes=hashes,
            open_writer=partial(ShardedWriter, limit=max_shard_size),
        )
    return report._replace(path=Path(out))
