"""The PyTorch side: port with porter's own reader and tables, run timm, record every stage."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_state
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from porter.core.checkpoint import Array, Checkpoint
from porter.errors import TableError
from porter.loading.labels import imagenet_labels, read_labels
from porter.loading.load_model import load_model
from porter.networks.any_target import answer_of
from porter.outputs.metadata import describe
from porter.planning.plan import Plan
from porter.recordings.activation import Activation
from porter.recordings.capturing import capture, to_array
from porter.recordings.images import decode
from porter.recordings.recording import Provenance, Recording, Run
from porter.runners.golden_side import Alone, prepare_alone
from porter.runners.job import Job, planned_stages, references, serve
from porter.runners.ported_side import Prepared, prepare
from porter.transfer.transfer import transfer

_OTHER_GELU = (
    "float64 runs use TensorFlow's GELU, whose constant is rounded to float32; the ported model keeps "
    "PyTorch's own"
)
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class TensorFlowGelu(torch.nn.Module):
    """The exact GELU as TensorFlow computes it in float64: 0.5 x erfc(-x c), c = float32(sqrt(1/2)).

    `gelu` in tensorflow/python/ops/nn_ops.py passes the constant through tf.cast, which makes a float32
    tensor of a Python number before it widens it. PyTorch's own erf GELU differs by 1.5e-6 in float64 and
    by nothing visible in float32.
    """

    _FACTOR = float(np.float32(0.7071067811865476))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it elementwise: any shape in, the same shape out."""
        tail: torch.Tensor = torch.special.erfc(-x * self._FACTOR)
        return 0.5 * x * tail


