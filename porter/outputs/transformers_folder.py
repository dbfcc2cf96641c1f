"""A folder that transformers loads with ``from_pretrained``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from porter.core.checkpoint import Checkpoint
from porter.outputs.other_library import FOLDED, OtherLibrary
from porter.outputs.output import Refusals
from porter.outputs.output_options import OutputOptions
from porter.transfer.atomic_folder import new_folder, write_json
from porter.transfer.sharded_writer import ShardedWriter
from porter.transfer.transfer import TransferReport, Writing, transfer

# What transformers looks for in a folder.
_CONFIG, _PREPROCESSOR, _WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"


class TransformersFolder(OtherLibrary):
    """config.json, preprocessor_config.json, and the weights in one file or in shards."""

    excluded: ClassVar[Refusals] = {"fold_bn": FOLDED}

    @classmethod
    def is_file(cls, form: OutputOptions) -> bool:  # noqa: ARG003 (of no form of it)
        """Return False."""
        return False

    def write(self, checkpoint: Checkpoint, out: Path, writing: Writing) -> TransferReport:
        """Move the bytes to a folder that is not there yet, or empty; see `Output.write`."""
        move = partial(
            transfer,
            checkpoint,
            self.assignments,
            dtype=self.options.dtype,
            metadata=self.metadata(checkpoint),
            writing=writing,
        )
        limit = self.form.shard_size
        with new_folder(out) as folder:
            write_json(folder / _CONFIG, self.aim.config)
            write_json(folder / _PREPROCESSOR, self.aim.preprocessor)
            if limit is None:
                report = move(folder / _WEIGHTS)
            else:
                report = move(folder, open_writer=partial(ShardedWriter, limit=limit))
        return report._replace(path=out / _WEIGHTS if limit is None else out)
