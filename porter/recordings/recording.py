"""What one framework computed: an input and the activation of every stage, in one safetensors file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from porter.core.checkpoint import Array
from porter.errors import ParityError
from porter.recordings.activation import Activation, ImageLayout, Statistics
from porter.recordings.fixed_point import decode, encode
from porter.recordings.sampling import SampleRule
from porter.transfer.atomic_file import write_whole

FORMAT = "porter-recording"
VERSION = 1
_METADATA_KEY = "porter.recording"
_COLUMNS = ("stages", "local")
_SHOWN = 4
# From the coarsest up, by bits of mantissa.
_PRECISIONS = ("bfloat16", "float16", "float32", "float64")


def narrowest(dtypes: Iterable[str]) -> str:
    """Return the element type with the least precision; one that is not known counts as the least."""
    return min(dtypes, key=lambda dtype: _PRECISIONS.index(dtype) if dtype in _PRECISIONS else -1)


@dataclass(frozen=True, slots=True)
class Run:
    """One forward pass.

    Attributes:
        dtype: Element type the network computed in, e.g. ``"float64"``.
        input: What the network was given.
        stages: Stage name to activation, in execution order; each stage ran on the output of the one before.
        local: Stage name to activation where the stage was fed with *the reference's* input of that
            stage instead. Empty in recordings of the reference itself.
    """

    dtype: str
    input: Activation
    stages: Mapping[str, Activation]
    local: Mapping[str, Activation] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size of the input (H, W); all axes but the first where the input is not an image."""
        shape = self.input.canonical_shape
        return shape[2:] if len(shape) == 4 else shape[1:]

    @property
    def name(self) -> str:
        """Identity of the run within a recording, e.g. ``"float64@224x225"``."""
        return f"{self.dtype}@{'x'.join(map(str, self.size))}"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a recording comes from: enough to make it again.

    Attributes:
        framework: ``"tensorflow"``, ``"torch"``, ``"onnx"`` or a user's own word.
        source: What was run, in words: builder and arguments, and the weights.
        versions: Package name to version.
        variant: Name of the table's variant, or None for a network in no table.
        table_digest: Digest of the expanded table the run was made from, or None.
        seed: Seed of weights and input, or None if both were given.
        threads: Threads the framework was held to, or None if it was left alone.
        created: ISO date, or None.
        notes: Departures from the plain network, one sentence each (e.g. a replaced constant).
        lacks_float64: Why the network cannot compute in float64, e.g. ``"LRN has no float64 kernel"``, or "".
    """

    framework: str
    source: str
    versions: Mapping[str, str] = field(default_factory=dict)
    variant: str | None = None
    table_digest: str | None = None
    seed: int | None = None
    threads: int | None = None
    created: str | None = None
    notes: tuple[str, ...] = ()
    lacks_float64: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Recording:
    """Everything one framework computed for a check: a run per element type and input size.

    Example:
        >>> images = np.random.default_rng(0).random((2, 8, 8, 3))
        >>> stages = {"stem": images[:, ::2, ::2], "logits": images.mean((1, 2))}
        >>> porter.Recording.from_arrays(images, stages, layout="NHWC", framework="numpy")
        Recording of numpy: arrays
          float64@8x8: batch 2, 2 stages (stem, logits)
    """

    provenance: Provenance
    runs: tuple[Run, ...]

    def __repr__(self) -> str:
        """Say in a few lines what was run, and which stages each run has."""
        lines = [f"Recording of {self.provenance.framework}: {self.provenance.source}"]
        for run in self.runs:
            names = ", ".join([*run.stages][:_SHOWN]) + ", ..." * (len(run.stages) > _SHOWN)
            batch = run.input.shape[0] if run.input.shape else 1
            lines.append(f"  {run.name}: batch {batch}, {len(run.stages)} stages ({names})")
        return "\n".join(lines)

    @classmethod
    def from_arrays(
        cls,
        inputs: Array,
        stages: Mapping[str, Array],
        *,
        layout: ImageLayout,
        framework: str,
        source: str = "arrays",
    ) -> Recording:
        """Make a recording of one run from arrays that the caller already has.

        Args:
            inputs: What the network was given; (N, C, H, W) or (N, H, W, C) as `layout` says.
            stages: Stage name to activation, in execution order.
            layout: Layout of every 4-D array.
            framework: Name of the framework, for the report.
            source: What was run, in words.
        """
        dtype = narrowest(str(values.dtype) for values in (stages or {"input": inputs}).values())
        wrapped = {name: Activation.full(values, layout) for name, values in stages.items()}
        run = Run(dtype, Activation.full(inputs, layout), wrapped)
        return cls(Provenance(framework, source), (run,))

    def run(self, name: str) -> Run | None:
        """The run called `name`, or None."""
        return next((run for run in self.runs if run.name == name), None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file; it appears whole or not at all.

        Raises:
            ParityError: two runs have the same element type and size.
            OutputError: the file cannot be written.
        """
        tensors, metadata = self.to_tensors()
        write_whole(path, save(tensors, metadata=metadata))

    def to_tensors(self) -> tuple[dict[str, Array], dict[str, str]]:
        """Return the tensors and the metadata of the safetensors file that `save` writes.

        Raises:
            ParityError: two runs have the same element type and size.
        """
        tensors: dict[str, Array] = {}
        runs = [_describe_run(run, tensors) for run in self.runs]
        if len({run["name"] for run in runs}) != len(runs):
            raise ParityError("recording/duplicate-run", "two runs have the same dtype and size")
        document = {
            "format": FORMAT,
            "version": VERSION,
            "provenance": asdict(self.provenance),
            "runs": runs,
        }
        return tensors, {_METADATA_KEY: json.dumps(document)}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read a file that `save` wrote.

        Raises:
            ParityError: the file is missing, damaged, no recording, or of a newer version.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                document = _document(path, file.metadata() or {})
                runs = tuple(_read_run(run, file) for run in document["runs"])
                stated = document["provenance"]
                return cls(Provenance(**{**stated, "notes": tuple(stated["notes"])}), runs)
        except (OSError, SafetensorError, LookupError, AttributeError, TypeError, ValueError) as error:
            raise ParityError(
                "recording/unreadable",
                f"not a readable recording ({type(error).__name__}: {error})",
                file=path,
            ) from error


