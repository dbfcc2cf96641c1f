"""Every choice that a person has about the form of a port, checked in one place."""

from __future__ import annotations

from dataclasses import dataclass

from porter.outputs.byte_size import parse_byte_size
from porter.outputs.forms import TARGETS
from porter.planning.port_options import require_known


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What a port is written as. Which of these go together is for each form to say.

    >>> OutputOptions(max_shard_size="5GB").shard_size
    5000000000

    Attributes:
        target: ``"timm"``; ``"hub-folder"`` is a folder that timm loads by itself, with a model card;
            ``"transformers"`` a folder for ``from_pretrained``, ``"netspresso"`` a file under NetsPresso
            Trainer's names.
        fold_bn: Fold norms and layer scales into the convolutions before them; needs torch and timm.
        max_shard_size: Write a folder of files with at most this many bytes of tensors each (``"5GB"`` or a
            number), and an index; one file if None.

    Raises:
        PlanError: there is no such target.
        OutputError: the length of a shard is no number of bytes.
    """

    target: str = "timm"
    fold_bn: bool = False
    max_shard_size: int | str | None = None

    def __post_init__(self) -> None:
        """Refuse a choice that does not exist."""
        require_known("target", self.target, TARGETS)
        if self.max_shard_size is not None:
            parse_byte_size(self.max_shard_size)

    @property
    def shard_size(self) -> int | None:
        """Bytes of tensors that a shard may hold; None for one file."""
        return None if self.max_shard_size is None else parse_byte_size(self.max_shard_size)


DEFAULTS = OutputOptions()
