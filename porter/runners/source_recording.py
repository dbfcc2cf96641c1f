"""What TensorFlow's side of a match recorded: operations, their outputs, weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from porter.core.checkpoint import Array
from porter.runners.graph_operations import UNARY, SourceOperation

KERNELS = ("conv", "depthwise_conv", "transposed_conv", "dense", "einsum")


class Reading(NamedTuple):
    """One way in which PyTorch's layer may take what a layer of the source takes.

    Attributes:
        number: The operation whose output it is.
        way: ``"plain"``; ``"padded"``: before the padding; ``"flat"``: before a Flatten, whose order of
            elements differs; ``"biasless"``: without the bias that was added last.
    """

    number: int
    way: str


class SourceRecording:
    """A recorded source.

    Args:
        folder: Where `porter.runners.match_source` wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document: Mapping[str, Any] = json.loads((folder / "source.json").read_text(encoding="utf-8"))
        self.operations = [SourceOperation(**each) for each in self.document["operations"]]
        self.shapes = {key: tuple(shape) for key, shape in self.document["shapes"].items()}
        self.image: int = self.document["image"]
        self.preparing = frozenset(self.document["preparing"])
        self.runs: Sequence[Mapping[str, Any]] = self.document["runs"]

    @cached_property
    def consumers(self) -> Mapping[int, list[int]]:
        """Which operations take the output of each."""
        found: dict[int, list[int]] = {number: [] for number in range(len(self.operations))}
        for number, operation in enumerate(self.operations):
            for taken in () if operation.merged else operation.inputs:
                found[taken].append(number)
        return found

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The operations that have variables and do not merely prepare images."""
        return tuple(
            number
            for number, operation in enumerate(self.operations)
            if operation.variables and not set(operation.variables.values()) <= self.preparing
        )

    def readings(self, number: int) -> Iterator[Reading]:
        """Yield the ways in which PyTorch may take what layer `number` takes."""
        taken = self.operations[number].inputs[0]
        yield Reading(taken, "plain")
        before = self.operations[taken]
        if before.kind == "pad":
            yield Reading(before.inputs[0], "padded")
        if before.kind in ("flatten", "reshape"):
            yield Reading(before.inputs[0], "flat")
        while before.kind in ("pad", "reshape", "flatten"):
            taken = before.inputs[0]
            before = self.operations[taken]
        if before.kind in KERNELS and "bias" in before.variables and not before.beside:
            yield Reading(taken, "biasless")

    def behind(self, number: int, most: int = 3) -> Iterator[int]:
        """Yield an operation and the activations that follow it one by one."""
        yield number
        for _ in range(most):
            following = [n for n in self.consumers[number] if self.operations[n].kind in UNARY]
            if not following:
                return
            number = following[0]
            yield number

    def weights(self, name: str) -> Mapping[str, Array]:
        """Return the values of every variable by key, float64."""
        number = list(self.document["weights"]).index(name)
        with np.load(self.folder / f"weights{number}.npz") as stored:
            return {key.replace("\\", "/"): stored[key].astype(np.float64) for key in stored.files}

    def outputs(self, run: Mapping[str, Any]) -> RunOutputs:
        """Return what a run recorded."""
        return RunOutputs(self.folder / run["file"])


class RunOutputs:
    """Outputs of operations by number, each read when it is first asked for."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with np.load(file) as stored:
            self._names = frozenset(stored.files)
        self._known: dict[str, Array] = {}

    def __contains__(self, number: int) -> bool:
        """Whether the operation's output was recorded."""
        return str(number) in self._names

    def __getitem__(self, number: int) -> Array:
        """Return the output of an operation; nothing, (0,), where it was not recorded."""
        return self._read(str(number)) if number in self else np.empty(0)

    @property
    def images(self) -> Array:
        """What the source was given, (N, H, W, C)."""
        return self._read("images")

    def _read(self, name: str) -> Array:
        if name not in self._known:
            with np.load(self._file) as stored:  # not kept open: whoever holds this may live on
                self._known[name] = stored[name]
        return self._known[name]
