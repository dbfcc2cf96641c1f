"""Recording a torch model by module names. Nothing here imports torch: a model brings its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from porter.core.checkpoint import Array
from porter.errors import ParityError
from porter.recordings.recording import Activation, ImageLayout, Provenance, Recording, Run


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
        runs = [self._run(*call) for call in zip(self._inputs, self._stages, strict=True)]
        return Recording(self._provenance, tuple(runs))

    def _run(self, inputs: Array, stages: Mapping[str, Array]) -> Run:
        dtype = str(next(iter(stages.values())).dtype)
        wrapped = {name: Activation.full(values, self._layout) for name, values in stages.items()}
        return Run(dtype, Activation.full(inputs, self._layout), wrapped)

    def _begin(self, _module: Any, args: tuple[Any, ...]) -> None:
        if not args:
            raise ParityError("capture/no-input", "call the model with its input as a positional argument")
        self._inputs.append(to_array(args[0]))
        self._stages.append({})

    def _keep(self, stage: str) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            if not self._stages:
                return
            kept = self._stages[-1]
            calls = sum(name == stage or name.startswith(f"{stage}#") for name in kept)
            kept[f"{stage}#{calls + 1}" if calls else stage] = to_array(output)

        return hook


@contextmanager
def capture(
    model: Any,
    modules: Sequence[str] | Mapping[str, str],
    *,
    layout: ImageLayout = "NCHW",
    provenance: Provenance | None = None,
) -> Iterator[Capture]:
    """Watch a torch model and record what its modules compute.

    Args:
        model: A `torch.nn.Module`. Its first positional argument is recorded as the input.
        modules: Names as in `named_modules`; or stage name to module name, to match another recording's
            stages. A module that is called again within one call gives ``"name#2"`` and so on.
        layout: Layout of the model's 4-D activations.
        provenance: Where the recording comes from; the model's class where None.

    Yields:
        The capture; its `recording()` gives the result, inside the block or after it.

    Raises:
        ParityError: the model has no module of that name.

    Example:
        with porter.capture(model, ["stem", "layer1", "fc"]) as seen:
            model(torch.randn(1, 3, 224, 224, dtype=torch.float64))
        seen.recording().save("mine.safetensors")
    """
    names = dict(modules) if isinstance(modules, Mapping) else {name: name for name in modules}
    found = dict(model.named_modules())
    for name in names.values():
        if name not in found:
            raise ParityError("capture/no-such-module", f"the model has no module {name!r}")
    seen = Capture(layout, provenance or Provenance("torch", type(model).__name__))
    with ExitStack() as hooks:
        hooks.callback(model.register_forward_pre_hook(seen._begin).remove)  # noqa: SLF001 (its own hook)
        for stage, name in names.items():
            hooks.callback(found[name].register_forward_hook(seen._keep(stage)).remove)  # noqa: SLF001
        yield seen


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
