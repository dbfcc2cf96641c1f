"""Recording a torch model by module names. Nothing here imports torch: a model brings its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np

from porter.core.checkpoint import Array
from porter.errors import ParityError
from porter.recordings.activation import Activation, ImageLayout
from porter.recordings.recording import Provenance, Recording, Run, narrowest

# How torch names a model inside `torch.compile` and inside these.
_COMPILED = "_orig_mod"
_PARALLEL = ("DataParallel", "DistributedDataParallel")


class Capture:
    """What a model computed while it was watched; one run per call of the model.

    Args:
        layout: Layout of the model's 4-D activations.
        provenance: Where the recording comes from.
    """

    def __init__(self, layout: ImageLayout, provenance: Provenance) -> None:
        self._layout = layout
        self._provenance = provenance
        self._inputs: list[Array] = []
        self._stages: list[dict[str, Array]] = []
        # Of the parameters, the input and every stage: what numpy holds as float32 may be bfloat16.
        self._dtypes: list[set[str]] = []

    def recording(self) -> Recording:
        """Return everything recorded so far.

        Raises:
            ParityError: the model was not called, or a call reached none of the modules.
        """
        if not self._inputs or not all(self._stages):
            raise ParityError(
                "capture/nothing-recorded",
                "the model was not called" if not self._inputs else "a call reached none of the modules",
                hint="Call the model itself inside the with block.",
            )
        calls = zip(self._inputs, self._stages, self._dtypes, strict=True)
        runs = [self._run(*call) for call in calls]
        return Recording(self._provenance, tuple(runs))

    def _run(self, inputs: Array, stages: Mapping[str, Array], dtypes: set[str]) -> Run:
        dtype = narrowest(dtypes or {str(values.dtype) for values in stages.values()})
        wrapped = {name: Activation.full(values, self._layout) for name, values in stages.items()}
        return Run(dtype, Activation.full(inputs, self._layout), wrapped)

    def _begin(self, model: Any, args: tuple[Any, ...]) -> None:
        if not args:
            raise ParityError("capture/no-input", "call the model with its input as a positional argument")
        self._inputs.append(to_array(args[0]))
        self._stages.append({})
        self._dtypes.append(_floating(args[0], *model.parameters()))

    def _keep(self, stage: str) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            if not self._stages:
                return
            kept = self._stages[-1]
            calls = sum(name == stage or name.startswith(f"{stage}#") for name in kept)
            kept[f"{stage}#{calls + 1}" if calls else stage] = to_array(output)
            self._dtypes[-1] |= _floating(output)

        return hook


def _floating(*tensors: Any) -> set[str]:
    return {str(tensor.dtype).removeprefix("torch.") for tensor in tensors if tensor.is_floating_point()}


@contextmanager
def capture(
    model: Any,
    modules: Sequence[str] | Mapping[str, str],
    *,
    layout: ImageLayout = "NCHW",
    provenance: Provenance | None = None,
) -> Iterator[Capture]:
    """Watch a torch model and record what its modules compute.

    A run's element type is the narrowest of the model's parameters, its input and its stages, so a model
    under autocast is bfloat16 although its parameters are float32.

    Args:
        model: A `torch.nn.Module`. Its first positional argument is recorded as the input. A compiled model
            runs uncompiled inside the block, because compiled code does not call hooks.
        modules: Names as in `named_modules`, without the ``_orig_mod.`` of a compiled model and the
            ``module.`` of `DataParallel`; or stage name to module name, to match another recording's stages.
            A module that is called again within one call gives ``"name#2"`` and so on.
        layout: Layout of the model's 4-D activations.
        provenance: Where the recording comes from; the model's class if None.

    Yields:
        The capture; its `recording()` gives the result, inside the block or after it.

    Raises:
        ParityError: the model has no module of that name, or is compiled by a torch before 2.6.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).double()
        >>> with porter.capture(model, {"stem": "0", "act": "1"}) as seen:
        ...     _ = model(torch.randn(1, 3, 32, 32, dtype=torch.float64))
        >>> seen.recording()
        Recording of torch: Sequential
          float64@32x32: batch 1, 2 stages (stem, act)
        >>> seen.recording().save("mine.safetensors")
    """
    names = dict(modules) if isinstance(modules, Mapping) else {name: name for name in modules}
    found = _modules(model)
    for name in names.values():
        if name not in found:
            raise ParityError("capture/no-such-module", f"the model has no module {name!r}")
    seen = Capture(layout, provenance or Provenance("torch", type(found[""]).__name__))
    with ExitStack() as hooks:
        hooks.enter_context(_uncompiled(model))
        hooks.callback(model.register_forward_pre_hook(seen._begin).remove)  # noqa: SLF001 (its own hook)
        for stage, name in names.items():
            hooks.callback(found[name].register_forward_hook(seen._keep(stage)).remove)  # noqa: SLF001
        yield seen


def _modules(model: Any) -> dict[str, Any]:
    """Return every module by its name, and by its name without the wrappers of torch."""
    exact = dict(model.named_modules())
    plain = {_unwrapped(name, model): module for name, module in exact.items()}
    # The wrapped model has its wrapper's name, "": the innermost comes last, and is the one to name.
    return {**exact, **{name: module for name, module in plain.items() if name not in exact or not name}}


def _unwrapped(name: str, model: Any) -> str:
    steps = [step for step in name.split(".") if step != _COMPILED]
    inner = getattr(model, _COMPILED, model)
    if type(inner).__name__ in _PARALLEL and steps[:1] == ["module"]:
        steps = steps[1:]
    return ".".join(steps)


def _uncompiled(model: Any) -> AbstractContextManager[Any]:
    if not any(_COMPILED in name.split(".") for name, _ in model.named_modules()):
        return nullcontext()
    compiler = sys.modules["torch"].compiler
    if not hasattr(compiler, "set_stance"):
        raise ParityError(
            "capture/compiled",
            "compiled code does not call hooks, and this torch cannot run a compiled model uncompiled",
            expected="torch 2.6 or later",
            hint="Pass the model as it was before torch.compile.",
        )
    stance: AbstractContextManager[Any] = compiler.set_stance("force_eager")
    return stance


def to_array(tensor: Any) -> Array:
    """Copy a torch tensor to numpy; bfloat16, which numpy lacks, becomes float32.

    Raises:
        ParityError: it is not one tensor.
    """
    if not hasattr(tensor, "detach"):
        raise ParityError(
            "capture/not-a-tensor", f"a module gave a {type(tensor).__name__}", expected="one tensor"
        )
    values = tensor.detach().cpu()
    if str(values.dtype) == "torch.bfloat16":
        values = values.float()
    return np.array(values.numpy())