def _describe_run(run: Run, tensors: dict[str, Array]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": run.name, "dtype": run.dtype}
    described["input"] = _describe(run.input, f"{run.name}/input", tensors)
    for column in _COLUMNS:
        activations: Mapping[str, Activation] = getattr(run, column)
        described[column] = {
            stage: _describe(activation, f"{run.name}/{column}/{stage}", tensors)
            for stage, activation in activations.items()
        }
    return described


def _describe(activation: Activation, key: str, tensors: dict[str, Array]) -> dict[str, Any]:
    described: dict[str, Any] = {"tensor": key, "shape": activation.shape, "layout": activation.layout}
    if activation.rule is None or activation.statistics is None:
        # safetensors.numpy writes the wrong bytes for arrays that are not C-contiguous.
        tensors[key] = np.asarray(activation.values, order="C")
    else:
        tensors[key] = encode(activation.values, activation.statistics.largest)
        described["rule"] = astuple(activation.rule)
        described["statistics"] = astuple(activation.statistics)
    return described


def _document(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> dict[str, Any]:
    document = json.loads(metadata.get(_METADATA_KEY, "{}"))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ParityError("recording/not-a-recording", "the file holds no recording", file=path)
    if document["version"] != VERSION:
        raise ParityError(
            "recording/version",
            "the recording has another format version",
            file=path,
            expected=VERSION,
            found=document["version"],
        )
    return document


def _read_run(described: Mapping[str, Any], file: Any) -> Run:
    columns = {
        column: {stage: _read(entry, file) for stage, entry in described[column].items()}
        for column in _COLUMNS
    }
    if not described["dtype"].isidentifier():
        raise ValueError(f"{described['dtype']!r} is no element type")
    return Run(described["dtype"], _read(described["input"], file), **columns)


def _read(described: Mapping[str, Any], file: Any) -> Activation:
    values = file.get_tensor(described["tensor"])
    shape = tuple(int(length) for length in described["shape"])
    if "rule" in described:
        rule, statistics = SampleRule(*described["rule"]), Statistics(*described["statistics"])
        kept = (min(rule.count, math.prod(shape)),)
        values = _of_shape(kept, decode(values, statistics.largest), described)
        return Activation(values, shape, described["layout"], rule, statistics)
    return Activation(_of_shape(shape, values, described), shape, described["layout"])


def _of_shape(shape: tuple[int, ...], values: Array, described: Mapping[str, Any]) -> Array:
    if values.shape != shape:
        raise ValueError(f"{described['tensor']} has shape {values.shape}, its description says {shape}")
    return values
