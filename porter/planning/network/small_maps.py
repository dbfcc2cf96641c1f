"""What an operation on a map that is small, as its images are, is on larger maps.

A 1x1 convolution of one pixel is a dense layer, and a pool over all of a map a global one: the canonical form
calls them so, and keeps what they are elsewhere.
"""

from __future__ import annotations

from typing import Any

from porter.core.stored_network import Operation

GLOBAL_OF = {"avg_pool": "global_avg_pool", "max_pool": "global_max_pool"}
GLOBAL_POOLS = tuple(GLOBAL_OF.values())
AS_CONV = "as_conv"
"""The attribute of such a dense layer that holds the convolution's."""
AS_POOL = "as_pool"
"""The attribute of such a global pool that holds the pool's kind and attributes."""


def in_form_of(given: Operation, wanted: Operation) -> Operation:
    """Return an operation of a source with small images as it is on larger maps, if the wanted one is so."""
    if given.kind == "dense" and wanted.kind == "conv" and AS_CONV in given.attributes:
        as_conv: Any = given.attributes[AS_CONV]
        return given._replace(kind="conv", attributes=as_conv)
    if wanted.kind in GLOBAL_OF and AS_POOL in given.attributes:
        as_pool: Any = given.attributes[AS_POOL]
        return given._replace(kind=as_pool[0], attributes=as_pool[1])
    return given
