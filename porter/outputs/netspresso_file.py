"""One file under the names of NetsPresso Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from porter.core.checkpoint import Checkpoint
from porter.outputs.other_library import FOLDED, OtherLibrary
from porter.outputs.output import Refusals
from porter.transfer.transfer import TransferReport, Writing, transfer


class NetsPressoFile(OtherLibrary):
    """A file for `torch.load_state_dict`, which knows no index of shards."""

    excluded: ClassVar[Refusals] = {
        "fold_bn": FOLDED,
        "max_shard_size": (
            "output/shards",
            "--max-shard-size goes with timm and transformers: NetsPresso's networks load one file",
        ),
    }

    def write(self, checkpoint: Checkpoint, out: Path, writing: Writing) -> TransferReport:
        """Move the bytes; see `Output.write`."""
        return transfer(
            checkpoint,
            self.assignments,
            out,
            dtype=self.options.dtype,
            metadata=self.metadata(checkpoint),
            writing=writing,
        )
