"""Frozen graphs (``.pb``) as a container."""

from __future__ import annotations

from pathlib import Path

from porter.checkpoints.container import Container
from porter.core.checkpoint import Checkpoint
from porter.errors import CheckpointError
from porter.formats.files import RegularFile

_META = ".meta"


class GraphFile(Container):
    """A GraphDef whose constants are the weights."""

    title = "a frozen graph"

    def is_mine(self, file: Path) -> bool:
        """Whether it begins with a node; the graph that TensorFlow 1 leaves beside a checkpoint is none."""
        from porter.checkpoints.tensorflow.frozen_nodes import is_graph  # noqa: PLC0415  (most need none of it)

        if file.name.endswith(_META):
            return False
        handle = RegularFile(file)
        try:
            return is_graph(handle)
        finally:
            handle.close()

    def open(self, path: Path, file: Path) -> Checkpoint:
        """Open it."""
        from porter.checkpoints.tensorflow.frozen_graph import FrozenGraph  # noqa: PLC0415  (as in `is_mine`)

        return FrozenGraph(path, file)

    def refusal(self, path: Path, file: Path) -> CheckpointError | None:
        """Name the graph beside a checkpoint, which has no weights."""
        if not file.name.endswith(_META):
            return None
        return CheckpointError(
            "checkpoint/meta-graph",
            "this is the graph that lies beside a checkpoint, without weights",
            file=path,
            hint=f"Name the checkpoint itself: {file.name.removesuffix(_META)}.",
        )
