"""What porter asks of an ONNX graph, and the changes it makes to one. Nothing here imports torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, shape_inference

from porter.errors import OutputError

STAGES_KEY = "porter.stages"

# Channels of an attention head; every known one has fewer.
_LONGEST_HEAD = 1024

_FLOW = ("If", "Loop", "Scan")
_FLOATING = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def strip(model: onnx.ModelProto, prefix: str) -> None:
    """Take `prefix` off the weights' names, and the exporter's notes, which hold paths, off every node."""
    graph = model.graph
    for tensor in graph.initializer:
        tensor.name = tensor.name.removeprefix(prefix)
    for node in graph.node:
        node.input[:] = [name.removeprefix(prefix) for name in node.input]
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in [*graph.input, *graph.output]:
        value.ClearField("metadata_props")
    for field in ("metadata_props", "value_info", "doc_string"):
        graph.ClearField(field)
    graph.name = "porter"


def keep_outputs(model: onnx.ModelProto, count: int) -> None:
    """Leave the first outputs alone; the other values keep their names inside the graph."""
    del model.graph.output[count:]


def set_metadata(model: onnx.ModelProto, metadata: Mapping[str, str], stages: Sequence[str]) -> None:
    """Replace the file's metadata, and note which values are stages."""
    model.ClearField("metadata_props")
    onnx.helper.set_model_props(model, {**metadata, STAGES_KEY: json.dumps(list(stages))})


def stage_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the values that are stages, in forward order.

    Raises:
        OutputError: the file was not written by porter.
    """
    for entry in model.metadata_props:
        if entry.key == STAGES_KEY:
            return tuple(json.loads(entry.value))
    raise OutputError(
        "onnx/no-stages", f"the metadata lack {STAGES_KEY}", hint="porter export-onnx writes it."
    )


def takes_every_size(model: onnx.ModelProto) -> bool:
    """Whether batch, height and width are free, as a dynamic export leaves them."""
    return any(dim.HasField("dim_param") for dim in model.graph.input[0].type.tensor_type.shape.dim)


def with_stage_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose outputs are the stages.

    Raises:
        OutputError: the file was not written by porter.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    element = copy.graph.input[0].type.tensor_type.elem_type
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, element, None) for name in stage_names(model)
    )
    return copy


def require_static(model: onnx.ModelProto) -> None:
    """Check that a graph computes nothing from sizes: no control flow, no Shape, no integer arithmetic.

    Raises:
        OutputError: it does.
    """
    inferred = shape_inference.infer_shapes(model, strict_mode=True)
    known = {value.name: value for value in [*inferred.graph.value_info, *inferred.graph.output]}
    for node in inferred.graph.node:
        computed = {known[name].type.tensor_type.elem_type for name in node.output if name in known}
        pads_at_run_time = node.op_type == "Pad" and node.input[1] in known
        if node.op_type in _FLOW or not computed <= set(_FLOATING) or pads_at_run_time:
            raise OutputError(
                "onnx/not-static",
                f"node {node.name!r} ({node.op_type}) computes from sizes at run time",
                expected="constant padding and shapes",
            )


def widen(model: onnx.ModelProto, exact: Mapping[str, NDArray[Any]] | None = None) -> onnx.ModelProto:
    """Return a copy that computes in float64 what `model` stands for.

    float32 weights lose nothing. Attributes are float32 in every ONNX file, so that an epsilon of 0.001 is
    stored as 0.00100000005: the variance takes up the difference to the shortest decimal that is stored so.
    The factor of an exact GELU becomes the one that TensorFlow has in float64 too, float32(sqrt(1/2)); that
    of its tanh form is sqrt(2 / pi), its cubic one stays float32(0.044715), as TensorFlow has both; and the
    attention's scale, length ** -0.25 on query and key alike, is computed anew.

    Args:
        model: As `porter.onnx.export` wrote it.
        exact: Weights by name whose float64 values count, and not what the file has of them: those that a
            port computes (a bias folded into a mean) are rounded in the file.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in copy.graph.initializer}
    for tensor in _tensors(copy):
        if tensor.data_type == TensorProto.FLOAT:
            stored = numpy_helper.to_array(tensor).astype(np.float64)
            _replace(tensor, (exact or {}).get(tensor.name, stored))
    for value in [*copy.graph.input, *copy.graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    _correct_constants(copy, weights)
    for node in copy.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    return copy


def _correct_constants(model: onnx.ModelProto, weights: Mapping[str, TensorProto]) -> None:
    erf_inputs, tanh_inputs = (
        {node.input[0] for node in model.graph.node if node.op_type == kind} for kind in ("Erf", "Tanh")
    )
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            _correct_epsilon(node, weights)
        elif node.op_type == "Div" and node.output[0] in erf_inputs and node.input[1] in weights:
            _replace(weights[node.input[1]], np.array(1 / np.float64(np.float32(0.7071067811865476))))
        elif node.op_type == "Mul" and node.output[0] in tanh_inputs and node.input[0] in weights:
            _replace(weights[node.input[0]], np.array(math.sqrt(2 / math.pi)))
        elif node.op_type == "Mul" and node.input[1] in weights:
            _correct_scale(weights[node.input[1]])
        elif node.op_type == "CastLike" and node.input[0] in weights:
            _correct_scale(weights[node.input[0]])


def _correct_epsilon(node: onnx.NodeProto, weights: Mapping[str, TensorProto]) -> None:
    (stored,) = (attribute.f for attribute in node.attribute if attribute.name == "epsilon")
    variance = weights[node.input[4]]
    meant = float(str(np.float32(stored)))
    _replace(variance, numpy_helper.to_array(variance) + (meant - stored))


def _correct_scale(factor: TensorProto) -> None:
    stored = numpy_helper.to_array(factor)
    if stored.size != 1:
        return
    scales = np.arange(2, _LONGEST_HEAD + 1, dtype=np.float64) ** -0.25
    # The exporter takes the root of a rounded root: two roundings, one unit in the last place.
    meant = scales[np.abs(scales / stored.item() - 1) < 2.0**-23]
    if meant.size:
        _replace(factor, np.full(stored.shape, meant[0]))


def _replace(tensor: TensorProto, values: NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
