"""Finds which layer of a source each layer of a PyTorch network is, by running the network on its input.

When a module with parameters is entered, the source's layer whose recorded input equals the module's input,
and whose variables fit, is its source: its weights are loaded and the forward pass goes on. Where several
layers fit, the first is taken, and another one once a later module has an input that no layer has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from porter.core.checkpoint import Array
from porter.runners.findings import explain_input, explain_output
from porter.runners.layer_fits import NORMS, REFUSED, Fit, fits, flat_layout
from porter.runners.source_recording import Reading, RunOutputs, SourceRecording
from porter.runners.target_layers import (
    EQUAL,
    POOLS,
    adjustments,
    apply_adjustment,
    channels_last,
    difference,
    flattened,
    load,
    undo_adjustment,
    wants_same,
)

_CALL = nn.Module.__call__
_KINDS = (nn.Conv2d, nn.Linear, nn.ConvTranspose2d, *NORMS)
_MOST_ATTEMPTS, _MOST_SECONDS, _MOST_OTHERS = 600, 240.0, 30


@dataclass(slots=True)
class Candidate:
    """A layer of the source that a module may be.

    Attributes:
        number: The operation.
        fit: How its variables go over.
        folded: Key of a bias of the layer before that goes into the running mean, or "".
        adjusted: What had to be changed in the module, by name.
        error: How far the module's output is from the layer's, relative.
    """

    number: int
    fit: Fit
    folded: str = ""
    adjusted: dict[str, Any] = field(default_factory=dict)
    error: float = 0.0


@dataclass(slots=True)
class Step:
    """One call of a module with parameters, and what it was taken for."""

    module: nn.Module
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    candidates: list[Candidate]
    index: int = 0
    output: Any = None
    before: dict[str, Any] = field(default_factory=dict)
    finding: str = ""

    @property
    def chosen(self) -> Candidate:
        """The layer that it is taken for now."""
        return self.candidates[self.index]


class _DeadEnd(Exception):
    """A module's input is no layer's input."""


class Search:
    """A search for the layers of a network.

    Args:
        model: The network, float64, in eval mode.
        source: The recorded source.
        outputs: What it computes with `weights`.
        weights: Values of its variables by key.
    """

    def __init__(
        self, model: nn.Module, source: SourceRecording, outputs: RunOutputs, weights: Mapping[str, Array]
    ) -> None:
        self.model, self.source, self._outputs, self._weights = model, source, outputs, weights
        self.names = {module: name for name, module in model.named_modules()}
        self.owners = {m: n for m, n in self.names.items() if _owns(m)}
        self.steps: list[Step] = []
        self.findings: list[str] = []
        self.pool_changes: dict[nn.Module, bool] = {}
        self.attempts = 0
        self._place = 0
        self._forced = False
        self.end: int | None = None
        self._by_size: dict[int, list[tuple[int, Reading]]] = {}
        for number in source.layers:
            for reading in source.readings(number):
                if reading.number in outputs:
                    size = outputs[reading.number].size
                    self._by_size.setdefault(size, []).append((number, reading))

    # ---- the search ----

    def run(self, images: torch.Tensor) -> bool:
        """Search until everything agrees; False where that cannot be, and `findings` say why."""
        deadline = time.monotonic() + _MOST_SECONDS
        best: tuple[int, list[tuple[Step, int]]] = (-1, [])
        while self.attempts < _MOST_ATTEMPTS and time.monotonic() < deadline:
            complete = self._attempt(images)
            if complete and not self.findings:
                return True
            score = len(self.steps) + len(self.owners) * complete - sum(bool(s.finding) for s in self.steps)
            if score > best[0]:
                best = score, [(step, step.index) for step in self.steps]
            if not self._advance():
                break
        self._force(images, best[1])
        return False

    def others(self, images: torch.Tensor) -> list[str]:
        """Look for a second solution after `run` found one: say how it differs; `steps` stay the first one's."""
        first = [(step, step.index) for step in self.steps]
        taken = {self.names[step.module]: step.chosen.number for step in self.steps}
        found: list[str] = []
        for _ in range(_MOST_OTHERS):
            if not self._advance():
                break
            if self._attempt(images) and not self.findings:
                now = {self.names[step.module]: step.chosen.number for step in self.steps}
                differing = [name for name in taken if now.get(name) != taken[name]]
                found.append(f"{', '.join(differing)} may be exchanged: both ways prove")
                break
        self._restore(first)
        return found

    def _attempt(self, images: torch.Tensor) -> bool:
        """Run the network once; whether the end was reached."""
        self.attempts += 1
        self._place, self.findings = 0, []
        try:
            with self._watching(), torch.no_grad():
                output = self.model(images)
        except _DeadEnd:
            return False
        self.findings += [step.finding for step in self.steps if step.finding]
        self._look_at_end(output)
        return True

    def _advance(self) -> bool:
        """Take the next candidate of the last step that has one; False where none has."""
        while self.steps:
            step = self.steps[-1]
            self._release(step)
            if step.index + 1 < len(step.candidates):
                step.index += 1
                self._take(step)
                return True
            self.steps.pop()
        return False

    def _restore(self, path: Sequence[tuple[Step, int]]) -> None:
        while self.steps:
            self._release(self.steps.pop())
        for step, index in path:
            step.index = index
            self.steps.append(step)
            self._take(step)

    def _force(self, images: torch.Tensor, path: Sequence[tuple[Step, int]]) -> None:
        """Go the best way again and, where it ends, past every disagreement, to say them all."""
        self._restore(path)
        self._forced = True
        self._attempt(images)

    # ---- one call of a module ----

    @contextmanager
    def _watching(self) -> Iterator[None]:
        def call(module: nn.Module, *arguments: Any, **named: Any) -> Any:
            if module in self.owners:
                return self._called(module, arguments, named)
            if isinstance(module, POOLS):
                return self._pooled(module, arguments, named)
            return _CALL(module, *arguments, **named)

        nn.Module.__call__ = call
        try:
            yield
        finally:
            nn.Module.__call__ = _CALL

    def _called(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if not isinstance(module, _KINDS):
            return _CALL(module, *arguments, **named)
        if self._place < len(self.steps):
            step = self.steps[self._place]
            self._place += 1
            return step.output
        x = arguments[0] if arguments else next(iter(named.values()))
        step = Step(module, arguments, named, [])
        step.candidates = self._candidates(module, x, arguments, named)
        if not step.candidates:
            if not self._forced:
                raise _DeadEnd
            step.candidates = self._guess(module, x)
            if not step.candidates:
                self.findings.append(f"{self.names[module]}: no layer of the source is left that fits it")
                return _CALL(module, *arguments, **named)
            step.finding = self._explained(module, x, step.candidates[0].number)
        self.steps.append(step)
        self._place += 1
        self._take(step)
        return step.output

    def _candidates(
        self, module: nn.Module, x: torch.Tensor, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> list[Candidate]:
        found = []
        for number, reading, fit in self._fitting(module, x):
            folded = self._bias_before(reading) if reading.way == "biasless" else ""
            candidate = Candidate(number, fit, folded)
            self._try(module, candidate, x, arguments, named)
            found.append(candidate)
        good = [candidate for candidate in found if candidate.error < EQUAL]
        return good or sorted(found, key=lambda candidate: candidate.error)[:2]

    def _fitting(self, module: nn.Module, x: torch.Tensor) -> Iterator[tuple[int, Reading, Fit]]:
        """Yield the layers that take what the module takes and whose variables fit."""
        values = channels_last(x, module)
        bound = [s.chosen.number for s in self.steps if s.module is module]
        used = {s.chosen.number for s in self.steps}
        owned = {key for s in self.steps for key in self._operation(s).variables.values()}
        equal: dict[Reading, bool] = {}
        for number, reading in self._by_size.get(values.size, ()):
            operation = self.source.operations[number]
            keys = list(operation.variables.values())
            if number in used or (bound and keys != list(self._keys(bound[0]))):
                continue
            if not bound and owned & set(keys):
                continue
            for fit in fits(module, operation, self.source.shapes):
                read = self._read_so(module, fit, reading)
                if read is None:
                    continue
                if reading not in equal:
                    equal[reading] = self._takes(values, reading)
                if equal[reading]:
                    yield number, reading, read

    def _operation(self, step: Step) -> Any:
        return self.source.operations[step.chosen.number]

    def _keys(self, number: int) -> Iterator[str]:
        yield from self.source.operations[number].variables.values()

    def _read_so(self, module: nn.Module, fit: Fit, reading: Reading) -> Fit | None:
        """Return the fit for a way of taking the input, None where the two do not go together."""
        if reading.way == "flat":
            base = self._outputs[reading.number].shape
            if len(base) != 4:
                return fit if fit.way == "plain" else None
            if fit.way == "flat":
                return fit
            if isinstance(module, nn.Linear) and fit.kind == "dense" and base[1] * base[2] > 1:
                return flat_layout(fit, base)
            return None
        if fit.way == "flat" or (reading.way == "biasless") > isinstance(module, NORMS):
            return None
        return fit if reading.way != "padded" or isinstance(module, nn.Conv2d) else None

    def _takes(self, values: Array, reading: Reading) -> bool:
        wanted = self._outputs[reading.number]
        if reading.way == "biasless":
            wanted = wanted - self._weights[self._bias_before(reading)].reshape(-1)
        if reading.way == "flat" and values.ndim == 2 and wanted.ndim == 4:
            wanted = flattened(wanted)
        return difference(values, wanted) < EQUAL

    def _bias_before(self, reading: Reading) -> str:
        return self.source.operations[reading.number].variables["bias"]

    def _try(
        self,
        module: nn.Module,
        candidate: Candidate,
        x: torch.Tensor,
        arguments: tuple[Any, ...],
        named: dict[str, Any],
    ) -> None:
        """Work out how far the module is from a layer, and what would bring it there."""
        operation = self.source.operations[candidate.number]
        self._load(module, candidate)
        candidate.error = self._error(module, candidate, _CALL(module, *arguments, **named))
        if candidate.error < EQUAL:
            if wants_same(module, operation, x, _CALL):
                candidate.adjusted = {"same_padding": True}
            return
        for name, value in adjustments(module, operation):
            error = self._error(module, candidate, _CALL(module, *arguments, **named))
            if error < EQUAL:
                candidate.adjusted, candidate.error = {name: value}, error
                return

    def _error(self, module: nn.Module, candidate: Candidate, output: torch.Tensor) -> float:
        values = channels_last(output, module)
        lost = candidate.fit.lost_bias
        found = []
        for number in self.source.behind(candidate.number):
            if number in self._outputs:
                wanted = self._outputs[number]
                found.append(difference(values, wanted - self._weights[lost].reshape(-1) if lost else wanted))
            if lost or (found[-1:] and found[-1] < EQUAL):
                break
        return min(found, default=float("inf"))

    def _load(self, module: nn.Module, candidate: Candidate) -> None:
        folded = self._weights[candidate.folded].reshape(-1) if candidate.folded else None
        load(module, candidate.fit, self._weights, folded)

    def _take(self, step: Step) -> None:
        """Load the chosen layer's weights and keep what the module gives with them."""
        module, chosen = step.module, step.chosen
        self._load(module, chosen)
        for name, value in chosen.adjusted.items():
            step.before[name] = getattr(module, name, None)
            apply_adjustment(module, name, value)
        if step.finding:
            step.output = self._forced_output(step)
            return
        step.output = _CALL(module, *step.arguments, **step.named)
        if chosen.error >= EQUAL:
            operation = self.source.operations[chosen.number]
            step.finding = explain_output(self.names[module], module, operation, chosen.error)
            step.output = self._forced_output(step)

    def _release(self, step: Step) -> None:
        for name, before in step.before.items():
            undo_adjustment(step.module, name, before)
        step.before, step.finding = {}, ""

    def _forced_output(self, step: Step) -> torch.Tensor:
        """Return what the source's layer gives, in the module's order of axes."""
        wanted = self._outputs[step.chosen.number]
        if step.chosen.fit.lost_bias:
            wanted = wanted - self._weights[step.chosen.fit.lost_bias].reshape(-1)
        values = torch.from_numpy(np.array(wanted))
        is_image = values.dim() == 4 and not isinstance(step.module, nn.Linear)
        return values.permute(0, 3, 1, 2).contiguous() if is_image else values

    # ---- what has no parameters, and what does not agree ----

    def _pooled(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        x = arguments[0]
        values, output = channels_last(x, module), _CALL(module, *arguments, **named)
        kind = "max_pool" if isinstance(module, nn.MaxPool2d) else "avg_pool"
        for number, operation in enumerate(self.source.operations):
            if operation.kind != kind or not any(
                r.number in self._outputs
                and self._outputs[r.number].size == values.size
                and self._takes(values, r)
                for r in self.source.readings(number)
                if r.way != "biasless"
            ):
                continue
            if difference(channels_last(output, module), self._outputs[number]) < EQUAL:
                if wants_same(module, operation, x, _CALL):
                    self._change_pool(module)
                return output
            for name, _ in adjustments(module, operation):
                tried = _CALL(module, *arguments, **named)
                if (
                    name == "same_padding"
                    and difference(channels_last(tried, module), self._outputs[number]) < EQUAL
                ):
                    output = tried
                    self.pool_changes[module] = True
            if self.pool_changes.get(module):
                self._change_pool(module)
                return output
        return output

    def _change_pool(self, module: nn.Module) -> None:
        self.pool_changes[module] = True
        apply_adjustment(module, "same_padding", value=True)

    def _guess(self, module: nn.Module, x: torch.Tensor) -> list[Candidate]:
        """Return the first layer in the source's order that is left and fits, best one of equal input shape."""
        used = {step.chosen.number for step in self.steps}
        owned = {key for step in self.steps for key in self._operation(step).variables.values()}
        size = channels_last(x, module).size
        found = []
        for number in self.source.layers:
            if number in used or owned & set(self._keys(number)):
                continue
            for fit in fits(module, self.source.operations[number], self.source.shapes):
                taken = self._outputs[self.source.operations[number].inputs[0]]
                found.append((taken.size != size, number, Candidate(number, fit, error=float("inf"))))
        return [candidate for _, _, candidate in sorted(found, key=lambda each: each[:2])[:1]]

    def _explained(self, module: nn.Module, x: torch.Tensor, number: int) -> str:
        return explain_input(self.names[module], channels_last(x, module), number, self.source, self._outputs)

    def _look_at_end(self, output: Any) -> None:
        """See that the network ends as the source does, and that nothing was left out on either side."""
        used = {key for step in self.steps for key in self._operation(step).variables.values()}
        for number in self.source.layers:
            left = [key for key in self._keys(number) if key not in used]
            if left:
                self.findings.append(
                    f"the source's {self.source.operations[number].name} has no place in PyTorch"
                )
                used.update(left)
        called = {step.module for step in self.steps}
        for module, name in self.owners.items():
            if module not in called:
                kind = type(module).__name__
                why = (
                    "is not matched yet"
                    if isinstance(module, REFUSED) or not isinstance(module, _KINDS)
                    else "never runs"
                )
                self.findings.append(f"{name} ({kind}) {why}")
        values = first_tensor(output)
        found = channels_last(values, self.model)
        self.end, least = None, float("inf")
        for number in self._ends():
            error = difference(found, self._outputs[number]) if number in self._outputs else float("inf")
            if error < EQUAL:
                self.end = number
                return
            least = min(least, error)
        self.findings.append(f"the output differs from the source's, by {least:.1e} of its largest value")

    def _ends(self) -> Iterator[int]:
        """Yield the source's output, and what comes before its last activation."""
        for number in self.source.document["outputs"]:
            yield number
            operation = self.source.operations[number]
            if operation.kind in ("softmax", "sigmoid"):
                yield operation.inputs[0]


def first_tensor(output: Any) -> torch.Tensor:
    """Return the logits of what a network returns: a tensor, a tuple or an output object of transformers."""
    if isinstance(output, torch.Tensor):
        return output
    if hasattr(output, "logits"):
        return output.logits  # type: ignore[no-any-return]
    values = list(output.values()) if isinstance(output, Mapping) else list(output)
    return first_tensor(values[0])


def _owns(module: nn.Module) -> bool:
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return bool(own)
