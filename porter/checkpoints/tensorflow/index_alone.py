"""The index of a TensorBundle whose data files are missing: names, types and shapes, and no numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from porter.checkpoints.tensorflow.bundle_index import read_index
from porter.checkpoints.tensorflow.tables import INDEX
from porter.checkpoints.tensorflow.trackable_graph import graph_from_names
from porter.core.checkpoint import Array, Checkpoint, TensorSpec
from porter.errors import CheckpointError
from porter.formats.files import RegularFile
from porter.formats.malformed import naming

MISSING = "bundle/missing-shard"
_DATA = re.compile(r"\.data-\d{5,}-of-\d{5,}$")
_ATTRIBUTE = "/.ATTRIBUTES/VARIABLE_VALUE"


class IndexAlone(Checkpoint):
    """What an index tells without its data files. Where the object graph is missing too, keys are the paths.

    Attributes:
        missing: The data files that are not there.
    """

    specs: Mapping[str, TensorSpec]

    def __init__(self, path: Path, refusal: CheckpointError) -> None:
        """Open the index of a checkpoint that was refused because of a missing data file.

        Args:
            path: What the user named.
            refusal: Why it was refused; it names the data file.

        Raises:
            CheckpointError: the index is damaged too.
        """
        self.path = path
        self._refusal = refusal
        prefix = Path(_DATA.sub("", refusal.file or ""))
        index = prefix.with_name(prefix.name + INDEX)
        file = RegularFile(index)
        try:
            found = read_index(file, prefix, may_be_alone=True)
        finally:
            file.close()
        self.specs = {key.removesuffix(_ATTRIBUTE): spec for key, spec in found.specs.items()}
        self.missing = tuple(sorted(found.shards.missing))
        self.files = (index, *found.shards.used)
        self.format = "index of a TensorBundle without its data files"
        with naming(index):
            self.graph = graph_from_names(self.specs)

    def read(self, key: str) -> Array:  # noqa: ARG002  (nothing can be read)
        """Refuse: the numbers are in the missing files."""
        raise self._refusal

    def verify(self, key: str) -> None:  # noqa: ARG002  (as in `read`)
        """Refuse: the numbers are in the missing files."""
        raise self._refusal

    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:  # noqa: ARG002  (as in `read`)
        """Refuse: the numbers are in the missing files."""
        raise self._refusal

    def close(self) -> None:
        """Nothing is open."""
