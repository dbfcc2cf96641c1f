"""Pooling of a PyTorch network beside the source's, while it runs: what it takes to make both equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from porter.core.checkpoint import Array
from porter.runners.layer_finder import CALL, LayerFinder
from porter.runners.source_recording import RunOutputs, SourceRecording
from porter.runners.target_layers import (
    EQUAL,
    POOLS,
    adjustments,
    apply_adjustment,
    channels_last,
    difference,
    wants_same,
)
from porter.same_padding.averages import AVERAGE, average, counts_padding


class Pools:
    """What is found of the pooling of a network.

    Args:
        source: The recorded source.
        outputs: What it computes.
        finder: Finds the source's layers.

    Attributes:
        padded: Pooling layers that must pad as TensorFlow's SAME does.
        averaging: Modules whose averages must leave the padding out.
    """

    def __init__(self, source: SourceRecording, outputs: RunOutputs, finder: LayerFinder) -> None:
        self._source, self._outputs, self._finder = source, outputs, finder
        self._inside: list[nn.Module] = []
        self.padded: dict[nn.Module, bool] = {}
        self.averaging: dict[nn.Module, None] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at averages that are taken by a function and not by a layer."""
        self._inside.clear()
        self.averaging.clear()
        with _Averages(self._average):
            yield

    def call(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call a module that is no layer with parameters."""
        self._inside.append(module)
        try:
            pools = isinstance(module, POOLS)
            return self._pooled(module, arguments, named) if pools else CALL(module, *arguments, **named)
        finally:
            self._inside.pop()

    def _average(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> torch.Tensor:
        counted, caller = AVERAGE(*arguments, **named), self._inside[-1] if self._inside else None
        if caller is None or isinstance(caller, POOLS):
            return counted
        values = arguments[0].permute(0, 2, 3, 1).contiguous().numpy()
        for number in self._beside(values, "avg_pool"):
            for output, is_changed in ((counted, False), (average(arguments, named), True)):
                found = output.permute(0, 2, 3, 1).contiguous().numpy()
                if difference(found, self._outputs[number]) < EQUAL:
                    if is_changed:
                        self.averaging[caller] = None
                    return output
        return counted

    def _beside(self, values: Array, kind: str) -> Iterator[int]:
        """Yield the source's pools that take what is given."""
        for number, operation in enumerate(self._source.operations):
            if operation.kind == kind and any(
                reading.number in self._outputs
                and self._outputs[reading.number].size == values.size
                and self._finder.takes(values, reading)
                for reading in self._source.readings(number)
                if reading.way != "biasless"
            ):
                yield number

    def _pooled(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        x = arguments[0]
        values, output = channels_last(x, module), CALL(module, *arguments, **named)
        for number in self._beside(values, "max_pool" if isinstance(module, nn.MaxPool2d) else "avg_pool"):
            operation = self._source.operations[number]
            if difference(channels_last(output, module), self._outputs[number]) < EQUAL:
                if wants_same(module, operation, x, CALL):
                    self._pad(module)
                return output
            for name, _ in adjustments(module, operation):
                tried = CALL(module, *arguments, **named)
                if (
                    name == "same_padding"
                    and difference(channels_last(tried, module), self._outputs[number]) < EQUAL
                ):
                    output = tried
                    self.padded[module] = True
            if self.padded.get(module):
                self._pad(module)
                return output
        return output

    def _pad(self, module: nn.Module) -> None:
        self.padded[module] = True
        apply_adjustment(module, "same_padding", value=True)


class _Averages(TorchFunctionMode):
    def __init__(self, call: Callable[[Sequence[Any], Mapping[str, Any]], torch.Tensor]) -> None:
        super().__init__()
        self._call = call

    def __torch_function__(
        self, function: Any, _: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        named = named or {}
        if function is AVERAGE and counts_padding(arguments, named):
            return self._call(arguments, named)
        return function(*arguments, **named)
