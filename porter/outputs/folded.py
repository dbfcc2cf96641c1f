"""A port whose norms are part of the convolutions in front of them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from porter.core.checkpoint import Array, Checkpoint, TensorSpec
from porter.core.dtypes import BY_NAME, DType
from porter.core.named_function import is_function_name
from porter.errors import MissingDependencyError, OutputError
from porter.outputs.output import Output
from porter.outputs.output_options import OutputOptions
from porter.outputs.timm_call import keywords, needs_porter
from porter.planning.plan import Plan
from porter.planning.port_options import PortOptions
from porter.transfer.atomic_folder import new_folder
from porter.transfer.float_conversion import convert, output_dtype
from porter.transfer.safetensors_writer import SafetensorsWriter
from porter.transfer.sharded_writer import ShardedWriter
from porter.transfer.transfer import TransferReport, Writing, refuse_source, transfer
from porter.transfer.value_checks import SuspectValues, ValueChecks

if TYPE_CHECKING:
    from porter.networks.bn_folding import Folding

REASON = "no convolution of its own stands in front of it, and behind it SAME pads with zeros"

_LOAD = "state = load_file({out!r})"
_LOAD_SHARDS = (
    'state = {{name: tensor for file in pathlib.Path({out!r}).glob("*.safetensors") '
    "for name, tensor in load_file(file).items()}}"
)
# Building the network for a file of folded weights, without porter.
_RECIPE = """\
import {modules}timm, torch
from safetensors.torch import load_file

{load}
model = timm.create_model({model!r}{arguments}).eval()
for name, module in list(model.named_modules()):
    if isinstance(module, torch.nn.Conv2d) and module.bias is None and f"{{name}}.bias" in state:
        module.bias = torch.nn.Parameter(torch.zeros(module.out_channels))
    elif isinstance(module, torch.nn.BatchNorm2d) and f"{{name}}.weight" not in state:
        model.set_submodule(name, getattr(module, "act", torch.nn.Identity()))
    elif hasattr(module, "gamma") and f"{{name}}.gamma" not in state:
        model.set_submodule(name, torch.nn.Identity())
