"""A ported file as it is on disk: read, fitted to its network, held against a fresh port of its source."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from porter.core.assignments import Assignment
from porter.core.checkpoint import Checkpoint
from porter.diagnosis.ported_tensors import StoredTensor, Values, explain, rounding
from porter.errors import OutputError, PlanError
from porter.loading.load_model import build_network
from porter.loading.ported_file import Ported, read_metadata
from porter.outputs.folded import folded_tensors
from porter.outputs.metadata import describe
from porter.outputs.renaming.aim import Aim, aim
from porter.outputs.renaming.restoring import Restoring, restoring
from porter.planning.plan import Plan
from porter.runners.job import Job
from porter.runners.ported_reading import (
    OnDisk,
    State,
    listed,
    misfits,
    read,
    require_known_types,
)
from porter.transfer.transfer import transfer


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


class _Port:
    """A fresh port of the source, unrounded: under timm's names, and under those of the file.

    Args:
        checkpoint: The open source.
        port_plan: The plan.
        target: The library under whose names the file is.
        out: Where the port may be written for a while.
    """

    def __init__(self, checkpoint: Checkpoint, port_plan: Plan, target: str, out: Path) -> None:
        self.metadata_file = _written(checkpoint, port_plan, port_plan.assignments, out)
        self._checkpoint, self._plan, self._folder = checkpoint, port_plan, out.parent
        self.aim: Aim | None = None
        self._back: Restoring | None = None
        self.assignments: Sequence[Assignment] = port_plan.assignments
        if target not in ("timm", "hub-folder"):
            self.aim = aim(port_plan, target)
            self.assignments = self.aim.assignments
            variances = {each.target for each in port_plan.assignments if each.is_variance}
            names = [each.target for each in port_plan.assignments]
            self._back = restoring(self.aim.table, names, variances, port_plan.bn_eps)

    def load(self, *, folded: bool) -> tuple[dict[str, Values], dict[str, Values]]:
        """Return the tensors under timm's names, and under the file's."""
        own = folded_tensors(self.metadata_file)[0] if folded else load_wide(self.metadata_file)
        if self.aim is None:
            return own, own
        renamed = self._folder / "renamed.safetensors"
        return own, load_wide(_written(self._checkpoint, self._plan, self.assignments, renamed))

    def timm_name(self, name: str) -> str:
        """Return timm's name of a tensor of the file."""
        return name if self._back is None else self._back.timm_names[name]

    def in_timm(self, state: State) -> dict[str, torch.Tensor]:
        """Return the file's tensors under timm's names and in timm's shapes."""
        if self._back is None:
            return dict(state)
        wide = {n: (t.double() if t.is_floating_point() else t).numpy() for n, t in state.items()}
        return {
            name: torch.from_numpy(np.array(self._back.restore(name, wide))) for name in self._back.renamed
        }


def prepare(checkpoint: Checkpoint, port_plan: Plan, job: Job, folder: Path) -> Prepared:
    """Read the job's file, compare its tensors with a fresh port and make both forms that are run.

    float32 runs use the file's values. In float64 a tensor that is exactly a rounding of the port's values
    is run with those values: that it is such a rounding is proved bit by bit, and the stages then need no
    looser tolerance. Every other tensor is run as it is stored.

    Raises:
        OutputError: the file cannot be read or does not fit the network.
        PlanError: the library that it is said to be for has no such network.
    """
    path = Path(str(job.ported))
    found = read(path, job.target)
    port = _Port(checkpoint, port_plan, job.target, folder / "planned.safetensors")
    described = found.ported or read_metadata(port.metadata_file)
    own, planned = port.load(folded=described.folded)
    if found.ported is not None and found.ported.model != port_plan.variant.target.name:
        _require_same_names(path, found, planned, port_plan.variant.target.name)
    _require_fit(path, found.state, {name: values.shape for name, values in planned.items()}, job.target)
    model = build_network(described, trust_table=job.trust_table, file=path).eval()
    if described.folded:
        from porter.networks.bn_folding import fold_batch_norm

        fold_batch_norm(model)
    state = port.in_timm(found.state)
    _require_fit(path, state, {name: tuple(t.shape) for name, t in model.state_dict().items()}, job.target)
    counters = frozenset(each.target for each in port.assignments if each.constant is not None)
    require_known_types(path, found.state, counters)
    stored = found.floating()
    kinds = {name: rounding(planned[name], tensor) for name, tensor in stored.items()}
    order = {each.target: number for number, each in enumerate(port.assignments)}
    named = sorted(kinds, key=lambda name: order.get(name, len(order)))
    differing = [name for name in named if kinds[name] is None]
    others = _OtherWeights(checkpoint, port_plan, job, folder)
    differences = [
        each._replace(timm=port.timm_name(each.tensor))
        for each in explain(stored, planned, differing, others.read)
    ]
    Path(job.ported_out).write_text(json.dumps([each._asdict() for each in differences]), encoding="utf-8")
    wrong = {port.timm_name(name) for name in differing}
    exact = {n: torch.from_numpy(np.array(own[n])) for n in state if n not in wrong and n in own}
    files = {"float32": folder / "as_stored.safetensors", "float64": folder / "unrounded.safetensors"}
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, files["float32"])
    save_file({n: t.contiguous() for n, t in (state | exact).items()}, files["float64"])
    said = (*found.notes, *_notes(path, found.ported, port_plan, kinds, stored), *_of_target(path, port.aim))
    return Prepared(model, files, said)


