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

import torch
from torch import nn

from porter.core.checkpoint import Array
from porter.runners.bare_parameters import BareParameter, ParameterUse, bare_parameters
from porter.runners.findings import explain_input, explain_output
from porter.runners.joined_attention import InProjection, attend, is_joined
from porter.runners.layer_finder import CALL, Candidate, LayerFinder, Taken
from porter.runners.layer_fits import REFUSED, WITH_EPSILON
from porter.runners.network_ends import Ends, find_ends
from porter.runners.source_recording import RunOutputs, SourceRecording
from porter.runners.target_layers import (
    EQUAL,
    apply_adjustment,
    channels_last,
    owns_parameters,
    undo_adjustment,
)
from porter.runners.target_pools import Pools

_KINDS = (nn.Conv2d, nn.Linear, nn.ConvTranspose2d, *WITH_EPSILON, nn.PReLU, BareParameter)
_MOST_ATTEMPTS, _MOST_SECONDS, _MOST_OTHERS, _MOST_FORCED = 600, 240.0, 30, 12


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
    told: str = ""

    @property
    def chosen(self) -> Candidate:
        """The layer that it is taken for now."""
        return self.candidates[self.index]


_STOPS = (RuntimeError, AssertionError, ValueError, TypeError)
_Path = list[tuple[Step, int]]


