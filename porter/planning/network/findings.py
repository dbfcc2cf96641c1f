"""What a source's own network means for its port: what is adopted, and what was compared."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_LOGITS = "identity"
"""What follows a classifier that ends the network although it gives no logits."""


class NetworkFindings(NamedTuple):
    """What was found.

    Attributes:
        line: What was compared, in a few words.
        epsilons: The epsilon that the source states, by the checkpoint key of each variance.
        origin: Where the source says so.
        classifier_activation: What follows the classifier: ``"softmax"``, ``"sigmoid"``, ...; None for
            nothing, or where nothing tells.
        notes: What the person should know.
        is_compared: Whether every layer was held against the table's.
    """

    line: str
    epsilons: Mapping[str, float] = MappingProxyType({})
    origin: str = ""
    classifier_activation: str | None = None
    notes: tuple[str, ...] = ()
    is_compared: bool = False


NO_NETWORK = NetworkFindings("the source stores no network: epsilon and activations are the table's")


def unread(what: str) -> NetworkFindings:
    """Return what is found where the source describes its network in a way that is not understood.

    Args:
        what: Where, and which part of it: ``"the file's config: the layer pool (GlobalPool)"``.
    """
    line = f"the source's network was not compared, for this is not understood of {what}"
    return NetworkFindings(line, notes=(f"{line}; epsilon and activations are the table's",))


def ending_notes(activation: str | None) -> tuple[str, ...]:
    """Return what is to be said of what follows a classifier; softmax is what everybody takes for granted."""
    if activation in (None, "softmax"):
        return ()
    if activation == NO_LOGITS:
        return ("the network's answer is no logits: no softmax makes probabilities of it",)
    said = f"the source's classifier ends in {activation}; the ported network gives what comes before it"
    return (f"{said}, and the metadata says so",)