def _written(checkpoint: Checkpoint, port_plan: Plan, assignments: Sequence[Assignment], out: Path) -> Path:
    metadata = describe(port_plan, checkpoint.format, None)
    transfer(checkpoint, assignments, out, dtype="float64", metadata=metadata)
    return out


def load_wide(path: Path) -> dict[str, Values]:
    """Return every tensor of a file as float64."""
    return {name: tensor.double().numpy() for name, tensor in load_file(path).items()}


class _OtherWeights(NamedTuple):
    """The averages if the raw weights are chosen, or the other way round."""

    checkpoint: Checkpoint
    port_plan: Plan
    job: Job
    folder: Path

    def read(self) -> tuple[str, Mapping[str, Values]]:
        """Return a port of them under the file's names, with a code for having taken them."""
        code = "raw-for-average" if self.port_plan.weights == "ema" else "average-for-raw"
        try:
            other = self.job.with_weights("raw" if self.port_plan.weights == "ema" else "ema")
            port = _Port(
                self.checkpoint,
                other.plan(self.checkpoint),
                self.job.target,
                self.folder / "other.safetensors",
            )
        except PlanError:  # the source has only one kind
            return code, {}
        return code, port.load(folded=False)[1]


def _require_same_names(path: Path, found: OnDisk, planned: Mapping[str, Values], wanted: str) -> None:
    """Refuse a port to another network, unless it is one with the same tensors.

    Raises:
        OutputError: it is another one.
    """
    if found.ported is not None and set(found.state) != set(planned):
        raise OutputError(
            "check/other-network",
            "is a port to another network than the checkpoint's",
            file=path,
            expected=wanted,
            found=f"{found.ported.model} ({found.ported.variant})",
        )


def _require_fit(path: Path, state: State, wanted: Mapping[str, tuple[int, ...]], target: str) -> None:
    """Refuse a file whose names or shapes are not those of the network.

    Raises:
        OutputError: with the first five of what does not fit.
    """
    wrong = misfits(state, wanted)
    if not wrong:
        return
    if len(set(state) & set(wanted)) < len(wanted) // 2:
        hint = f"Its names are not {target}'s: --target says under whose names it was written."
    elif len(wrong) == sum(line.startswith("unexpected: ") for line in wrong):
        hint = "Remove what does not belong to the network, or name the file of another network."
    else:
        hint = "Give the options that the file was ported with, and the checkpoint that it came from."
    raise OutputError(
        "check/does-not-fit",
        f"{len(wrong)} tensors are not those of the network that the checkpoint is ported to",
        file=path,
        hint=hint,
        details=listed(wrong),
    )


def _of_target(path: Path, aimed: Aim | None) -> Iterator[str]:
    """Yield what a person should know of another library's network, and what config.json does not state.

    Raises:
        OutputError: it states something else than the port: the library would build another network.
    """
    if aimed is None:
        return
    yield f"timm's network was run, with the weights read back from the names of {aimed.table.title}"
    yield from aimed.notes
    file = path / "config.json"
    if not file.is_file():
        return
    try:
        says = dict(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise OutputError("load/unreadable", f"cannot be read ({error})", file=file) from None
    wanted = json.loads(json.dumps(dict(aimed.config)))
    for name, value in wanted.items():
        if name in says and says[name] != value and name != "architectures":
            raise OutputError(
                "check/other-config",
                f"{name} is not what the port of the source needs",
                file=file,
                expected=repr(value),
                found=repr(says[name]),
            )
    missing = [name for name in wanted if name not in says]
    if missing:
        yield f"config.json does not state {', '.join(missing)}: the defaults of {aimed.table.target} decide"


def _notes(
    path: Path,
    ported: Ported | None,
    port_plan: Plan,
    kinds: Mapping[str, str | None],
    stored: Mapping[str, StoredTensor],
) -> Iterator[str]:
    equal = sum(kind is not None for kind in kinds.values())
    yield f"PyTorch ran {path.name} as it is on disk; {equal} of {len(kinds)} tensors are the source's"
    if ported is None:
        yield f"{path.name} says nothing of its network: the planned one was run"
    else:
        yield from _other_arguments(ported, port_plan)
    narrow = Counter(kind for kind in kinds.values() if kind in ("float16", "bfloat16"))
    for kind, count in sorted(narrow.items()):
        wider = sum(kinds[name] == kind and tensor.dtype != kind for name, tensor in stored.items())
        stored_as = f", {wider} of them stored in a wider type" if wider else ""
        yield (
            f"{count} tensors are exactly the source's, rounded to {kind}{stored_as}; float64 ran them "
            "unrounded, and float32 cases show the rounding"
        )


def _other_arguments(ported: Ported, port_plan: Plan) -> Iterator[str]:
    names: Sequence[str] = sorted({*ported.arguments, *port_plan.arguments})
    for name in names:
        says, planned = ported.arguments.get(name), port_plan.arguments.get(name)
        if json.dumps(says) != json.dumps(planned):
            yield f"the file's metadata say {name}={says!r}, the port of the source {planned!r}"
    target = port_plan.variant.target.name
    if ported.model != target:
        yield f"the file's metadata name {ported.model}, the port of the source {target}"
