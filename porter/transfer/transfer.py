"""Moving the values of a plan from a checkpoint to a safetensors file, as a stream."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from porter.core.assignments import Assignment
from porter.core.checkpoint import Checkpoint, TensorSpec
from porter.core.dtypes import BY_NAME, DType
from porter.errors import OutputError, PlanError
from porter.transfer.float_conversion import converted_dtype, is_convertible, output_dtype
from porter.transfer.moving import Mover, Progress, Writer
from porter.transfer.safetensors_writer import SafetensorsWriter
from porter.transfer.source_hashes import SourceFile, SourceHashes
from porter.transfer.value_checks import SuspectValues

__all__ = ["Progress", "TransferReport", "Writing", "transfer"]


OpenWriter = Callable[[str | os.PathLike[str], list[tuple[str, TensorSpec]], dict[str, str]], Writer]


class Writing(NamedTuple):
    """How a port is written, beside what it holds.

    Attributes:
        progress: Called with bytes written and bytes in all, as the work goes on.
        hashes: The digests of the checkpoint's files, if they were begun before.
        command: Gives the command line that asked for the port, without folders; for a model card.
    """

    progress: Progress | None = None
    hashes: SourceHashes | None = None
    command: Callable[[], str] | None = None


QUIETLY = Writing()


class TransferReport(NamedTuple):
    """What was written.

    Attributes:
        path: The file.
        nbytes: Its length in bytes.
        tensors: Number of tensors in it.
        seconds: Wall-clock time from start to commit.
        findings: Values that deserve a look, in file order. They were written as they are.
        sources: Name, size and SHA-256 of every source file.
    """

    path: Path
    nbytes: int
    tensors: int
    seconds: float
    findings: tuple[SuspectValues, ...]
    sources: tuple[SourceFile, ...]


def transfer(
    checkpoint: Checkpoint,
    assignments: Sequence[Assignment],
    out: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    metadata: Mapping[str, str] | None = None,
    writing: Writing = QUIETLY,
    open_writer: OpenWriter = SafetensorsWriter,
) -> TransferReport:
    """Write every assignment to `out`, which appears whole or not at all.

    Args:
        checkpoint: The open source.
        assignments: One per target tensor.
        out: The safetensors file to write.
        dtype: ``"float64"``, ``"float32"``, ``"float16"`` or ``"bfloat16"`` converts floating-point tensors,
            rounding to nearest with ties to even; None keeps the stored type.
        metadata: Strings for the header. The entry ``porter.source_files`` is added: a JSON list with name,
            size and sha256 of each source file.
        writing: Who hears of the progress, and digests that the caller began.
        open_writer: Called with `out`, the specs and the metadata: what to write with.

    Returns:
        Sizes, digests, and the values that deserve a look (NaN, infinities, negative variances, overflow).

    Raises:
        OutputError: `out` cannot be written, or cannot hold these tensors.
        CheckpointError: the source is damaged or changed meanwhile.
        PlanError: an assignment's parts do not make up its target.
    """
    started = time.perf_counter()
    wanted = None if dtype is None else output_dtype(dtype)
    refuse_source(Path(out), checkpoint)
    specs = [(item.target, _output_spec(item, wanted, out)) for item in assignments]
    with (
        writing.hashes or SourceHashes(checkpoint.files) as digests,
        open_writer(out, specs, _with_sources(metadata, digests.placeholder())) as writer,
    ):
        findings = Mover(checkpoint, writer, wanted, writing.progress).move(assignments)
        sources = digests.result()
        writer.replace_metadata(_with_sources(metadata, sources))
        writer.commit()
    return TransferReport(
        Path(out), writer.nbytes, len(specs), time.perf_counter() - started, findings, sources
    )


def _output_spec(item: Assignment, wanted: DType | None, out: str | os.PathLike[str]) -> TensorSpec:
    if item.constant is not None:
        _require_shape(item, ())
        return TensorSpec(BY_NAME["int64"], ())
    if item.fill is not None:
        return TensorSpec(wanted or BY_NAME["float32"], item.shape)
    if not item.parts:
        raise PlanError("plan/no-source", "nothing is assigned to this tensor", tensor=item.target)
    _require_shape(item, _joined_shape([part.target_shape for part in item.parts]))
    if item.subtract:
        _require_shape(item, _joined_shape([part.target_shape for part in item.subtract]))
    stored = {part.spec.dtype.name: part.spec.dtype for part in item.parts}
    computed = bool(item.offset or item.subtract) or any(part.scale != 1.0 for part in item.parts)
    changed = [d for d in stored.values() if computed or (wanted is not None and d.is_float)]
    changed += [part.spec.dtype for part in item.subtract]
    for source in changed:
        if not is_convertible(source):
            raise OutputError(
                "output/conversion",
                f"{source.name} values cannot be converted",
                file=out,
                tensor=item.target,
                hint="Port without an output type to keep them as they are.",
            )
    if len({converted_dtype(source, wanted).name for source in stored.values()}) > 1:
        raise OutputError(
            "output/mixed-dtypes",
            "the parts of this tensor are stored in different types",
            file=out,
            tensor=item.target,
            found=", ".join(sorted(stored)),
            hint="Choose one output type for all.",
        )
    return TensorSpec(converted_dtype(item.parts[0].spec.dtype, wanted), item.shape)


def _joined_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the shape of the concatenation along axis 0, or None if the others differ."""
    if len(shapes) == 1:
        return shapes[0]
    if () in shapes or len({shape[1:] for shape in shapes}) > 1:
        return None
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _require_shape(item: Assignment, found: tuple[int, ...] | None) -> None:
    if found != item.shape:
        raise PlanError(
            "plan/shape",
            "the sources do not make up this tensor",
            tensor=item.target,
            expected=item.shape,
            found=found if found is not None else [part.target_shape for part in item.parts],
        )


def _with_sources(metadata: Mapping[str, str] | None, sources: Sequence[SourceFile]) -> dict[str, str]:
    described = json.dumps([source._asdict() for source in sources], separators=(",", ":"))
    return {**(metadata or {}), "porter.source_files": described}


def refuse_source(out: Path, checkpoint: Checkpoint) -> None:
    """Refuse to replace a file of the source.

    Raises:
        OutputError: `out` is one.
    """
    for file in checkpoint.files:
        try:
            same = out.samefile(file)
        except (OSError, ValueError):
            continue  # one of them does not exist, so they are not the same
        if same:
            raise OutputError(
                "output/is-source",
                "is a file of the checkpoint itself",
                file=out,
                hint="Give another name for the output.",
            )