class TensorFlowTanhGelu(torch.nn.Module):
    """The tanh form of GELU as TensorFlow computes it in float64, its cubic factor a float32 constant.

    0.5 x (1 + tanh(0.7978845608028654 (x + c x^3))) with c = float32(0.044715): `gelu` in
    tensorflow/python/ops/nn_ops.py passes that one through tf.cast, too.
    """

    _FACTOR = float(np.float32(0.044715))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it elementwise: any shape in, the same shape out."""
        return 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * (x + self._FACTOR * x**3)))


# By the name in a table: what is replaced in float64 runs, and by what.
_FLOAT64_ACTIVATIONS: Mapping[str, tuple[tuple[type[torch.nn.Module], ...], type[torch.nn.Module]]] = {
    "gelu_float32_constant": ((torch.nn.GELU, timm.layers.GELU), TensorFlowGelu),
    "gelu_tanh_float32_constant": ((timm.layers.GELUTanh,), TensorFlowTanhGelu),
}


def _record(job: Job) -> None:
    _pin(job.threads)
    if job.golden is not None:
        _record_alone(job)
        return
    with job.open_weights() as checkpoint, tempfile.TemporaryDirectory() as name:
        port_plan = job.plan(checkpoint)
        model, files, notes = _prepared(checkpoint, port_plan, job, Path(name))
        stages = {stage.name: stage.target[-1] for stage in planned_stages(port_plan)}
        network = _Network(model, files, stages, port_plan.variant.float64_activation)
        inputs = job.load_inputs()
        runs = {run.name: run for dtype in job.dtypes for run in network.propagated(dtype, inputs)}
        if job.images:
            own = network.own_images(job.images, inputs[0].shape[1], port_plan.channel_order)
            classes = own["logits"].shape[-1]
            labels = read_labels(Path(job.labels), classes) if job.labels else imagenet_labels(classes)
            said = {"labels": json.dumps(list(labels.names)), "label_source": labels.source}
            save_file(own, job.images_out, said)
        if job.local:
            for reference in references():
                runs = network.with_local(runs, Recording.load(reference))
    Recording(_provenance(job, port_plan, notes), tuple(runs.values())).save(job.out)


def _record_alone(job: Job) -> None:
    """Run a file without its checkpoint, as a golden of it asks; and again with its weights disturbed."""
    alone = prepare_alone(job)
    golden = alone.golden
    stages = {stage: modules[-1] for stage, modules in golden.stages.items()}
    inputs = job.load_inputs()
    with tempfile.TemporaryDirectory() as name:
        for state, out in ((alone.state, job.out), (alone.disturbed, job.disturbed_out)):
            if state is None:
                continue
            file = Path(name) / "weights.safetensors"
            save_state({n: t.contiguous() for n, t in state.items()}, file)
            network = _Network(alone.model, {"float64": file}, stages, golden.float64_activation)
            given = [values[..., ::-1] if alone.flipped else values for values in inputs]
            runs = [
                replace(run, input=Activation.full(values.astype(run.dtype), "NHWC"))
                for run, values in zip(network.propagated("float64", given), inputs, strict=True)
            ]
            Recording(_provenance_alone(job, alone), tuple(runs)).save(out)


def _prepared(checkpoint: Checkpoint, port_plan: Plan, job: Job, folder: Path) -> Prepared:
    if job.ported is not None:
        return prepare(checkpoint, port_plan, job, folder)
    files = _port(checkpoint, port_plan, job, folder)
    return Prepared(load_model(next(iter(files.values())), trust_table=job.trust_table), files, ())


def _port(checkpoint: Checkpoint, port_plan: Plan, job: Job, folder: Path) -> dict[str, Path]:
    """Port once for each precision that is computed in.

    What a port computes (a bias folded into a mean) is rounded to the stored type, and a float64 run is to
    show the fold itself, not that rounding. float32 runs, and images, use the very file that a person gets.
    """
    metadata = describe(port_plan, checkpoint.format, None)
    wanted = {
        dtype: "float64"
        if dtype == "float64" and any(each.is_computed for each in port_plan.assignments)
        else None
        for dtype in {*job.dtypes, *(["float32"] if job.images else [])}
    }
    for dtype in set(wanted.values()):
        transfer(checkpoint, port_plan.assignments, folder / f"{dtype}", dtype=dtype, metadata=metadata)
    return {name: folder / f"{dtype}" for name, dtype in wanted.items()}


def _pin(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


class _Network:
    """A PyTorch network and the ported files that it can be loaded from.

    Args:
        model: The network.
        files: The weights for each type that is computed in.
        stages: Stage to the module that gives its output.
        activation: What float64 runs replace, as in a table; None for nothing.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        files: Mapping[str, Path],
        stages: Mapping[str, str],
        activation: str | None,
    ) -> None:
        self._files = files
        self._model = model
        self._stages = stages
        self._activation = activation

    def propagated(self, dtype: str, inputs: Sequence[Array]) -> Iterator[Run]:
        """Run the whole network on each input (N, H, W, C) and yield what its stages gave."""
        with self._computing_in(dtype), capture(self._model, self._stages) as seen:
            for values in inputs:
                self._model(_tensor(values, dtype))
        yield from seen.recording().runs

    def own_images(self, paths: Sequence[str], size: int, channel_order: str) -> dict[str, Array]:
        """Prepare images with timm's own transform and run them, in float32.

        Returns:
            ``prepared`` (N, H, W, C) and ``logits`` (N, K).
        """
        config = resolve_model_data_config(self._model) | {"input_size": (3, size, size)}
        transform = create_transform(**config)
        images = [transform(Image.fromarray(decode(Path(path)))) for path in paths]
        batch = torch.stack(images)
        batch = batch.flip(1) if channel_order == "bgr" else batch
        with self._computing_in("float32"):
            logits = answer_of(self._model(batch))
        prepared = np.ascontiguousarray(batch.permute(0, 2, 3, 1).numpy())
        return {"prepared": prepared, "logits": logits.numpy()}

    def with_local(self, runs: Mapping[str, Run], reference: Recording) -> dict[str, Run]:
        """Add to each run what every stage gives on the reference's own input of that stage.

        Runs that the reference does not have yet, and those that have it already, stay as they are.
        """
        done = dict(runs)
        expected = {run.name: run for run in reference.runs}
        waiting = [run for run in runs.values() if not run.local and run.name in expected]
        for dtype in sorted({run.dtype for run in waiting}, reverse=True):
            with self._computing_in(dtype):
                for run in waiting:
                    if run.dtype == dtype:
                        done[run.name] = replace(run, local=self._local(expected[run.name]))
        return done

    def _local(self, expected: Run) -> dict[str, Activation]:
        """Run the network once, each stage on the reference's output of the stage before it.

        What a module gives at the end of a stage is kept and replaced by the reference's activation, so
        what the network does between two stages (adding position embeddings, flattening) runs as it is.
        """
        found: dict[str, Activation] = {}
        with ExitStack() as hooks:
            for stage, name in self._stages.items():
                module = self._model.get_submodule(name)
                hook = _replacing(stage, expected.stages.get(stage), found)
                hooks.callback(module.register_forward_hook(hook).remove)
            self._model(torch.from_numpy(np.array(expected.input.channels_first(), order="C")))
        return found

    @contextmanager
    def _computing_in(self, dtype: str) -> Iterator[None]:
        """Hold the model in `dtype`, with the weights that were ported for it."""
        self._model.to(_DTYPES[dtype]).load_state_dict(load_file(self._files[dtype]))
        replaced = self._replace_activation() if dtype == "float64" and self._activation else {}
        try:
            with torch.inference_mode():
                yield
        finally:
            for name, module in replaced.items():
                self._model.set_submodule(name, module)

    def _replace_activation(self) -> dict[str, torch.nn.Module]:
        known = _FLOAT64_ACTIVATIONS.get(self._activation or "")
        if known is None:
            raise TableError("table/float64-activation", f"unknown activation {self._activation!r}")
        kinds, replacement = known
        found: dict[str, torch.nn.Module] = {
            name: module for name, module in self._model.named_modules() if isinstance(module, kinds)
        }
        for name in found:
            self._model.set_submodule(name, replacement())
        return found


