"""A ported network as `torch.export` records it: recordable padding, stages as outputs, one size or all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from porter.core.head import output_count
from porter.errors import OutputError
from porter.loading.ported_file import Ported
from porter.networks.any_target import answer_of
from porter.same_padding import AvgPool2dSame, MaxPool2dSame, emulate_same_padding
from porter.same_padding.same_layers import ceils_to_same, has_own_forward
from porter.tables.variants import Stage

# Two different lengths, neither a power of two, so that no coincidence is taken for a rule.
_EXAMPLE = (160, 224)
_SMALLEST = 33

NEEDS_SIZE = ("onnx/one-size", "onnx/sizes-differ")
"""Codes of the refusals of a dynamic export that a static one does not share."""


class Staged(nn.Module):
    """A model that gives its outputs and then the activation of every stage but the last, if that is it.

    Args:
        model: The network.
        ported: What the ported file says of it.
        stages: The stages that are wanted; what the model lacks at the end is left out.

    Attributes:
        names: Names of what it gives, in order.
        channels: Channels of its images.
    """

    def __init__(self, model: nn.Module, ported: Ported, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.model = model
        self.channels = int(ported.arguments.get("in_chans", 3))
        outputs = output_names(ported)
        ends = {feature.module for feature in ported.cut.outputs} if ported.cut and not ported.head else set()
        inner = {
            stage.name: model.get_submodule(stage.target[-1])
            for stage in _present(model, stages)
            if stage.name not in outputs and stage.target[-1] not in ends  # one value has one name
        }
        self.names = (*outputs, *inner)
        self._count = len(outputs)
        self._kept: dict[str, torch.Tensor] = {}
        for name, module in inner.items():

            def keep(_module: nn.Module, _args: object, kept: torch.Tensor, name: str = name) -> None:
                self._kept[name] = kept

            module.register_forward_hook(keep)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the model on (N, C, H, W)."""
        output = self.model(image)
        answers = output if self._count > 1 else (answer_of(output),)
        return (*answers, *(self._kept[name] for name in self.names[self._count :]))


def output_names(ported: Ported) -> tuple[str, ...]:
    """Return what the outputs of an exported network are called."""
    count = len(ported.cut.outputs) if ported.cut and not ported.head else output_count(ported.head)
    if count > 1:
        return tuple(f"output_{number}" for number in range(count))
    has_classes = bool(ported.head) or ported.arguments.get("num_classes") != 0
    return ("logits" if has_classes else "features",)


def use_recordable_padding(model: nn.Module, *, every_size: bool) -> None:
    """Replace layers that pad as SAME by ones that compute the same and can be recorded, in place.

    A plain layer with padding of its own stays as it is: numbers that could stand for SAME may be meant as
    they are written, and the export is of this network.

    Args:
        model: The network.
        every_size: Whether it is recorded for every size. Then a pool that is SAME because its last window
            may hang over the end is replaced too: torch settles at the example's size whether one does.
    """
    layers = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
    ]
    emulate_same_padding(model, include=[name for name, layer in layers if has_own_forward(layer)])
    for _, layer in layers:
        if every_size and isinstance(layer, nn.MaxPool2d | nn.AvgPool2d) and ceils_to_same(layer):
            layer.__class__ = MaxPool2dSame if isinstance(layer, nn.MaxPool2d) else AvgPool2dSame


def capture_program(
    model: nn.Module, ported: Ported, size: tuple[int, int] | None, path: Path
) -> torch.export.ExportedProgram:
    """Record what `model` computes.

    `torch.onnx` would do it too, but if a layer takes another path at other sizes it narrows the sizes to
    those of the path that it saw, and says nothing of it.

    Args:
        model: Takes images (batch, channels, height, width), in eval mode.
        ported: What the ported file says of it.
        size: (height, width) for batch 1 and this size; None for all.
        path: The file that messages name.

    Raises:
        OutputError: ``onnx/one-size``, ``onnx/sizes-differ``, ``onnx/export-failed``.
    """
    channels = int(ported.arguments.get("in_chans", 3))
    example = torch.zeros(1 if size else 2, channels, *(size or _EXAMPLE))
    free = {0: torch.export.Dim("batch")}
    free |= {axis: torch.export.Dim(name, min=_SMALLEST) for axis, name in ((2, "height"), (3, "width"))}
    with torch.no_grad(), _refused_as_one_size(ported, size, path):
        model(example[:1])
    try:
        # Without it a map that is never one pixel long is refused if torch cannot prove that it is not.
        with torch.no_grad(), torch.fx.experimental._config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # noqa: SLF001
            return torch.export.export(
                model, (example,), dynamic_shapes=None if size else (free,), strict=False
            )
    except torch._dynamo.exc.UserError as error:  # noqa: SLF001 (it has no public name)
        raise OutputError(
            "onnx/sizes-differ",
            f"{ported.variant} takes other steps at other sizes, which one graph cannot hold",
            file=path,
            hint=_static(ported),
        ) from error
    except Exception as error:  # torch.export may fail in any way
        raise export_failed(error, path) from error


def export_failed(error: Exception, path: Path) -> OutputError:
    """Return the refusal for what torch says, in its first line."""
    said = str(error).strip().partition("\n")[0]
    return OutputError(
        "onnx/export-failed", f"torch cannot export it ({type(error).__name__}: {said})", file=path
    )


@contextmanager
def _refused_as_one_size(ported: Ported, size: tuple[int, int] | None, path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a network may refuse a size in any way
        side = ported.input["size"]
        raise OutputError(
            "onnx/one-size",
            f"{ported.variant} takes images of one size",
            file=path,
            expected=f"{side}x{side}",
            found="{}x{}".format(*size) if size else "every size",
            hint=_static(ported),
        ) from error


def _static(ported: Ported) -> str:
    return f"porter export-onnx with --size {ported.input['size']} writes it for that size."


def _present(model: nn.Module, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages that the model has: without classes the classifier at the end is an empty module.

    A stage without weights of its own (a pooling) is there where a later one is.
    """
    present = list(stages)
    while present and not _holds_weights(model, present[-1]):
        present.pop()
    return tuple(present)


def _holds_weights(model: nn.Module, stage: Stage) -> bool:
    there = dict(model.named_modules())
    return any(True for name in stage.target if name in there for _ in there[name].parameters())
