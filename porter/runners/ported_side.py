"""A ported file as it is on disk: read, fitted to its network, held against a fresh port of its source."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from porter.core.checkpoint import Checkpoint
from porter.diagnosis.ported_tensors import StoredTensor, Values, explain, rounding
from porter.errors import OutputError, PlanError
from porter.loading.load_model import build_network
from porter.loading.ported_file import Ported, ported_files, read_metadata, unreadable
from porter.outputs.folded import folded_tensors
from porter.outputs.metadata import describe
from porter.planning.plan import Plan
from porter.runners.job import Job
from porter.transfer.transfer import transfer

_SHOWN = 5
State = Mapping[str, torch.Tensor]


class OnDisk(NamedTuple):
    """A file that was read.

    Attributes:
        state: Its tensors.
        ported: What it says of itself; None if it says nothing.
    """

    state: State
    ported: Ported | None


class Prepared(NamedTuple):
    """What is run of a file.

    Attributes:
        model: The file's network.
        files: The weights for each type that is computed in.
        notes: What the reader of a report should know of the file.
    """

    model: torch.nn.Module
    files: Mapping[str, Path]
    notes: tuple[str, ...]


def prepare(checkpoint: Checkpoint, made: Plan, job: Job, folder: Path) -> Prepared:
    """Read the job's file, compare its tensors with a fresh port and make both forms that are run.

    float32 runs use the file's values. In float64 a tensor that is exactly a rounding of the port's values
    is run with those values: that it is such a rounding is proved bit by bit, and the stages then need no
    looser tolerance. Every other tensor is run as it is stored.

    Raises:
        OutputError: the file cannot be read or does not fit the network.
    """
    path = Path(str(job.ported))
    found = read(path)
    wide = _port(checkpoint, made, folder / "planned.safetensors")
    described = found.ported or read_metadata(wide)
    planned = folded_tensors(wide)[0] if described.folded else load_wide(wide)
    _require_fit(path, found.state, {name: values.shape for name, values in planned.items()})
    model = build_network(described).eval()
    if described.folded:
        from porter.networks.bn_folding import fold_batch_norm

        fold_batch_norm(model)
    _require_fit(path, found.state, {name: tuple(t.shape) for name, t in model.state_dict().items()})
    stored = {name: _stored(tensor) for name, tensor in found.state.items() if tensor.is_floating_point()}
    kinds = {name: rounding(planned[name], tensor) for name, tensor in stored.items()}
    order = {each.target: number for number, each in enumerate(made.assignments)}
    named = sorted(kinds, key=lambda name: order.get(name, len(order)))
    differing = [name for name in named if kinds[name] is None]
    differences = explain(stored, planned, differing, lambda: _other_weights(checkpoint, made, job, folder))
    described_differences = [each._asdict() for each in differences]
    Path(job.ported_out).write_text(json.dumps(described_differences))
    exact = {n: torch.from_numpy(np.array(planned[n])) for n, kind in kinds.items() if kind is not None}
    files = {"float32": folder / "as_stored.safetensors", "float64": folder / "unrounded.safetensors"}
    save_file({name: tensor.contiguous() for name, tensor in found.state.items()}, files["float32"])
    save_file({n: t.contiguous() for n, t in ({**found.state} | exact).items()}, files["float64"])
    return Prepared(model, files, tuple(_notes(path, found.ported, made, kinds, stored)))


def read(path: Path) -> OnDisk:
    """Read a safetensors file, a folder of shards, or a state dict that PyTorch saved.

    Raises:
        OutputError: it cannot be read, or holds something else.
    """
    if path.suffix in (".pth", ".pt", ".bin"):
        return OnDisk(_state_dict(path), None)
    state: dict[str, torch.Tensor] = {}
    says: Mapping[str, str] = {}
    for file in ported_files(path):
        try:
            with safe_open(file, framework="numpy") as opened:
                says = opened.metadata() or {}
            state |= load_file(file)
        except (OSError, SafetensorError) as error:
            raise unreadable(file, error) from None
    is_described = any(key.startswith("porter.") for key in says)
    return OnDisk(state, read_metadata(path) if is_described else None)


def _state_dict(path: Path) -> State:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise OutputError(
            "load/unreadable", f"cannot be read as weights of PyTorch ({reason})", file=path
        ) from None
    if isinstance(stored, dict) and isinstance(stored.get("state_dict"), dict):
        stored = stored["state_dict"]
    if not isinstance(stored, dict) or not all(isinstance(t, torch.Tensor) for t in stored.values()):
        raise OutputError("load/no-state-dict", "holds no state dict, which is tensors by name", file=path)
    return {str(name): tensor.detach() for name, tensor in stored.items()}


def _port(checkpoint: Checkpoint, made: Plan, out: Path) -> Path:
    metadata = describe(made, checkpoint.format, None)
    transfer(checkpoint, made.assignments, out, dtype="float64", metadata=metadata)
    return out


def load_wide(path: Path) -> dict[str, Values]:
    """Return every tensor of a file as float64."""
    return {name: tensor.double().numpy() for name, tensor in load_file(path).items()}


def _other_weights(
    checkpoint: Checkpoint, made: Plan, job: Job, folder: Path
) -> tuple[str, Mapping[str, Values]]:
    """Return what a port of the averages holds if the raw weights are chosen, or the other way round."""
    code = "raw-for-average" if made.weights == "ema" else "average-for-raw"
    try:
        other = job.with_weights("raw" if made.weights == "ema" else "ema").plan(checkpoint)
    except PlanError:  # the source has only one kind
        return code, {}
    return code, load_wide(_port(checkpoint, other, folder / "other.safetensors"))


def _stored(tensor: torch.Tensor) -> StoredTensor:
    return StoredTensor(tensor.double().numpy(), str(tensor.dtype).removeprefix("torch."))


def _require_fit(path: Path, state: State, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a file whose names or shapes are not those of the network.

    Raises:
        OutputError: with the first five of what does not fit.
    """
    wrong = [
        *(f"missing: {name}" for name in wanted if name not in state),
        *(f"unexpected: {name}" for name in state if name not in wanted),
        *(
            f"{name} is {tuple(state[name].shape)}, not {tuple(shape)}"
            for name, shape in wanted.items()
            if name in state and tuple(state[name].shape) != tuple(shape)
        ),
    ]
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise OutputError(
            "check/does-not-fit",
            f"{len(wrong)} tensors are not those of the network that the checkpoint is ported to",
            file=path,
            hint="Give the options that the file was ported with; the names must be timm's.",
            details=[*wrong[:_SHOWN], *more],
        )
    strange = [name for name, t in state.items() if t.is_floating_point() and _type(t) not in _TYPES]
    if strange:
        raise OutputError("check/element-type", "the type is not known", file=path, tensor=strange[0])


