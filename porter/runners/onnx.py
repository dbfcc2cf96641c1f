"""The ONNX side: export the port, run the file in onnxruntime and in the reference evaluator, record it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file

from porter.core.checkpoint import Array, Checkpoint
from porter.errors import OutputError
from porter.onnx.exact_ops import EXACT_OPS
from porter.onnx.export import INPUT, export_onnx
from porter.onnx.exported_program import NEEDS_SIZE
from porter.onnx.graph import stage_names, takes_every_size, widen, with_stage_outputs
from porter.outputs.metadata import describe
from porter.planning.plan import Plan
from porter.recordings.activation import Activation
from porter.recordings.recording import Provenance, Recording, Run
from porter.runners.job import Job, planned_stages, serve
from porter.tables.variants import Stage
from porter.transfer.transfer import transfer

Evaluate = Callable[[Array], Sequence[Array]]


def _record(job: Job) -> None:
    with job.open_weights() as checkpoint, tempfile.TemporaryDirectory() as folder:
        port_plan = job.plan(checkpoint)
        ported = Path(folder) / "ported.safetensors"
        transfer(
            checkpoint, port_plan.assignments, ported, metadata=describe(port_plan, checkpoint.format, None)
        )
        exact = _computed_weights(checkpoint, port_plan, Path(folder) / "float64.safetensors")
        inputs = job.load_inputs()
        exports = list(_exports(ported, planned_stages(port_plan), inputs, trust_table=job.trust_table))
    kind = "dynamic export" if takes_every_size(exports[0][0]) else "a static export per size"
    provenance = Provenance(
        framework="onnx",
        source=f"{kind} of {port_plan.variant.target.name}, {job.weights_in_words}",
        versions={name: version(name) for name in ("onnx", "onnxruntime", "torch", "numpy")},
        variant=port_plan.variant.name,
        table_digest=port_plan.variant.digest,
        seed=job.seed if job.checkpoint is None else None,
        threads=job.threads,
        created=datetime.now(UTC).date().isoformat(),
    )
    pairs = [record_model(model, inputs, job.dtypes, provenance, exact) for model, inputs in exports]
    for recordings, out in zip(zip(*pairs, strict=True), (job.out, job.optimised_out), strict=True):
        runs = [run for recording in recordings for run in recording.runs]
        runs.sort(key=lambda run: job.dtypes.index(run.dtype))
        Recording(provenance, tuple(runs)).save(out)


def _computed_weights(checkpoint: Checkpoint, port_plan: Plan, path: Path) -> dict[str, Array]:
    """Return, in float64, the weights that the port computes; PyTorch's float64 runs have them too."""
    computed = {each.target for each in port_plan.assignments if each.is_computed}
    if not computed:
        return {}
    transfer(checkpoint, port_plan.assignments, path, dtype="float64")
    return {name: values for name, values in load_file(path).items() if name in computed}


def _exports(
    ported: Path, stages: Sequence[Stage], inputs: Sequence[Array], *, trust_table: bool
) -> Iterator[tuple[onnx.ModelProto, Sequence[Array]]]:
    """Yield one model for all inputs or, if no graph can take every size, one for each."""
    out = ported.with_name("ported.onnx")
    try:
        export_onnx(ported, out, stages=stages, trust_table=trust_table)
    except OutputError as refusal:
        if refusal.code not in NEEDS_SIZE:
            raise
        for values in inputs:
            height, width = values.shape[1:3]
            export_onnx(ported, out, size=(height, width), stages=stages, trust_table=trust_table)
            yield onnx.load(out), [values]
    else:
        yield onnx.load(out), inputs


def record_model(
    model: onnx.ModelProto,
    inputs: Sequence[Array],
    dtypes: Sequence[str],
    provenance: Provenance,
    exact: Mapping[str, Array] | None = None,
) -> tuple[Recording, Recording]:
    """Run a model that `porter.onnx.export` wrote and record every stage, as written and optimised.

    float32 is computed by onnxruntime on the CPU. It has no float64 convolution there, so float64 is computed
    by the reference evaluator of the onnx package, from the same graph with every number widened.

    Args:
        model: The exported model. A static one takes one image at a time, whatever N is.
        inputs: One float32 array (N, H, W, C) per run.
        dtypes: Element types to compute in, each with every input.
        provenance: Where the model comes from.
        exact: Weights by name that float64 takes from here, see `widen`.

    Returns:
        The recording of the graph as it is written, and that of the graph as onnxruntime rewrites it in
        production. Both hold the same float64 runs.

    Raises:
        OutputError: the model was not written by porter.
    """
    names = stage_names(model)
    threads = provenance.threads or 1
    wide = (
        list(_runs(_per_image(model, _reference(model, exact)), "float64", names, inputs))
        if "float64" in dtypes
        else []
    )
    recordings = []
    for optimise in (False, True):
        narrow: list[Run] = []
        if "float32" in dtypes:
            evaluate = _per_image(model, _onnxruntime(model, threads, optimise=optimise))
            narrow = list(_runs(evaluate, "float32", names, inputs))
        recordings.append(Recording(provenance, (*wide, *narrow)))
    plain, optimised = recordings
    return plain, optimised


def _runs(evaluate: Evaluate, dtype: str, names: Sequence[str], inputs: Sequence[Array]) -> Iterator[Run]:
    for values in inputs:
        x = np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=dtype)
        stages = {
            name: Activation.full(found, "NCHW") for name, found in zip(names, evaluate(x), strict=True)
        }
        yield Run(dtype, Activation.full(x, "NCHW"), stages)


def _per_image(model: onnx.ModelProto, evaluate: Evaluate) -> Evaluate:
    if takes_every_size(model):
        return evaluate

    def one_by_one(x: Array) -> Sequence[Array]:
        found = [evaluate(image) for image in np.split(x, len(x))]
        return [np.concatenate(stage) for stage in zip(*found, strict=True)]

    return one_by_one


def _onnxruntime(model: onnx.ModelProto, threads: int, *, optimise: bool) -> Evaluate:
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: it warns of what a person cannot change
    session = onnxruntime.InferenceSession(
        with_stage_outputs(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def evaluate(x: Array) -> Sequence[Array]:
        found: Sequence[Array] = session.run(None, {INPUT: x})
        return found

    return evaluate


def _reference(model: onnx.ModelProto, exact: Mapping[str, Array] | None) -> Evaluate:
    evaluator = ReferenceEvaluator(widen(with_stage_outputs(model), exact), new_ops=[*EXACT_OPS])

    def evaluate(x: Array) -> Sequence[Array]:
        return list(evaluator.run(None, {INPUT: x}))

    return evaluate


if __name__ == "__main__":
    serve(_record)
