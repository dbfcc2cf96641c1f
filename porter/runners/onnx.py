"""The ONNX side: export the port, run the file in onnxruntime and in the reference evaluator, record it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from porter.onnx.export import INPUT, export_onnx
from porter.onnx.graph import stage_names, widen, with_stage_outputs
from porter.porting.metadata import describe
from porter.recordings.recording import Activation, Provenance, Recording, Run
from porter.runners.job import Job, planned_stages, serve
from porter.tensors import Array
from porter.transfer.transfer import transfer

Evaluate = Callable[[Array], Sequence[Array]]


def _record(job: Job) -> None:
    with job.open_weights() as checkpoint, tempfile.TemporaryDirectory() as folder:
        made = job.plan(checkpoint)
        ported, exported = Path(folder) / "ported.safetensors", Path(folder) / "ported.onnx"
        transfer(checkpoint, made.assignments, ported, metadata=describe(made, checkpoint.format, None))
        export_onnx(ported, exported, stages=planned_stages(made))
        model = onnx.load(exported)
    source = f"dynamic export of {made.variant.target.name}, {job.weights_in_words}"
    provenance = Provenance(
        framework="onnx",
        source=source,
        versions={name: version(name) for name in ("onnx", "onnxruntime", "torch", "numpy")},
        variant=made.variant.name,
        table_digest=made.variant.digest,
        seed=job.seed if job.checkpoint is None else None,
        threads=job.threads,
        created=datetime.now(UTC).date().isoformat(),
    )
    plain, optimised = record_model(model, job.load_inputs(), job.dtypes, provenance)
    plain.save(job.out)
    optimised.save(job.optimised_out)


def record_model(
    model: onnx.ModelProto,
    inputs: Sequence[Array],
    dtypes: Sequence[str],
    provenance: Provenance,
) -> tuple[Recording, Recording]:
    """Run a model that `porter.onnx.export` wrote and record every stage, as written and optimised.

    float32 is computed by onnxruntime on the CPU. It has no float64 convolution there, so float64 is computed
    by the reference evaluator of the onnx package, from the same graph with every number widened.

    Args:
        model: The exported model.
        inputs: One float32 array (N, H, W, C) per run.
        dtypes: Element types to compute in, each with every input.
        provenance: Where the model comes from.

    Returns:
        The recording of the graph as it is written, and that of the graph as onnxruntime rewrites it in
        production. Both hold the same float64 runs.

    Raises:
        OutputError: the model was not written by porter.
    """
    names = stage_names(model)
    threads = provenance.threads or 1
    wide = list(_runs(_reference(model), "float64", names, inputs)) if "float64" in dtypes else []
    recordings = []
    for optimise in (False, True):
        narrow: list[Run] = []
        if "float32" in dtypes:
            narrow = list(_runs(_onnxruntime(model, threads, optimise=optimise), "float32", names, inputs))
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


class Erf(OpRun):
    """The error function in the precision of its input; the reference evaluator's own rounds to float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)


def _reference(model: onnx.ModelProto) -> Evaluate:
    evaluator = ReferenceEvaluator(widen(with_stage_outputs(model)), new_ops=[Erf])

    def evaluate(x: Array) -> Sequence[Array]:
        return list(evaluator.run(None, {INPUT: x}))

    return evaluate


if __name__ == "__main__":
    serve(_record)