_TYPES = ("float64", "float32", "float16", "bfloat16")


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _notes(
    path: Path,
    ported: Ported | None,
    made: Plan,
    kinds: Mapping[str, str | None],
    stored: Mapping[str, StoredTensor],
) -> Iterator[str]:
    equal = sum(kind is not None for kind in kinds.values())
    yield f"PyTorch ran {path.name} as it is on disk; {equal} of {len(kinds)} tensors are the source's"
    if ported is None:
        yield f"{path.name} says nothing of its network: the planned one was run"
    else:
        yield from _other_arguments(ported, made)
    narrow = Counter(kind for kind in kinds.values() if kind in ("float16", "bfloat16"))
    for kind, count in sorted(narrow.items()):
        wider = sum(kinds[name] == kind and tensor.dtype != kind for name, tensor in stored.items())
        stored_as = f", {wider} of them stored in a wider type" if wider else ""
        yield (
            f"{count} tensors are exactly the source's, rounded to {kind}{stored_as}; float64 ran them "
            "unrounded, and float32 cases show the rounding"
        )


def _other_arguments(ported: Ported, made: Plan) -> Iterator[str]:
    names: Sequence[str] = sorted({*ported.arguments, *made.arguments})
    for name in names:
        says, planned = ported.arguments.get(name), made.arguments.get(name)
        if json.dumps(says) != json.dumps(planned):
            yield f"the file's metadata say {name}={says!r}, the port of the source {planned!r}"
    if ported.model != made.variant.target.name:
        yield f"the file's metadata name {ported.model}, the port of the source {made.variant.target.name}"
