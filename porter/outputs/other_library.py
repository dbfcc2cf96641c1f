"""Writing a port for a library other than timm: one file, or a folder that the library loads."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

from porter.core.checkpoint import Checkpoint
from porter.errors import OutputError
from porter.outputs.metadata import describe
from porter.outputs.renaming.aim import Aim
from porter.planning.plan import Plan
from porter.transfer.atomic_folder import new_folder, write_json
from porter.transfer.sharded_writer import ShardedWriter
from porter.transfer.source_hashes import SourceHashes
from porter.transfer.transfer import Progress, TransferReport, transfer

# What transformers looks for in a folder.
_CONFIG, _PREPROCESSOR, _WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"


def write(
    checkpoint: Checkpoint,
    plan: Plan,
    aim: Aim,
    out: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    max_shard_size: int | None = None,
    progress: Progress | None = None,
    hashes: SourceHashes | None = None,
) -> TransferReport:
    """Move the bytes of an aimed plan.

    Args:
        checkpoint: The open source that `plan` was made from.
        plan: The port to timm.
        aim: The same port, aimed at another library.
        out: The file or folder to write; it appears whole or not at all.
        dtype: ``"float32"``, ``"float16"`` or ``"bfloat16"``; None keeps what is stored.
        max_shard_size: Bytes of tensors that a shard may hold; one file where None.
        progress: Called with bytes written and bytes in all, as the work goes on.
        hashes: The digests of the checkpoint's files, where they were begun before.

    Raises:
        CheckpointError: the source is damaged or changed meanwhile.
        OutputError: the output cannot be written, or the library reads one file only.
    """
    if max_shard_size is not None and not aim.table.folder:
        raise OutputError(
            "output/shards",
            f"{aim.table.title} is loaded from one file: torch.load_state_dict knows no index of shards",
            file=out,
            hint="Leave --max-shard-size out.",
        )
    table = {"file": aim.table.file.name, "sha256": aim.table.digest}
    described = {
        "library": aim.table.target,
        "network": aim.table.title,
        "config": dict(aim.config),
        "table": table,
    }
    metadata = describe(plan, checkpoint.format, dtype)
    metadata["porter.target"] = json.dumps(described, sort_keys=True)
    move = partial(
        transfer,
        checkpoint,
        aim.assignments,
        dtype=dtype,
        metadata=metadata,
        progress=progress,
        hashes=hashes,
    )
    if not aim.table.folder:
        return move(out)
    with new_folder(Path(out)) as folder:
        write_json(folder / _CONFIG, aim.config)
        write_json(folder / _PREPROCESSOR, aim.preprocessor)
        if max_shard_size is None:
            report = move(folder / _WEIGHTS)
        else:
            report = move(folder, open_writer=partial(ShardedWriter, limit=max_shard_size))
    return report._replace(path=Path(out) / _WEIGHTS if max_shard_size is None else Path(out))
