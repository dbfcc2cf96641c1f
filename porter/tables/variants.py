"""Mapping tables as the rest of porter sees them: variants with entries, stages and arguments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from porter.core.layouts import Layout
from porter.core.named_function import is_function_name
from porter.tables.table_records import (
    BatchNormEpsilon,
    Constant,
    Dim,
    FreeLength,
    InputSpec,
    Preset,
    Proof,
)

FILE_BUILDER = "file"
"""The builder of a table whose TensorFlow network is the one that the source carries."""
STAND_IN_BUILDER = "stand_in.variant"
"""The builder of a table whose TensorFlow network is that of another variant."""


class Entry(NamedTuple):
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
        is_variance: True if a negative value is a fault.
        block: Where in the table the rule stands, e.g. ``"blocks.2.1: uib._expand_norm"``.
        role: What Keras calls the variable, e.g. ``"kernel"``; "" for a bare tensor.
        join: True if the target is made of several variables, along its first axis in the table's order;
            `target_shape` is then the shape of this one's share.
        folded: True if the variable is subtracted from the target that another entry makes.
        scale: The values are multiplied by it.
        gain: Gain of random values, or None for the usual.
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
    role: str
    join: bool
    folded: bool
    scale: float
    gain: float | None

    @property
    def extras(self) -> tuple[tuple[str, object], ...]:
        """What only some entries have, for the digest: an entry without them keeps the digest it had."""
        usual = (("join", False), ("folded", False), ("scale", 1.0), ("gain", None))
        return tuple((name, getattr(self, name)) for name, value in usual if getattr(self, name) != value)


class Stage(NamedTuple):
    """A named point where both networks can be compared.

    Attributes:
        name: ``"stem"``, ``"blocks.1.0"``, ``"head"``, ``"logits"``.
        source: Object path, below the classification model, of the TensorFlow layer whose output it is.
        target: PyTorch modules run in order from the previous stage; the activation is the last one's output.
        block: Where in the table the stage stands.
        is_layer: Whether it ends with the layer that holds its weights, before an activation that follows.
        is_pooled: Whether a pool that follows its weights is a part of it.
    """

    name: str
    source: str
    target: tuple[str, ...]
    block: str
    is_layer: bool = False
    is_pooled: bool = False


class ModelPart(NamedTuple):
    """A part of a classification model that a checkpoint may hold by itself.

    Attributes:
        name: ``"backbone"`` or ``"head"``.
        path: Object path below the classification model.
        absent: Target arguments for a checkpoint without this part; None if it must be there.
        without: Modules that pass their input on where this part is absent. Such a part belongs to the
            backbone, not to the classifier.
        uncertain: What a person should know of this part if the source stores no network, or "".
    """

    name: str
    path: str
    absent: Mapping[str, object] | None
    without: tuple[str, ...] = ()
    uncertain: str = ""


class Network(NamedTuple):
    """One side of a pair: a builder or library by name, never code, and its arguments."""

    name: str
    arguments: Mapping[str, object]


class Twin(NamedTuple):
    """Why a network is not taken for granted: another one has the same variables with the same shapes.

    Attributes:
        of: The variant that a checkpoint is taken to be if nobody says which.
        differs: How this one differs from it, in words: ``"has swish inside squeeze-and-excitation"``.
        layer: Part of the name of a layer that only `of` has, if the names of layers that a source stores
            tell the two apart; "" if they don't.
        beside: Part of the name of a layer that both have: a source without it stores no such names.
    """

    of: str
    differs: str
    layer: str = ""
    beside: str = ""


@dataclass(frozen=True, repr=False)
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
        bn_eps: The batch normalisation epsilon, or None if the network has none.
        input: The images it expects.
        float64_activation: Name of the activation that reproduces TensorFlow's in float64, or None.
        entries: Every source variable and its target tensor.
        counters: Targets that are int64 scalars without a counterpart in TensorFlow; written as 0.
        stages: Points of comparison in forward order.
        network: How to build the PyTorch network, or None if its library has an entry point for it.
        note: What a person should know of the proof, or "".
        classifier_activation: What the source has behind the classifier, e.g. ``"sigmoid"``, if that is not
            softmax: for a checkpoint that stores no network.
        presets: Other ways in which the network's weights take images, by the name that a person gives.
        left_out: (object path below the first part, reason) of what is not ported on purpose.
        twin: What is meant unless a person asks for this one, for it has equal names and shapes; or None.
        library: Where the PyTorch network comes from: ``"timm"``, ``"torchvision"``, ``"transformers"`` or
            ``"torch"`` (the target is then called ``"package.module:function"``).
        adjust: What is changed in the finished PyTorch network: ``same_padding``, ``eps``,
            ``average_without_padding``.
        constants: Parameters of PyTorch's that TensorFlow's layers do without.
        proof: How the table was proved, if it says so.
    """

    name: str
    table: Path
    title: str
    version: int
    source: Network
    target: Network
    parts: tuple[ModelPart, ...]
    free: Mapping[str, FreeLength]
    bn_eps: BatchNormEpsilon | None
    input: InputSpec
    float64_activation: str | None
    entries: tuple[Entry, ...]
    counters: tuple[tuple[str, str], ...]
    stages: tuple[Stage, ...]
    network: Mapping[str, object] | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    note: str = ""
    classifier_activation: str | None = None
    presets: Mapping[str, Preset] = field(default_factory=dict)
    twin: Twin | None = None
    library: str = "timm"
    adjust: Mapping[str, object] = field(default_factory=dict)
    constants: tuple[Constant, ...] = ()
    proof: Proof | None = None

    def __repr__(self) -> str:
        """Say in a few lines which network this is on both sides, and how much of it a check compares."""
        sides = ((network.name, network.arguments.items()) for network in (self.source, self.target))
        calls = (f"{name}({', '.join(f'{k}={v!r}' for k, v in found)})" for name, found in sides)
        return (
            f"Variant {self.name}: {self.title}\n  {' -> '.join(calls)}\n"
            f"  {len(self.entries)} variables, {len(self.stages)} stages, version {self.version}"
        )

    def full_source(self, entry: Entry) -> str:
        """Return the entry's object path below the classification model."""
        return "/".join(filter(None, (self.part(entry.part).path, entry.source)))

    def part(self, name: str) -> ModelPart:
        """Return the part called `name`."""
        return next(part for part in self.parts if part.name == name)

    @property
    def channels(self) -> int:
        """How many channels its images have, unless a checkpoint decides that."""
        free = self.free.get("channels")
        return free.default if free else len(self.input.mean)

    @property
    def has_builder(self) -> bool:
        """Whether porter itself has a builder of the TensorFlow network."""
        return self.source.name != FILE_BUILDER and not is_function_name(self.source.name)

    @property
    def has_stand_in(self) -> bool:
        """Whether another variant's TensorFlow network is built and recorded in place of this one's."""
        return self.source.name == STAND_IN_BUILDER

    @property
    def is_draft(self) -> bool:
        """Whether the table says that it is not proved."""
        return self.proof is not None and self.proof.status == "draft"

    @property
    def is_own(self) -> bool:
        """Whether the PyTorch network is one of porter's own: its library has no entry point for it."""
        return self.network is not None

    @property
    def backbone_parts(self) -> tuple[ModelPart, ...]:
        """Every part that is no classifier: the first, and what a backbone may lack."""
        return (self.parts[0], *(part for part in self.parts[1:] if part.without))

    @cached_property
    def digest(self) -> str:
        """A sha256 over everything in the expanded table that changes what a port or a check computes."""
        described: tuple[object, ...] = (
            self.name,
            self.source.name,
            sorted(self.source.arguments.items()),
            self.target.name,
            sorted(self.target.arguments.items()),
            self.bn_eps.default if self.bn_eps else None,
            self.float64_activation,
            [
                (self.full_source(e), e.source_shape, e.layout.pattern, e.target, e.bn_eps, *e.extras)
                for e in self.entries
            ],
            [(s.name, s.source, s.target) for s in self.stages],
        )
        if self.network is not None:
            described = (*described, json.dumps(self.network, sort_keys=True))
        if self.library != "timm" or self.adjust or self.constants:
            adjusted = json.dumps(self.adjust, sort_keys=True)
            layers = [stage.name for stage in self.stages if stage.is_layer]
            described = (*described, self.library, adjusted, self.constants, layers)
        return hashlib.sha256(repr(described).encode()).hexdigest()
