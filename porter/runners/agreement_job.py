"""What the two frameworks of an agreement are told, and what goes from TensorFlow to PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.numpy import load, save

from porter.core.checkpoint import Array
from porter.loading.ported_file import Ported
from porter.tables.table_records import InputSpec


@dataclass(frozen=True, slots=True)
class AgreementJob:
    """The two networks.

    Attributes:
        source: The TensorFlow source.
        ported: The ported file.
        table: The mapping table's file.
        variant: Full name of the network.
        threads: Threads that a framework may use.
        gpu: Whether a framework may use its graphics card.
        trust_table: Whether functions that the table, or `ported`, names may be run.
        labels: File with the names of the classes, or ""; for predictions.
    """

    source: str
    ported: str
    table: str
    variant: str
    threads: int = 1
    gpu: bool = False
    trust_table: bool = False
    labels: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the job as JSON-ready data."""
        return asdict(self)


class SourceFacts(NamedTuple):
    """What TensorFlow says of its side.

    Attributes:
        network: What network runs, in words.
        preparation: How it prepares images, in words.
        size: Height and width of its images.
        classes: How many classes it answers with, as the port counts.
        order: Order of its colours, ``"rgb"`` or ``"bgr"``.
        notes: What a reader should know of it.
    """

    network: str
    preparation: str
    size: int
    classes: int
    order: str
    notes: Sequence[str]


class PortFacts(NamedTuple):
    """What PyTorch says of its side.

    Attributes:
        network: What network runs, in words.
        preparation: How it prepares images, in words.
        classes: How many classes it answers with.
        activation: What makes probabilities of its logits.
        names: Names of ImageNet's classes, if they are the network's.
        codes: WordNet's codes of these.
    """

    network: str
    preparation: str
    classes: int
    activation: str
    names: Sequence[str]
    codes: Sequence[str]


class Exchange(NamedTuple):
    """What TensorFlow made of the images of a part; of those that it could use, in order.

    Attributes:
        faults: Of every image: why TensorFlow could not use it, or "".
        prepared: What its network was given, (N, S, S, 3) float32.
        resized: What the port's preparation makes of TensorFlow's decoded images, (N, P, P, 3) float32.
        logits: (N, K) float32.
    """

    faults: tuple[str, ...]
    prepared: Array
    resized: Array
    logits: Array

    def to_bytes(self) -> bytes:
        """Return it as safetensors."""
        arrays = {name: value for name, value in self._asdict().items() if name != "faults"}
        return save(arrays, {"faults": json.dumps(self.faults)})

    @classmethod
    def from_bytes(cls, stored: bytes) -> Exchange:
        """Read what `to_bytes` wrote."""
        length = int.from_bytes(stored[:8], "little")
        header = json.loads(stored[8 : 8 + length])
        return cls(faults=tuple(json.loads(header["__metadata__"]["faults"])), **load(stored))


def port_spec(ported: Ported) -> InputSpec:
    """Return how a ported file says that its images are prepared."""
    spec = ported.input
    return InputSpec(
        size=int(spec["size"]),
        square=True,
        mean=tuple(spec["mean"]),
        std=tuple(spec["std"]),
        crop_pct=float(spec["crop_pct"]),
        interpolation=str(spec["interpolation"]),
        channel_order=spec.get("channel_order", "rgb"),
    )


def job_from_json(described: Mapping[str, Any]) -> AgreementJob:
    """Read what `AgreementJob.to_json` wrote."""
    return AgreementJob(**described)


def in_words(spec: InputSpec) -> str:
    """Return crop, size, interpolation and colours of a preparation in words."""
    crop = "whole centre square" if spec.crop_pct == 1 else f"centre square of {spec.crop_pct:g}"
    mean, std = ("/".join(f"{value:.4g}" for value in values) for values in (spec.mean, spec.std))
    size, order = f"{spec.size}x{spec.size} {spec.interpolation}", spec.channel_order.upper()
    return f"{crop}, {size}, mean {mean}, std {std}, {order}"


def exchange_path(folder: Path, part: int) -> Path:
    """Return where TensorFlow leaves what it made of a part."""
    return folder / f"{part:08}.exchange"
