"""Mapping tables as the rest of porter sees them: variants with entries, stages and arguments."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from porter.errors import TableError
from porter.layouts import Layout

Dim = int | str


@dataclass(frozen=True, slots=True)
class Entry:
    """One source variable and the target tensor it becomes.

    Attributes:
        part: The part of the network it belongs to, e.g. ``"backbone"``.
        source: Object path below the part, e.g. ``"layer_with_weights-7/_expand_norm/gamma"``.
        source_shape: TensorFlow's shape; a name stands for a length that the checkpoint decides.
        layout: Axis order from source to target.
        target: Name in the PyTorch state dict.
        target_shape: PyTorch's shape, with the same names.
        kind: The kind of layer it came from.
        bn_eps: The epsilon that TensorFlow uses here whatever the network's is, or None.
        is_variance: True where a negative value is a fault.
        block: Where in the table the rule stands, e.g. ``"blocks.2.1: uib._expand_norm"``.
    """

    part: str
    source: str
    source_shape: tuple[Dim, ...]
    layout: Layout
    target: str
    target_shape: tuple[Dim, ...]
    kind: str
    bn_eps: float | None
    is_variance: bool
    block: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A named point where both networks can be compared.

    Attributes:
        name: ``"stem"``, ``"blocks.1.0"``, ``"head"``, ``"logits"``.
        source: Object path, below the classification model, of the TensorFlow layer whose output it is.
        target: PyTorch modules run in order from the previous stage; the activation is the last one's output.
        block: Where in the table the stage stands.
    """

    name: str
    source: str
    target: tuple[str, ...]
    block: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a classification model that a checkpoint may hold by itself.

    Attributes:
        name: ``"backbone"`` or ``"head"``.
        path: Object path below the classification model.
        absent: Target arguments for a checkpoint without this part; None where it must be there.
    """

    name: str
    path: str
    absent: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class FreeLength:
    """A length that the checkpoint decides, and the target argument that takes it."""

    name: str
    argument: str
    default: int


@dataclass(frozen=True, slots=True)
class BatchNormEpsilon:
    """What batch normalisation adds to the variance; no checkpoint stores it.

    Attributes:
        argument: Target argument that takes it.
        default: Used unless the person says otherwise.
        source: Where the default comes from.
        note: What a person should know before trusting the default, or "".
    """

    argument: str
    default: float
    source: str
    note: str


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The pictures that the network was trained on, as the source's own code prepares them.

    Attributes:
        size: Height and width in pixels of the training configuration.
        square: True where TensorFlow's network takes square inputs only.
        mean: Per-channel mean of pixels in 0..1, RGB.
        std: Per-channel standard deviation, likewise.
        crop_pct: Side of the centre crop over the shorter side of the picture.
        interpolation: How the crop is resized.
        check_sizes: Sizes of the parity check: even, odd and mixed, because SAME padding is symmetric
            at odd sizes and a fault there is invisible.
    """

    size: int
    square: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    check_sizes: tuple[int, ...] = (224, 225, 200)


@dataclass(frozen=True, slots=True)
class Network:
    """One side of a pair: a builder or library by name, never code, and its arguments."""

    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True)
class Variant:
    """One network: how its variables map, how both sides are built, and where they are compared.

    Attributes:
        name: timm's name, e.g. ``"mobilenetv4_hybrid_medium"``.
        table: The file it was read from.
        title: The family in words.
        version: The table's version number.
        source: TensorFlow builder and its arguments.
        target: timm model and its arguments, without those that the checkpoint decides.
        parts: Parts of the classification model, in order.
        free: Lengths that the checkpoint decides, by name.
        bn_eps: The batch normalisation epsilon, or None where the network has none.
        input: The pictures it expects.
        float64_activation: Name of the activation that reproduces TensorFlow's in float64, or None.
        entries: Every source variable and its target tensor.
        counters: Targets that are int64 scalars without a counterpart in TensorFlow; written as 0.
        stages: Points of comparison in forward order.
    """

    name: str
    table: Path
    title: str
    version: int
    source: Network
    target: Network
    parts: tuple[Part, ...]
    free: Mapping[str, FreeLength]
    bn_eps: BatchNormEpsilon | None
    input: InputSpec
    float64_activation: str | None
    entries: tuple[Entry, ...]
    counters: tuple[tuple[str, str], ...]
    stages: tuple[Stage, ...]

    def full_source(self, entry: Entry) -> str:
        """Return the entry's object path below the classification model."""
        return "/".join(filter(None, (self.part(entry.part).path, entry.source)))

    def part(self, name: str) -> Part:
        """Return the part called `name`."""
        return next(part for part in self.parts if part.name == name)

    @cached_property
    def digest(self) -> str:
        """A sha256 over everything in the expanded table that changes what a port or a check computes."""
        text = repr(
            (
                self.name,
                self.source.name,
                sorted(self.source.arguments.items()),
                self.target.name,
                sorted(self.target.arguments.items()),
                self.bn_eps.default if self.bn_eps else None,
                self.float64_activation,
                [
                    (self.full_source(e), e.source_shape, e.layout.pattern, e.target, e.bn_eps)
                    for e in self.entries
                ],
                [(s.name, s.source, s.target) for s in self.stages],
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Tables:
    """Every variant that is known, by name."""

    variants: Mapping[str, Variant] = field(default_factory=dict)

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
        near = difflib.get_close_matches(name, self.variants, n=3, cutoff=0.3) or sorted(self.variants)
        raise TableError(
            "table/unknown-variant", f"no variant is called {name!r}", hint=f"Did you mean {', '.join(near)}?"
        )