class _DeadEndError(Exception):
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
        self._attentions = {each: InProjection(each) for each in model.modules() if is_joined(each)}
        bare = {
            each: owner
            for each, owner in bare_parameters(model, (*_KINDS, *REFUSED)).items()
            if owner not in self._attentions
        }
        owning = {*bare.values(), *self._attentions}
        self._uses = ParameterUse(list(bare), lambda module, x: self._called(module, (x,), {}))
        self.names |= {each: self.names[owner] for each, owner in bare.items()}
        self.names |= {first: self.names[each] for each, first in self._attentions.items()}
        self.owners = {m: n for m, n in self.names.items() if owns_parameters(m) and m not in owning}
        self.steps: list[Step] = []
        self.findings: list[str] = []
        self.attempts = 0
        self._place = 0
        self._forced_at = -1
        self.ends = Ends()
        self._finder = LayerFinder(source, outputs, weights)
        self.pools = Pools(source, outputs, self._finder)

    # ---- the search ----

    def run(self, images: torch.Tensor) -> bool:
        """Search until everything agrees; False where that cannot be, and `findings` say why.

        Where no choice leads on, the module that it fails at is given its likeliest layer's input and output,
        so that what else disagrees is found too.
        """
        deadline = time.monotonic() + _MOST_SECONDS
        fixed = 0
        for _ in range(_MOST_FORCED):
            path, complete = self._searched(images, fixed, deadline)
            is_last = self._restore(path)
            if complete:
                if not is_last:
                    self._attempt(images)
                return not self.findings
            fixed = len(path) + 1
            self._forced_at = len(path)
            if self._attempt(images):
                return False
            if len(self.steps) < fixed:  # not even a guess was left
                self._forced_at = -1
                return False
        return False

    def _searched(self, images: torch.Tensor, fixed: int, deadline: float) -> tuple[_Path, bool]:
        """Search below the first `fixed` steps; return the best way and whether it reaches the end."""
        best: tuple[int, _Path, bool] = (-1, [], False)
        while self.attempts < _MOST_ATTEMPTS and time.monotonic() < deadline:
            complete = self._attempt(images)
            wrong = sum(bool(step.finding) for step in self.steps)
            score = (
                2 * len(self.steps) - wrong + 2 * len(self.owners) * complete - len(self.findings) * complete
            )
            if score > best[0]:
                best = score, [(step, step.index) for step in self.steps], complete
            if (
                complete and len(self.findings) <= wrong and not self._wrong_since(fixed)
            ) or not self._advance(fixed):
                break
        return best[1:]

    def _wrong_since(self, fixed: int) -> bool:
        return any(step.finding for step in self.steps[fixed:])

    def others(self, images: torch.Tensor) -> list[str]:
        """Look for a second solution after `run` found one, and say how it differs."""
        if all(step.index + 1 == len(step.candidates) for step in self.steps):
            return []
        first = [(step, step.index) for step in self.steps]
        taken = {step.module: step.chosen.numbers for step in self.steps}
        found: list[str] = []
        for _ in range(_MOST_OTHERS):
            if not self._advance():
                break
            if self._attempt(images) and not self.findings:
                now = {step.module: step.chosen.numbers for step in self.steps}
                differing = [self.called(module) for module in taken if now.get(module) != taken[module]]
                found.append(f"{', '.join(differing)} may be exchanged: both ways prove")
                break
        self._restore(first)
        return found

    def _attempt(self, images: torch.Tensor) -> bool:
        """Run the network once; whether the end was reached."""
        self.attempts += 1
        self._place, self.findings = 0, [step.finding for step in self.steps if step.finding]
        try:
            with self._watching(), torch.no_grad():
                output = self.model(images)
        except _DeadEndError:
            self.findings = [step.finding for step in self.steps if step.finding] + self.findings[-1:]
            return False
        except _STOPS as error:
            told = [step.finding for step in self.steps if step.finding]
            if not told:  # nothing is wrong so far but the images' size
                raise
            first = (str(error).strip().splitlines() or [""])[0]
            self.findings = [*told, f"after {self.called(self.steps[-1].module)} the network stops: {first}"]
            return False
        self.findings = [step.finding for step in self.steps if step.finding]
        self._look_at_end(output)
        return True

    def _advance(self, fixed: int = 0) -> bool:
        """Take the next candidate of the last step that has one, but for the first `fixed`."""
        while len(self.steps) > fixed:
            step = self.steps[-1]
            self._release(step)
            if step.index + 1 < len(step.candidates):
                step.index += 1
                self._take(step)
                return True
            self.steps.pop()
        return False

    def _restore(self, path: Sequence[tuple[Step, int]]) -> bool:
        """Take a way again; whether it is the last one that was run, and nothing had to be done."""
        if [(id(step), step.index) for step in self.steps] == [(id(step), index) for step, index in path]:
            return True
        while self.steps:
            self._release(self.steps.pop())
        for step, index in path:
            step.index = index
            self.steps.append(step)
            self._take(step)
        return False

    # ---- one call of a module ----

    @contextmanager
    def _watching(self) -> Iterator[None]:
        def call(module: nn.Module, *arguments: Any, **named: Any) -> Any:
            if module in self.owners and isinstance(module, _KINDS):
                return self._called(module, arguments, named)
            if isinstance(module, nn.MultiheadAttention) and module in self._attentions:
                return attend(module, self._attentions[module], (arguments, named), CALL)
            return self.pools.call(module, arguments, named)

        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            with self.pools.watching(), self._uses:
                yield
        finally:
            nn.Module.__call__ = CALL  # type: ignore[method-assign]

    def _called(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if self._place < len(self.steps):
            step = self.steps[self._place]
            self._place += 1
            return step.output.clone()  # what follows may work in place
        x = arguments[0] if arguments else next(iter(named.values()))
        arguments = tuple(each.clone() if isinstance(each, torch.Tensor) else each for each in arguments)
        step = Step(module, arguments, named, [])
        step.candidates = self._finder.candidates(module, x, (arguments, named), self._taken(module))
        if not step.candidates:
            if self._forced_at != self._place:
                raise _DeadEndError
            step.candidates = self._finder.guess(module, x, self._taken(module))
            if not step.candidates:
                self.findings.append(f"{self.called(module)}: no layer of the source is left that fits it")
                raise _DeadEndError
            step.finding = step.told = self._explained(module, x, step.candidates[0].number)
        self.steps.append(step)
        self._place += 1
        self._take(step)
        return step.output.clone()

    def _taken(self, module: nn.Module) -> Taken:
        """Return what is no longer free for a module."""
        numbers = [number for step in self.steps for number in step.chosen.numbers]
        bound = [step.chosen.number for step in self.steps if step.module is module]
        owned = {key for number in numbers for key in self._finder.keys(number)}
        return Taken(frozenset(numbers), frozenset(owned), bound[0] if bound else None)

    def _operation(self, step: Step) -> Any:
        return self.source.operations[step.chosen.number]

    def _take(self, step: Step) -> None:
        """Load the chosen layer's weights and keep what the module gives with them."""
        module, chosen = step.module, step.chosen
        self._finder.load(module, chosen)
        for name, value in chosen.adjusted.items():
            step.before[name] = getattr(module, name, None)
            apply_adjustment(module, name, value)
        if step.finding:
            step.output = self._finder.output(module, chosen)
            return
        known = None if chosen.adjusted else chosen.output
        step.output = CALL(module, *step.arguments, **step.named) if known is None else known
        if chosen.error >= EQUAL:
            operation = self.source.operations[chosen.number]
            step.finding = explain_output(self.called(module), module, operation, chosen.error)
            step.output = self._finder.output(module, chosen)

    def _release(self, step: Step) -> None:
        for name, before in step.before.items():
            undo_adjustment(step.module, name, before)
        step.before, step.finding = {}, step.told

    # ---- what does not agree ----

    def _explained(self, module: nn.Module, x: torch.Tensor, number: int) -> str:
        return explain_input(
            self.called(module), channels_last(x, module), number, self.source, self._outputs
        )

    def _look_at_end(self, output: Any) -> None:
        """See that the network ends as the source does, and that nothing was left out on either side."""
        used = {
            key for step in self.steps for number in step.chosen.numbers for key in self._finder.keys(number)
        }
        for number in self.source.layers:
            left = [key for key in self._finder.keys(number) if key not in used]
            if left:
                self.findings.append(
                    f"the source's {self.source.operations[number].name} has no place in PyTorch"
                )
                used.update(left)
        folded = {step.chosen.folded for step in self.steps}
        for step in self.steps:
            lost = step.chosen.fit.lost_bias
            if lost and lost not in folded:
                layer = self._operation(step).name
                self.findings.append(f"{self.called(step.module)}: has no place for the bias of {layer}")
        called = {step.module for step in self.steps}
        self.findings += [
            f"{self.called(module)} is not used as a factor, a term or a token: not matched yet"
            if isinstance(module, BareParameter)
            else f"{name} ({type(module).__name__}) never runs"
            for module, name in self.owners.items()
            if module not in called and not _is_refused(module)
        ]
        self.findings += self.refused()
        self.ends = find_ends(output, self.model, self.source, self._outputs)
        self.findings += self.ends.findings

    def called(self, module: nn.Module) -> str:
        """Return what a module, or a parameter that no layer holds, is called in the network."""
        leaf = module.leaf if isinstance(module, BareParameter) else ""
        return ".".join(filter(None, (self.names[module], leaf)))

    def refused(self) -> list[str]:
        """Say which modules of the network have parameters of a kind that is not matched yet."""
        return [
            f"{name or 'the network itself'} ({type(module).__name__}: "
            f"{', '.join(leaf for leaf, _ in module.named_parameters(recurse=False))}) is not matched yet"
            for module, name in self.owners.items()
            if _is_refused(module)
        ]


def _is_refused(module: nn.Module) -> bool:
    return isinstance(module, REFUSED) or not isinstance(module, _KINDS)