def _replacing(
    stage: str, expected: Activation | None, found: dict[str, Activation]
) -> Callable[[torch.nn.Module, Any, torch.Tensor], torch.Tensor | None]:
    """Return a hook that keeps a module's output and puts the expected one in its place."""

    def hook(_module: torch.nn.Module, _args: Any, output: torch.Tensor) -> torch.Tensor | None:
        if stage in found:
            return None
        found[stage] = Activation.full(to_array(output), "NCHW")
        if expected is None or expected.canonical_shape != tuple(output.shape):
            return None
        return torch.from_numpy(np.array(expected.channels_first(), order="C")).to(output.dtype)

    return hook


def _tensor(values: Array, dtype: str) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=dtype))


def _provenance_alone(job: Job, alone: Alone) -> Provenance:
    notes = list(alone.notes)
    if alone.golden.float64_activation:
        notes.append(_OTHER_GELU)
    packages = ("torch", "timm", "numpy")
    return Provenance(
        framework="torch",
        source=f"{Path(str(job.ported)).name} as it is on disk",
        versions={name: version(name) for name in packages},
        variant=alone.golden.port.get("porter.variant"),
        threads=job.threads,
        created=datetime.now(UTC).date().isoformat(),
        notes=tuple(notes),
    )


def _provenance(job: Job, port_plan: Plan, said: Sequence[str]) -> Provenance:
    variant = port_plan.variant
    arguments = "".join(f", {name}={value!r}" for name, value in port_plan.arguments.items())
    weights = job.weights_in_words if job.ported is None else Path(job.ported).name
    notes = list(said)
    if variant.float64_activation and "float64" in job.dtypes:
        notes.append(_OTHER_GELU)
    call = "timm.create_model" if variant.library == "timm" else variant.library
    packages = ("torch", *([] if variant.library == "torch" else [variant.library]), "numpy")
    return Provenance(
        framework="torch",
        source=f"{call}({variant.target.name!r}{arguments}), {weights}",
        versions={name: version(name) for name in packages},
        variant=variant.name,
        table_digest=variant.digest,
        seed=job.seed if job.checkpoint is None else None,
        threads=job.threads,
        created=datetime.now(UTC).date().isoformat(),
        notes=tuple(notes),
    )


if __name__ == "__main__":
    serve(_record)
