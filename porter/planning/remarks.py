"""What a person should know of a network that was recognised before trusting its port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from porter.core.checkpoint import Checkpoint
from porter.planning.epsilon import Epsilon
from porter.planning.filled_norms import told
from porter.planning.ledger import Bucket, LedgerLine
from porter.planning.network.findings import NetworkFindings
from porter.planning.recognition import Recognised


def remarks(
    checkpoint: Checkpoint,
    match: Recognised,
    epsilon: Epsilon,
    network: NetworkFindings,
    ledger: Sequence[LedgerLine],
) -> Iterator[str]:
    """Yield a sentence each.

    Args:
        checkpoint: The source.
        match: The network.
        epsilon: Of its norms.
        network: What the source says of its network.
        ledger: What becomes of every variable.
    """
    yield from checkpoint.remarks
    yield from epsilon.notes
    yield from network.notes
    yield from match.notes
    yield from told(match)
    yield from _behind_cut(match, ledger)
    if match.variant.note:
        yield match.variant.note
    yield from _uncertain(match, network)
    yield from _twins(match)
    for name in checkpoint.assumed_order:
        yield (
            f"the layers inside {name} are taken in the file's order, which is the model's only if none or "
            "all of them were frozen; nothing in the file tells"
        )


def _behind_cut(match: Recognised, ledger: Sequence[LedgerLine]) -> Iterator[str]:
    """Say how much lies behind the end of the network: a decoder, or layers changed in its middle."""
    left = sum(line.bucket is Bucket.LEFT_OUT for line in ledger)
    if match.cut is not None and left:
        place = match.cut.words.partition(" (")[0]
        yield (
            f"the port ends {place}: what the source does from there on, "
            f"with {left} variables, is left behind"
        )


def _uncertain(match: Recognised, network: NetworkFindings) -> Iterator[str]:
    """Say what nothing tells of a part, unless the source stores its network."""
    for part in match.variant.parts:
        if part.uncertain and part.name in match.nodes and not network.is_compared:
            yield part.uncertain


def _twins(match: Recognised) -> Iterator[str]:
    """Name the networks that nothing in a checkpoint tells from this one."""
    name, own = match.variant.name, match.variant.twin
    for variant in match.twins:
        if own is not None and own.of == variant.name:
            said = f"taken for {name}, which {own.differs}, but the names and shapes fit {variant.name} alike"
        else:
            assert variant.twin is not None  # noqa: S101 (that is what makes it a twin)
            said = (
                f"taken for {name}, but the names and shapes fit {variant.name} alike, which "
                f"{variant.twin.differs}"
            )
        yield f"{said}: pass --variant {variant.name} if that was trained"
