"""A port to several files: a folder that appears whole, or not at all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from porter.core.checkpoint import Checkpoint
from porter.outputs.output import Output
from porter.outputs.timm_call import load_folder_call
from porter.transfer.atomic_folder import new_folder
from porter.transfer.sharded_writer import ShardedWriter
from porter.transfer.transfer import TransferReport, Writing, transfer


class ShardFolder(Output):
    """Shards and an index, as Hugging Face lays out large models, with timm's names."""

    def write(self, checkpoint: Checkpoint, out: Path, writing: Writing) -> TransferReport:
        """Move the bytes to a folder that is not there yet, or empty; see `Output.write`."""
        assert self.form.shard_size is not None  # noqa: S101 (that is what chose this form)
        with new_folder(out) as folder:
            report = transfer(
                checkpoint,
                self.assignments,
                folder,
                dtype=self.options.dtype,
                metadata=self.metadata(checkpoint),
                writing=writing,
                open_writer=partial(ShardedWriter, limit=self.form.shard_size),
            )
        return report._replace(path=out)

    def loading_line(self, out: Path) -> str:
        """Return a call of `porter.load_model`: timm would load the first shard alone."""
        return load_folder_call(self.plan, out)
