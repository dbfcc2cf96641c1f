"""Layout changes as patterns, ``"h w i o -> o i h w"``: parsed once, invertible, applied to arrays."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

from porter.core.checkpoint import Array
from porter.errors import TableError

_SIDE = re.compile(r"\s*(?:\(([a-z0-9: ]+)\)|([a-z]+|1))\s*")
_LENGTH = re.compile(r"([a-z]+):(\d{1,9})")


class Layout(NamedTuple):
    """A bijection between two axis orders.

    Axes are single names. A group in parentheses merges axes in row-major order; ``1`` is an axis of
    length one. Every name appears once on each side, so the inverse is the same pattern read backwards.
    ``(h:4 w:4 c)`` on the left splits an axis: all but one of its parts then have a length.

    Attributes:
        pattern: The notation, e.g. ``"h w c m -> (c m) 1 h w"``.
        source: Axis groups of the left side, each a tuple of names (empty tuple for ``1``).
        target: The same for the right side.
        lengths: (axis, length) of those that the pattern gives a length.
    """

    pattern: str
    source: tuple[tuple[str, ...], ...]
    target: tuple[tuple[str, ...], ...]
    lengths: tuple[tuple[str, int], ...] = ()

    @property
    def splits(self) -> bool:
        """Whether an axis of the source becomes several."""
        return any(len(group) > 1 for group in self.source)

    @property
    def inverse(self) -> Layout:
        """The layout that undoes this one."""
        left, right = self.pattern.split("->")
        return parse_layout(f"{right.strip()} -> {left.strip()}")

    def then(self, following: Layout) -> Layout:
        """Return the layout that does this one and then `following`.

        Raises:
            TableError: `following` merges axes of its source, or starts from another number of axes.
        """
        if len(following.source) != len(self.target) or any(len(group) > 1 for group in following.source):
            raise TableError("layout/rank", f"{following.pattern!r} cannot follow {self.pattern!r}")
        moved = {group[0]: mine for group, mine in zip(following.source, self.target, strict=True) if group}
        groups = [[axis for name in group for axis in moved[name]] for group in following.target]
        right = " ".join(f"({' '.join(g)})" if len(g) > 1 else (g or ["1"])[0] for g in groups)
        return parse_layout(f"{self.pattern.split('->')[0].strip()} -> {right}")

    def target_shape(self, shape: tuple[int, ...], **lengths: int) -> tuple[int, ...]:
        """Return the shape that `apply` gives for an input of `shape`.

        Args:
            shape: Shape on the left side.
            **lengths: Lengths of axes that a merged group on the left leaves open.

        Raises:
            TableError: `shape` does not fit the left side.
        """
        sizes = self._sizes(shape, lengths)
        return tuple(math.prod(sizes[a] for a in group) for group in self.target)

    def apply(self, array: Array, **lengths: int) -> Array:
        """Return `array` rearranged; a view if numpy can give one.

        Args:
            array: Any dtype, shape as on the left side.
            **lengths: Lengths of axes that a merged group on the left leaves open.

        Raises:
            TableError: the array's shape does not fit the left side.
        """
        sizes = self._sizes(array.shape, lengths)
        flat_source = [a for group in self.source for a in group]
        flat_target = [a for group in self.target for a in group]
        split = array.reshape([sizes[a] for a in flat_source])
        moved = split.transpose([flat_source.index(a) for a in flat_target])
        return moved.reshape([math.prod(sizes[a] for a in group) for group in self.target])

    def _sizes(self, shape: tuple[int, ...], lengths: dict[str, int]) -> dict[str, int]:
        if len(shape) != len(self.source):
            raise TableError(
                "layout/rank",
                f"layout {self.pattern!r}",
                expected=f"{len(self.source)} axes",
                found=f"shape {shape}",
            )
        sizes = dict(self.lengths) | lengths
        for length, group in zip(shape, self.source, strict=True):
            known = math.prod(sizes[a] for a in group if a in sizes)
            unknown = [a for a in group if a not in sizes]
            if len(unknown) == 1 and known and length % known == 0:
                sizes[unknown[0]] = length // known
            elif unknown or known != length:
                raise TableError(
                    "layout/shape", f"layout {self.pattern!r} cannot split an axis of {length}", found=shape
                )
        return sizes


@lru_cache(maxsize=256)
def parse_layout(pattern: str) -> Layout:
    """Parse ``"left -> right"``.

    Raises:
        TableError: the notation is malformed, or the sides do not hold the same axes once each.
    """
    sides = pattern.split("->")
    if len(sides) != 2:
        raise TableError("layout/syntax", f"layout {pattern!r} needs exactly one '->'")
    source, target = (_parse_side(side, pattern) for side in sides)
    left, right = ([a for group in side for a in group] for side in (source, target))
    known = tuple((axis, int(length)) for axis, length in _LENGTH.findall(pattern))
    if sorted(left) != sorted(right) or len(set(left)) != len(left):
        raise TableError("layout/axes", f"layout {pattern!r} must hold the same axes once on each side")
    return Layout(" ".join(pattern.split()), source, target, known)


def _parse_side(side: str, pattern: str) -> tuple[tuple[str, ...], ...]:
    groups: list[tuple[str, ...]] = []
    position = 0
    side = side.strip()
    while position < len(side):
        match = _SIDE.match(side, position)
        if match is None:
            raise TableError("layout/syntax", f"layout {pattern!r} is malformed at {side[position:]!r}")
        merged, single = match.groups()
        names = [_LENGTH.sub(r"\1", name) for name in merged.split()] if merged else [single]
        if not all(name.isalpha() or name == "1" for name in names):
            raise TableError("layout/syntax", f"layout {pattern!r} is malformed at {side[position:]!r}")
        groups.append(tuple(name for name in names if name != "1"))
        position = match.end()
    return tuple(groups)
