"""A ported file to an ONNX file that pads as TensorFlow does."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx_ir.passes import common as passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules

from porter.errors import OutputError
from porter.loading.load_model import load_model
from porter.loading.ported_file import Ported, read_metadata
from porter.networks.bn_folding import Folding, fold_batch_norm
from porter.onnx.exported_program import (
    Staged,
    capture_program,
    export_failed,
    output_names,
    use_recordable_padding,
)
from porter.onnx.graph import keep_outputs, require_static, set_metadata, strip
from porter.same_padding import fold_same_padding
from porter.tables.variants import Stage
from porter.transfer.atomic_file import write_whole

INPUT = "image"

# The newest that torch.onnx writes without converting between versions.
_OPSET = 18

# Everything exact that makes a graph smaller; folding norms is not among it: it must be asked for explicitly.
_REWRITES = (
    rules.materialize_reshape_shape_rule,
    rules.normalize_pad_format_conv_rule,
    rules.fuse_pad_into_conv_rule,
    rules.no_op_cast_rule,
    rules.no_op_expand_rule,
    rules.no_op_transpose_rule,
)


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX file that was written.

    Attributes:
        path: Where it is.
        nbytes: Its size.
        size: (height, width) of the images it takes, in pixels; None if it takes every size.
        output: Name of its output: ``"logits"``, or ``"features"`` if the network has no classifier; of
            several ``"output_0, output_1"``.
        nodes: Number of nodes in its graph.
        folding: Which norms are part of a convolution now; None if that was not asked for.
    """

    path: Path
    nbytes: int
    size: tuple[int, int] | None
    output: str
    nodes: int
    folding: Folding | None


def export_onnx(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    fold_bn: bool = False,
    stages: Sequence[Stage] = (),
    trust_table: bool = False,
) -> Exported:
    """Write a ported file as ONNX.

    The input ``image`` is float32 (batch, channels, height, width), RGB (BGR if the network takes that),
    normalised as the metadata state: (pixel / 255 - mean) / std. The output is ``logits``, or ``features``
    if the network has no classifier, (batch, length); several are ``output_0``, ``output_1``, ... in the
    order of the source's. The metadata of the ported file are carried over.

    Args:
        source: A file, or a folder of shards, written by `port` or ``port-weights``.
        out: ONNX file to write; it appears whole or not at all.
        size: (height, width) in pixels: the padding is constant, the batch is 1, and the graph computes
            nothing from sizes. None: batch, height and width are free, and the padding follows them.
        fold_bn: Fold norms and layer scales into the convolutions before them.
        stages: Stages whose activations keep their names in the graph, so that it can be checked.
        trust_table: As for `porter.load_model`.

    Returns:
        What was written.

    Raises:
        OutputError: the source was not written by porter, the export failed, or the graph is not what it
            must be; ``onnx/one-size`` if the network does not take this size, or with `size` None only
            one; ``onnx/sizes-differ`` if it takes every size but its layers follow the size in a way that
            one graph cannot. Nothing is written then.
        MissingDependencyError: torch or timm is not installed.
    """
    path = Path(source)
    ported = read_metadata(path)
    model = load_model(path, trust_table=trust_table)
    use_recordable_padding(model, every_size=size is None)
    folding = fold_batch_norm(model) if fold_bn else None
    staged = Staged(model, ported, stages).eval()
    if size is not None:
        fold_same_padding(model, size)
    with _quiet():
        program = capture_program(staged, ported, size, path)
    graph = _graph(program, staged.names, path)
    outputs = output_names(ported)
    set_metadata(graph, _metadata(ported, size, folding), _stage_names(graph, len(outputs)))
    keep_outputs(graph, len(outputs))
    _examine(graph, size, path)
    content = graph.SerializeToString(deterministic=True)
    write_whole(out, content)
    return Exported(Path(out), len(content), size, ", ".join(outputs), len(graph.graph.node), folding)


def _graph(program: torch.export.ExportedProgram, names: Sequence[str], path: Path) -> onnx.ModelProto:
    try:
        with _quiet(), torch.no_grad():
            exported = torch.onnx.export(
                program,
                input_names=[INPUT],
                output_names=list(names),
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                optimize=False,
                verbose=False,
            )
            assert exported is not None  # noqa: S101 (it is None for the old exporter only)
            optimizer.inline(exported.model)
            optimizer.fold_constants(exported.model)
            rewriter.rewrite(exported.model, _REWRITES)
            passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(exported.model)
            passes.CommonSubexpressionEliminationPass()(exported.model)
            graph: onnx.ModelProto = exported.model_proto
    except Exception as error:  # the exporter may fail in any way
        raise export_failed(error, path) from error
    strip(graph, "model.")
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter about its own workings from people who cannot act on it."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _stage_names(graph: onnx.ModelProto, outputs: int) -> list[str]:
    """Return the stages in forward order, the outputs last."""
    names = [value.name for value in graph.graph.output]
    return [*names[outputs:], *names[:outputs]]


def _metadata(ported: Ported, size: tuple[int, int] | None, folding: Folding | None) -> dict[str, str]:
    carried = {key: value for key, value in sorted(ported.metadata.items()) if key.startswith("porter.")}
    mean, std = ported.mean_and_std
    stated = {
        "layout": "NCHW",
        "channels": ported.channels,
        "element_type": "float32",
        "normalisation": "(pixel / 255 - mean) / std",
        "mean": mean,
        "std": std,
        "size": size or "any",
    }
    folded = {"folded": list(folding.folded), "unfolded": list(folding.unfolded)} if folding else None
    return {
        **carried,
        "porter.onnx_input": json.dumps(stated, sort_keys=True),
        "porter.onnx_bn_folding": json.dumps(folded, sort_keys=True),
    }


def _examine(graph: onnx.ModelProto, size: tuple[int, int] | None, path: Path) -> None:
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OutputError(
            "onnx/invalid", f"the ONNX checker refuses the graph ({error})", file=path
        ) from error
    if size is not None:
        require_static(graph)
