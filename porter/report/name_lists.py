"""Many names in little room, and still every one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

# A single digit that ends a word of a name: the 0 of ``efficientnet_b0_swish_se``.
_NUMBERED = re.compile(r"(.*_[a-z]*)(\d)((?:_.*)?)")
# Fewer than this are no run: ``b{0..1}`` is longer than both names' endings.
_SHORTEST_RUN = 3


def collapsed(names: Sequence[str]) -> list[str]:
    """Return `names` with what they share written once, as a shell's braces do.

    ``a_b0, a_b1, a_b2, a_s, c_x`` becomes ``a_{b{0..2}, s}, c_x``.

    Args:
        names: Words joined by ``_``; names that begin with the same word stand together.
    """
    families = groupby(_runs(names), key=lambda name: name.partition("_")[0])
    return [_braced(list(family)) for _, family in families]


def _runs(names: Sequence[str]) -> Iterator[str]:
    """Yield consecutive numbers at the same place of a name as one, where the first of them stood."""
    places: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name)
        places.setdefault((match[1], match[3]) if match else (name,), []).append(match[2] if match else "")
    for place, digits in places.items():
        first, last = digits[0], digits[-1]
        if len(place) == 1:
            yield place[0]
        elif len(digits) >= _SHORTEST_RUN and digits == [str(n) for n in range(int(first), int(last) + 1)]:
            yield f"{place[0]}{{{first}..{last}}}{place[1]}"
        else:
            yield from (digit.join(place) for digit in digits)


def _braced(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    shared = os.path.commonprefix(names).rpartition("_")[0] + "_"  # noqa: RUF071 (names, not paths)
    return f"{shared}{{{', '.join(name.removeprefix(shared) for name in names)}}}"