model.load_state_dict(state, strict=True)"""


class FoldedFile(Output):
    """A file, or shards, of timm's network without the norms that can be folded exactly.

    Everything is computed in float64, from the stored values, and rounded once.

    Attributes:
        folding: Which norms were folded; None until it is written.
    """

    def __init__(self, plan: Plan, options: PortOptions, form: OutputOptions) -> None:
        super().__init__(plan, options, form)
        if is_function_name(plan.variant.target.name):
            raise OutputError(
                "fold/own-network",
                "--fold-bn builds the network, and a port runs no code that a table names",
                file=plan.variant.table,
                found=plan.variant.target.name,
                hint="Port without it; export-onnx --fold-bn --trust-table folds the norms in the export.",
            )
        self.folding: Folding | None = None

    def write(self, checkpoint: Checkpoint, out: Path, writing: Writing) -> TransferReport:
        """Port, fold every norm and layer scale that can be folded exactly, and write the result.

        Raises:
            MissingDependencyError: torch or timm is not installed.
            CheckpointError: the source is damaged or changed meanwhile.
            OutputError: `out` cannot be written, or the network cannot be traced.
        """
        _require_torch()
        refuse_source(out, checkpoint)
        metadata = self.metadata(checkpoint)
        with tempfile.TemporaryDirectory(prefix="porter-") as folder:
            wide = Path(folder) / "wide.safetensors"
            report = transfer(
                checkpoint, self.assignments, wide, dtype="float64", metadata=metadata, writing=writing
            )
            tensors, folding = folded_tensors(wide)
        described = {"folded": folding.folded, "unfolded": dict.fromkeys(folding.unfolded, REASON)}
        metadata["porter.folding"] = json.dumps(described)
        metadata["porter.source_files"] = json.dumps([file._asdict() for file in report.sources])
        rounded, findings = _rounded(tensors, _types(self.plan, self.options.dtype))
        nbytes = _write(out, rounded, metadata, self.form.shard_size)
        self.folding = folding
        found = (*report.findings, *findings)
        return report._replace(path=out, nbytes=nbytes, tensors=len(rounded), findings=found)

    def loading_line(self, out: Path) -> str:
        """Return a call of `porter.load_model`, which builds the network without its norms."""
        return f"porter.load_model({os.fspath(out)!r})"

    def remarks(self, *, verbose: bool) -> Iterator[str]:
        """Yield how many norms were folded, and which were not."""
        if self.folding is None:
            return
        folded, unfolded = self.folding.folded, self.folding.unfolded
        yield f"folded    {len(folded)} norms and layer scales into the convolutions in front of them"
        if verbose:
            yield from (f"  folded       {name}" for name in folded)
        if unfolded:
            yield f"left      {len(unfolded)}: {', '.join(unfolded)} ({REASON})"

    def alternatives(self, out: Path) -> Iterator[str]:
        """Yield the program that loads folded weights without porter, if timm has the network."""
        if needs_porter(self.plan):
            return
        is_sharded = not self.is_file(self.form)
        recipe = _RECIPE.format(
            modules="pathlib, " if is_sharded else "",
            load=(_LOAD_SHARDS if is_sharded else _LOAD).format(out=os.fspath(out)),
            model=self.plan.variant.target.name,
            arguments=keywords(self.plan),
        )
        yield f"or, without porter:\n\n{recipe}"

    def details(self) -> Mapping[str, Any]:
        """Return which norms were folded."""
        if self.folding is None:
            return {}
        return {"folding": {"folded": self.folding.folded, "unfolded": self.folding.unfolded}}


def _require_torch() -> None:
    try:
        import timm  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        raise MissingDependencyError(
            "fold/no-timm",
            f"{error.name or 'timm'} is not installed; it knows which convolution stands before which norm",
            hint="pip install 'porter[torch]'",
        ) from None


def folded_tensors(wide: Path) -> tuple[dict[str, Array], Folding]:
    """Return the state dict of the folded network in float64, and what was folded.

    Args:
        wide: A port in float64, not folded.
    """
    from porter.loading.load_model import build_network  # noqa: PLC0415 - needs torch
    from porter.loading.ported_file import read_metadata  # noqa: PLC0415 - as above
    from porter.networks.bn_folding import fold_batch_norm  # noqa: PLC0415 - needs torch

    model = build_network(read_metadata(wide)).double().eval()
    values = load_file(wide)
    for name, tensor in model.state_dict().items():
        tensor.numpy()[...] = values[name]
    folding = fold_batch_norm(model)
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}, folding


def _types(plan: Plan, dtype: str | None) -> Mapping[str, DType]:
    """Return the element type of each tensor of the unfolded network."""
    floating = [item for item in plan.assignments if item.constant is None]
    if dtype is not None:
        return {item.target: output_dtype(dtype) for item in floating}
    float32 = BY_NAME["float32"]
    return {item.target: item.parts[0].spec.dtype if item.parts else float32 for item in floating}


def _rounded(
    tensors: Mapping[str, Array], types: Mapping[str, DType]
) -> tuple[dict[str, tuple[DType, Array]], Sequence[SuspectValues]]:
    wide = BY_NAME["float64"]
    rounded: dict[str, tuple[DType, Array]] = {}
    findings: list[SuspectValues] = []
    for name, values in tensors.items():
        if values.dtype != np.float64:
            rounded[name] = BY_NAME[values.dtype.name], values
            continue
        # A bias that folding made has the type of its kernel.
        narrow = types.get(name) or types[name.removesuffix("bias") + "weight"]
        words = convert(values, wide, narrow)
        checks = ValueChecks(name, values.shape, is_variance=False)
        checks.converted(words.reshape(-1), narrow, values.reshape(-1), wide, 0)
        findings.extend(checks.findings())
        rounded[name] = narrow, words
    return rounded, findings


def _write(
    out: str | os.PathLike[str],
    tensors: Mapping[str, tuple[DType, Array]],
    metadata: Mapping[str, str],
    max_shard_size: int | None,
) -> int:
    specs = [(name, TensorSpec(dtype, words.shape)) for name, (dtype, words) in tensors.items()]
    if max_shard_size is None:
        return _fill(SafetensorsWriter(out, specs, metadata), tensors)
    with new_folder(Path(out)) as folder:
        return _fill(ShardedWriter(folder, specs, metadata, limit=max_shard_size), tensors)


def _fill(opened: SafetensorsWriter | ShardedWriter, tensors: Mapping[str, tuple[DType, Array]]) -> int:
    with opened as writer:
        for name in writer.names:
            writer.write(name, np.ascontiguousarray(tensors[name][1]))
        writer.commit()
    return writer.nbytes
