"""The layers of a source that a module of PyTorch's may be, by its input, its shapes and its output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from porter.core.checkpoint import Array
from porter.runners.layer_fits import (
    NORMS,
    WITH_EPSILON,
    Fit,
    fits,
    flat_layout,
    joined_fits,
    scaled_fit,
)
from porter.runners.source_recording import Reading, RunOutputs, SourceRecording
from porter.runners.target_layers import (
    EQUAL,
    adjustments,
    channels_last,
    difference,
    factor,
    flattened,
    has_channels_first,
    load,
    wants_same,
)

CALL = nn.Module.__call__
_USUAL = ("query", "key", "value")
_JOINED = (3, 2)  # query, key and value; key and value
Given = tuple[tuple[Any, ...], dict[str, Any]]


class Taken(NamedTuple):
    """What is not free: operations and variables; and what a module was taken for at an earlier call."""

    numbers: frozenset[int]
    keys: frozenset[str]
    before: int | None


@dataclass(slots=True)
class Candidate:
    """A layer of the source that a module may be.

    Attributes:
        number: The operation.
        fit: How its variables go over.
        folded: Key of a bias of the layer before that goes into the running mean, or "".
        adjusted: What had to be changed in the module, by name.
        error: How far the module's output is from the layer's, relative.
        joined: The operations after the first that the module computes at once with it.
        output: What the module gives with the layer's weights, if they agree as they are.
    """

    number: int
    fit: Fit
    folded: str = ""
    adjusted: dict[str, Any] = field(default_factory=dict)
    error: float = 0.0
    joined: tuple[int, ...] = ()
    output: Any = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The operation and those that are joined with it."""
        return (self.number, *self.joined)


