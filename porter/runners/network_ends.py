"""Where a PyTorch network ends beside the source: which of the source's outputs each of its outputs is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from porter.core.checkpoint import Array
from porter.runners.source_recording import RunOutputs, SourceRecording
from porter.runners.target_layers import EQUAL, channels_last, difference

_LAST = ("softmax", "sigmoid")


class End(NamedTuple):
    """An output of PyTorch's that is one of the source's.

    Attributes:
        place: Which of PyTorch's outputs, from 0.
        output: Which of the source's, from 0.
        number: The operation that gives it: the source's last activation may be left to whoever uses it.
    """

    place: int
    output: int
    number: int


class Ends(NamedTuple):
    """What is found of the outputs of both networks.

    Attributes:
        found: The outputs that are equal.
        findings: What disagrees.
        notes: What a reader should know of those that agree.
    """

    found: tuple[End, ...] = ()
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def output_tensors(output: Any) -> list[torch.Tensor]:
    """Return all tensors that a network returns, in order; of an output of transformers the logits alone."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(getattr(output, "logits", None), torch.Tensor):
        return [output.logits]
    if isinstance(output, Mapping):
        output = list(output.values())
    return [t for each in output for t in output_tensors(each)] if isinstance(output, list | tuple) else []


def find_ends(output: Any, model: nn.Module, source: SourceRecording, outputs: RunOutputs) -> Ends:
    """Find each of PyTorch's outputs among the source's, whatever their order.

    Args:
        output: What the PyTorch network returns.
        model: The network.
        source: The recorded source.
        outputs: What it computes.
    """
    values = [channels_last(each, model) for each in output_tensors(output)]
    found: list[End] = []
    for is_last in (True, False):
        for place, value in enumerate(values):
            left = {each.output for each in found}
            if all(each.place != place for each in found):
                found += list(_equal(value, place, left, (source, outputs), is_last=is_last))[:1]
    ends = sorted(found)
    without = [n for n in range(len(values)) if n not in {each.place for each in ends}]
    missed = [n for n in range(len(_numbers(source))) if n not in {each.output for each in ends}]
    findings: tuple[str, ...] = ()
    if missed and (without or not ends):
        findings = tuple(_different(values, without, missed, source, outputs))
    notes = [*_notes(ends, source), *(() if findings else _alone(without, missed, source))]
    return Ends(tuple(ends), findings, tuple(notes))


def _numbers(source: SourceRecording) -> list[int]:
    return list(dict.fromkeys(source.document["outputs"]))


def _equal(
    value: Array, place: int, taken: set[int], recorded: tuple[SourceRecording, RunOutputs], *, is_last: bool
) -> Iterator[End]:
    """Yield the outputs of the source that a value is: the one in the same place first."""
    source, outputs = recorded
    numbers = _numbers(source)
    for output in sorted(range(len(numbers)), key=lambda n: n != place):
        operation = source.operations[numbers[output]]
        number = numbers[output] if is_last else (operation.inputs or [-1])[0]
        if output in taken or number not in outputs or not (is_last or operation.kind in _LAST):
            continue
        if difference(value, outputs[number]) < EQUAL:
            yield End(place, output, number)


def _different(
    values: Sequence[Array],
    without: Sequence[int],
    missed: Sequence[int],
    source: SourceRecording,
    outputs: RunOutputs,
) -> Iterator[str]:
    numbers = _numbers(source)
    if not values:
        yield "the output is no tensor"
    for place in without:
        least = min(_least(values[place], numbers[n], source, outputs) for n in missed)
        which = "the output" if len(values) == 1 else f"output {place + 1}"
        yield f"{which} differs from the source's, by {least:.1e} of its largest value"


def _least(value: Array, number: int, source: SourceRecording, outputs: RunOutputs) -> float:
    operation = source.operations[number]
    numbers = [number, *(operation.inputs[:1] if operation.kind in _LAST else ())]
    return min(difference(value, outputs[each]) if each in outputs else float("inf") for each in numbers)


def _notes(ends: Sequence[End], source: SourceRecording) -> Iterator[str]:
    numbers = _numbers(source)
    for end in ends:
        operation = source.operations[numbers[end.output]]
        which = f"output {end.place + 1}" if len(ends) > 1 else "output"
        if end.number != numbers[end.output]:
            yield f"PyTorch's {which} is what the source has before its last {operation.kind}"
        if len(ends) > 1 and end.place != end.output:
            yield f"PyTorch's {which} is the source's output {end.output + 1} ({operation.name})"


def _alone(without: Sequence[int], missed: Sequence[int], source: SourceRecording) -> Iterator[str]:
    for place in without:
        yield f"PyTorch's output {place + 1} is none of the source's"
    for number in missed:
        name = source.operations[_numbers(source)[number]].name
        yield f"PyTorch does not return the source's output {number + 1} ({name})"
