"""Variables that no rule takes: why a port is refused, and which rule may have been meant."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from porter.core.checkpoint import Checkpoint
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.errors import PlanError
from porter.planning.custom_head import OWN_HEAD, backbone_alone, is_foreign_head
from porter.planning.ledger import Bucket, LedgerLine
from porter.planning.recognition import Recognised

_SHOWN = 5
_ZEROS = "a bias of zeros, which a converter writes where a layer has none"
_CLOSE_NAME = 0.8  # below that two names of layers have little but their numbers' places in common
_REFUSED = "Save the model without them, or write a table that takes them (--table FILE)."


def biases_of_zeros(checkpoint: Checkpoint, taken: Container[str]) -> dict[str, str]:
    """Return, by key, why biases are no part of the network that a converter gave to layers without one.

    Args:
        checkpoint: The source.
        taken: Keys of the variables that the port takes.
    """
    network = checkpoint.stored_network
    if network is None or not isinstance(checkpoint, FoldedCheckpoint):
        return {}
    layers = [each.variables for each in network.operations if each.variables.get("kernel") in taken]
    biases = dict.fromkeys(layer["bias"] for layer in layers if "bias" in layer)
    return {key: _ZEROS for key in biases if key not in taken and not np.any(checkpoint.read(key))}


def refuse_leftovers(checkpoint: Checkpoint, match: Recognised, ledger: tuple[LedgerLine, ...]) -> None:
    """Refuse a port that would lose a variable.

    Raises:
        PlanError: the ledger has lines that are refused (``plan/left-over``); the message lists them. If the
            backbone in front of a head is another network, its layers (``plan/other-network``).
    """
    refused = [line for line in ledger if line.bucket is Bucket.REFUSED]
    if not refused:
        return
    from porter.planning.surroundings import hint_for_surroundings  # noqa: PLC0415  (of refusals alone)

    is_head = is_foreign_head(match, refused)
    if is_head:
        _refuse_other_backbone(checkpoint, match)
    # A custom head is no misspelt rule: the table's own head is another layer.
    is_known = is_head or match.cut is not None
    unmatched = [] if is_known else [e.source for e in match.variant.entries if e.part not in match.nodes]
    lines = [
        f"{line.path} {checkpoint.specs[line.key].shape}: {line.reason}{_did_you_mean(line.path, unmatched)}"
        for line in refused[:_SHOWN]
    ]
    more = [f"and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else []
    raise PlanError(
        "plan/left-over",
        f"{match.variant.name}{_place(match)} fits, but {len(refused)} variable(s) would be left behind",
        file=checkpoint.path,
        hint=hint_for_surroundings(checkpoint, match) if is_head else _REFUSED,
        details=lines + more,
    )


def _refuse_other_backbone(checkpoint: Checkpoint, match: Recognised) -> None:
    """Refuse a backbone that --backbone-only would refuse too: what it says is nearer to the cause."""
    if checkpoint.stored_network is None or match.cut is not None:
        return
    from porter.planning.network.compare_network import compare_network  # noqa: PLC0415  (of refusals alone)

    compare_network(checkpoint, checkpoint.stored_network, backbone_alone(match))


def refuse_tail(checkpoint: Checkpoint, match: Recognised) -> None:
    """Refuse a network that ends early where something without variables follows that the port would lose.

    Raises:
        PlanError: ``plan/cut-tail``.
    """
    if match.ending is not None and match.ending.tail and OWN_HEAD not in match.nodes:
        raise PlanError(
            "plan/cut-tail",
            f"{match.variant.name}{_place(match)} fits, but the source goes on with {match.ending.tail}, "
            "which timm's modules have no output for",
            file=checkpoint.path,
            hint="--backbone-only ports what is in front of it.",
        )


def _place(match: Recognised) -> str:
    return "" if match.cut is None else f", cut {match.cut.words},"


def _did_you_mean(path: str, names: list[str]) -> str:
    """Name the variable of a missing part that a left-over one may be: the same leaf under another name."""
    leaf = path.rpartition("/")[2]
    others = [name for name in names if name != path and name.rpartition("/")[2] == leaf]
    import difflib  # noqa: PLC0415  (only on the way to an error)

    near = difflib.get_close_matches(path, others, n=1, cutoff=_CLOSE_NAME)
    return f"; did you mean {near[0]}?" if near else ""