class LayerFinder:
    """Finds the layers that a module may be.

    Args:
        source: The recorded source.
        outputs: What it computes with `weights`.
        weights: Values of its variables by key.
    """

    def __init__(self, source: SourceRecording, outputs: RunOutputs, weights: Mapping[str, Array]) -> None:
        self.source, self._outputs, self._weights = source, outputs, weights
        self._by_size: dict[int, list[tuple[int, Reading]]] = {}
        for number in source.layers:
            for reading in source.readings(number):
                if reading.number in outputs:
                    size = outputs[reading.number].size
                    self._by_size.setdefault(size, []).append((number, reading))

    def candidates(self, module: nn.Module, x: torch.Tensor, given: Given, taken: Taken) -> list[Candidate]:
        """Return the layers that a module may be, by its input and what it gives; the agreeing ones alone.

        Args:
            module: The module.
            x: Its input.
            given: The arguments that it is called with, and those by name.
            taken: What is not free.
        """
        found: list[Candidate] = []
        for number, reading, fit in self._fitting(module, x, taken):
            folded = self._bias_before(reading) if reading.way == "biasless" else ""
            candidate = Candidate(number, fit, folded)
            if any((each.number, each.fit, each.folded) == (number, fit, folded) for each in found):
                continue  # read in two ways that are one
            self._try(module, candidate, x, given)
            found.append(candidate)
        for candidate in () if found else self._joined(module, x, taken):
            self._try(module, candidate, x, given)
            found.append(candidate)
        for candidate in () if found else self._scaled(module, x, taken):
            self._try(module, candidate, x, given)
            if candidate.error < EQUAL:
                found.append(candidate)
        good = [candidate for candidate in found if candidate.error < EQUAL]
        return good or sorted(found, key=lambda candidate: candidate.error)[:2]

    def _fitting(
        self, module: nn.Module, x: torch.Tensor, taken: Taken
    ) -> Iterator[tuple[int, Reading, Fit]]:
        """Yield the layers that take what the module takes and whose variables fit."""
        values = channels_last(x, module)
        equal: dict[Reading, bool] = {}
        for number, reading in self._by_size.get(values.size, ()):
            operation = self.source.operations[number]
            if not self._is_free(number, taken):
                continue
            for fit in fits(module, operation, self.source.shapes):
                read = self._read_so(module, fit, reading)
                if read is None:
                    continue
                if reading not in equal:
                    equal[reading] = self.takes(values, reading)
                if equal[reading]:
                    yield number, reading, read

    def _joined(self, module: nn.Module, x: torch.Tensor, taken: Taken) -> Iterator[Candidate]:
        """Yield the layers of one input that a module may compute at once."""
        if not isinstance(module, nn.Linear):
            return
        values = channels_last(x, module)
        numbers = [
            number
            for number, reading in self._by_size.get(values.size, ())
            if reading.way == "plain" and self._is_free(number, taken) and self.takes(values, reading)
        ]
        numbers.sort(key=lambda number: _usual_place(self.source.operations[number].name))
        operations = [self.source.operations[number] for number in numbers]
        for count in _JOINED:
            for places, fit in joined_fits(module, operations, self.source.shapes, count):
                first, *others = (numbers[place] for place in places)
                yield Candidate(first, fit, joined=tuple(others))

    def _scaled(self, module: nn.Module, x: torch.Tensor, taken: Taken) -> Iterator[Candidate]:
        """Yield the layers whose input is that of the module times a number."""
        if not isinstance(module, nn.Conv2d | nn.Linear):
            return
        values = channels_last(x, module)
        for number, reading in self._by_size.get(values.size, ()):
            scale = factor(values, self._outputs[reading.number]) if reading.way == "plain" else None
            if scale is None or not self._is_free(number, taken):
                continue
            for fit in fits(module, self.source.operations[number], self.source.shapes):
                if fit.way == "plain":
                    yield Candidate(number, scaled_fit(fit, scale))

    def keys(self, number: int) -> Iterator[str]:
        """Yield the keys of an operation's variables."""
        yield from self.source.operations[number].variables.values()

    def _is_free(self, number: int, taken: Taken) -> bool:
        if number in taken.numbers:
            return False
        keys = list(self.keys(number))
        if taken.before is not None:
            return keys == list(self.keys(taken.before))
        return not taken.keys & set(keys)

    def _read_so(self, module: nn.Module, fit: Fit, reading: Reading) -> Fit | None:
        """Return the fit for a way of taking the input, None where the two do not go together."""
        if reading.way == "flat":
            return self._read_flat(module, fit, self._outputs[reading.number].shape)
        if fit.way == "flat" or (reading.way == "biasless") > isinstance(module, NORMS):
            return None
        return fit if reading.way != "padded" or isinstance(module, nn.Conv2d) else None

    def _read_flat(self, module: nn.Module, fit: Fit, base: tuple[int, ...]) -> Fit | None:
        """Return the fit for an input that the source has reshaped from `base`."""
        if len(base) != 4:
            return fit if fit.way == "plain" else None
        if fit.way == "flat":
            return fit
        if not isinstance(module, nn.Linear) or fit.kind != "dense":
            return None
        if module.in_features == base[3]:  # pixels side by side, each by itself
            return fit
        return flat_layout(fit, base) if module.in_features == math.prod(base[1:]) else None

    def takes(self, values: Array, reading: Reading) -> bool:
        """Whether values, channels last, are what a layer takes."""
        wanted = self._outputs[reading.number]
        if reading.way == "biasless":
            wanted = wanted - self._weights[self._bias_before(reading)].reshape(-1)
        if reading.way == "flat" and values.ndim == 2 and wanted.ndim == 4:
            wanted = flattened(wanted)
        return difference(values, wanted) < EQUAL

    def _bias_before(self, reading: Reading) -> str:
        return self.source.operations[reading.number].variables["bias"]

    def _try(self, module: nn.Module, candidate: Candidate, x: torch.Tensor, given: Given) -> None:
        """Work out how far the module is from a layer, and what would bring it there."""
        operation = self.source.operations[candidate.number]
        arguments, named = given
        self.load(module, candidate)
        output = CALL(module, *arguments, **named)
        candidate.error = self._error(module, candidate, output)
        if candidate.error < EQUAL:
            candidate.output = output
            if wants_same(module, operation, x, CALL):
                candidate.adjusted = {"same_padding": True}
            if not isinstance(module, WITH_EPSILON):
                return
        # Where variances are large, another epsilon shows little here, and more in every layer behind it.
        least = min(candidate.error, EQUAL)
        for name, value in adjustments(module, operation):
            error = self._error(module, candidate, CALL(module, *arguments, **named))
            if error < least:
                candidate.adjusted, candidate.error = {name: value}, error
                return

    def _error(self, module: nn.Module, candidate: Candidate, output: torch.Tensor) -> float:
        values = channels_last(output, module)
        lost = candidate.fit.lost_bias
        found = []
        if candidate.joined:
            return difference(values, together(candidate, self.source, self._outputs))
        for number in self.source.behind(candidate.number):
            if number in self._outputs:
                wanted = self._outputs[number]
                found.append(difference(values, wanted - self._weights[lost].reshape(-1) if lost else wanted))
            if lost or (found[-1:] and found[-1] < EQUAL):
                break
        return min(found, default=float("inf"))

    def load(self, module: nn.Module, candidate: Candidate) -> None:
        """Give a module the variables of a layer."""
        folded = self._weights[candidate.folded].reshape(-1) if candidate.folded else None
        load(module, candidate.fit, self._weights, folded)

    def output(self, module: nn.Module, chosen: Candidate) -> torch.Tensor:
        """Return what the source's layer gives, in the module's order of axes.

        A module that holds the activation behind its layer gives what that gives.
        """
        wanted = (
            together(chosen, self.source, self._outputs) if chosen.joined else self._outputs[chosen.number]
        )
        if not isinstance(getattr(module, "act", None), nn.Identity | None):
            behind = list(self.source.behind(chosen.number, most=1))[-1]
            wanted = self._outputs[behind]
        if chosen.fit.lost_bias:
            wanted = wanted - self._weights[chosen.fit.lost_bias].reshape(-1)
        values = torch.from_numpy(np.array(wanted))
        is_image = values.dim() == 4 and has_channels_first(module)
        return values.permute(0, 3, 1, 2).contiguous() if is_image else values

    def guess(self, module: nn.Module, x: torch.Tensor, taken: Taken) -> list[Candidate]:
        """Return the first layer in the source's order that is left and fits, of equal input size first."""
        size = channels_last(x, module).size
        found = []
        for number in self.source.layers:
            if not self._is_free(number, taken):
                continue
            for fit in fits(module, self.source.operations[number], self.source.shapes):
                wanted = self._outputs[self.source.operations[number].inputs[0]]
                found.append((wanted.size != size, number, Candidate(number, fit, error=float("inf"))))
        return [candidate for _, _, candidate in sorted(found, key=lambda each: each[:2])[:1]]


def _usual_place(name: str) -> int:
    """Return where a layer is usually joined, which is tried first: what follows decides."""
    return next((place for place, word in enumerate(_USUAL) if word in name), len(_USUAL))


def together(candidate: Candidate, source: SourceRecording, outputs: RunOutputs) -> Array:
    """Return the outputs of joined layers one after another, heads side by side."""
    places = outputs[source.operations[candidate.number].inputs[0]].shape[:-1]
    return np.concatenate([outputs[n].reshape(*places, -1) for n in candidate.numbers], axis=-1)
