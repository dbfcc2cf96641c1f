"""Tables that say themselves that they are not proved."""

from __future__ import annotations

from porter.errors import PlanError
from porter.planning.port_options import PortOptions
from porter.tables.variants import Variant

_SHOWN = 5


def refuse_draft(variant: Variant, options: PortOptions) -> None:
    """Refuse a table whose proof is not complete, unless the person wants it all the same.

    Raises:
        PlanError: it is a draft (``plan/draft``).
    """
    if variant.is_draft and not options.draft:
        assert variant.proof is not None  # noqa: S101 (that is what makes it a draft)
        raise PlanError(
            "plan/draft",
            f"the table of {variant.name} is a draft: that both sides compute the same is not proved",
            file=variant.table,
            hint="--draft ports with it all the same.",
            details=list(variant.proof.open[:_SHOWN]),
        )
