"""Which elements of an activation a golden keeps: chosen by a seed, the borders always among them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from porter.recordings.random_weights import bits

Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SampleRule:
    """How a sample was drawn, so that its positions need not be stored.

    Attributes:
        seed: Any integer.
        name: Of the stage and the run, so that each has a sample of its own.
        count: Number of elements; all of them where there are no more.
    """

    seed: int
    name: str
    count: int

    def positions(self, shape: tuple[int, ...]) -> Positions:
        """Return flat positions in C order, ascending, without repeats.

        Where `shape` is (N, C, H, W), up to half of them lie in the first and last row and column: the
        corners first, then every border position in a random image and channel, because padding goes wrong
        there. As many as fit then visit every channel, and the rest lie anywhere.

        Args:
            shape: Channels-first shape of the activation.
        """
        size = math.prod(shape)
        if size <= self.count:
            return np.arange(size, dtype=np.int64)
        chosen = dict.fromkeys(self._special(shape)) if len(shape) == 4 else {}
        words = self._words("anywhere", size)  # no two of one stream are equal
        smallest = np.argpartition(words, self.count)[: self.count]
        chosen.update(dict.fromkeys(smallest[np.argsort(words[smallest])].tolist()))
        return np.sort(np.array(list(chosen)[: self.count], dtype=np.int64))

    def _special(self, shape: tuple[int, ...]) -> list[int]:
        images, channels, height, width = shape
        corners, others = _border(height, width)
        shuffled = np.argsort(self._words("border", len(others)), kind="stable").tolist()
        places = [*corners, *(others[k] for k in shuffled)][: self.count // 2]
        draws = iter(self._words("places", 3 * self.count).tolist())
        found = [
            self._flat(shape, (next(draws) % images, next(draws) % channels, row, column))
            for row, column in places
        ]
        for channel in range(min(channels, self.count - len(found))):
            place = (next(draws) % images, channel, next(draws) % height, next(draws) % width)
            found.append(self._flat(shape, place))
        return found

    @staticmethod
    def _flat(shape: tuple[int, ...], place: tuple[int, ...]) -> int:
        return int(np.ravel_multi_index(place, shape))

    def _words(self, purpose: str, count: int) -> NDArray[np.uint64]:
        return bits(self.seed, f"sample/{self.name}/{purpose}", count)


def _border(height: int, width: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the corners, and every other place of the first and last row and column."""
    corners = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
    rows = [(row, column) for row in (0, height - 1) for column in range(width)]
    columns = [(row, column) for column in (0, width - 1) for row in range(height)]
    others = dict.fromkeys([*rows, *columns])
    return corners, [place for place in others if place not in corners]
