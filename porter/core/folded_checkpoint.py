"""A source without names: norms are part of its convolutions, and its network tells which weight is which."""

from __future__ import annotations

from abc import abstractmethod

from porter.core.checkpoint import Checkpoint


class FoldedCheckpoint(Checkpoint):
    """An open source of folded weights that names no layers."""

    @abstractmethod
    def see_as(self, key: str, shape: tuple[int, ...]) -> None:
        """Give a weight another shape of as many elements from now on.

        A dense layer and a 1x1 convolution on one pixel are one operation, and a converter writes either.
        """
