"""The networks that porter knows, by name, and what tells at a glance that a checkpoint holds none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from porter.errors import TableError
from porter.tables.table_records import Dim
from porter.tables.variants import Variant

_SHOWN = 3


class Signature(NamedTuple):
    """Enough of a variant to see at a glance that a checkpoint does not hold it.

    Attributes:
        pairs: Object path below the first part, and shape, of a few of its variables.
        leading_names: What the object paths of its variables begin with, see `leading_name`.
        first: Shapes of its first few kernels: what there is of it if it is cut.
    """

    pairs: tuple[tuple[str, tuple[Dim, ...]], ...]
    leading_names: frozenset[str]
    first: tuple[tuple[Dim, ...], ...] = ()


def leading_name(path: str) -> str:
    """Return an object path's first name up to its number: ``"block_"`` of ``"block_12/conv/kernel"``."""
    edge = path.partition("/")[0]
    return next((edge[:place] for place, character in enumerate(edge) if character.isdigit()), edge)


class Tables:
    """Every variant that is known, by name.

    Args:
        variants: Each variant by its name; one that is expanded when it is asked for will do.
        signatures: What a checkpoint must have to hold a variant, by name, as far as that is known.

    Attributes:
        variants: As given.
        signatures: As given.
    """

    def __init__(
        self, variants: Mapping[str, Variant] | None = None, signatures: Mapping[str, Signature] | None = None
    ) -> None:
        self.variants: Mapping[str, Variant] = variants or {}
        self.signatures: Mapping[str, Signature] = signatures or {}

    def __repr__(self) -> str:
        """Say how many networks are known, and the first of them; none is expanded for it."""
        first = ", ".join([*self.variants][:_SHOWN])
        return f"Tables of {len(self.variants)} networks ({first}{', ...' * (len(self.variants) > _SHOWN)})"

    def variant(self, name: str) -> Variant:
        """Return a variant by its full name, or by an ending of it that is unique.

        Raises:
            TableError: no variant, or more than one, is called that.
        """
        if name in self.variants:
            return self.variants[name]
        matches = [full for full in self.variants if full.endswith("_" + name)]
        if len(matches) == 1:
            return self.variants[matches[0]]
        if matches:
            raise TableError("table/ambiguous-variant", f"{name!r} fits {', '.join(matches)}")
        import difflib  # noqa: PLC0415  (only on the way to an error)

        near = difflib.get_close_matches(name, self.variants, n=3, cutoff=0.5)
        near = near or [full for full in self.variants if name and name in full][:3]
        raise TableError(
            "table/unknown-variant",
            f"no variant is called {name!r}",
            hint=f"Did you mean {', '.join(near)}?" if near else "porter variants lists them.",
        )
