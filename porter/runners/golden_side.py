"""A ported file against the golden of its source: read, fitted and told apart without the checkpoint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from porter.core.checkpoint import Array
from porter.diagnosis.ported_tensors import StoredTensor, explain_by_digests
from porter.errors import OutputError, ParityError
from porter.loading.load_model import build_network
from porter.loading.ported_file import Ported, described
from porter.outputs.renaming.restoring import restoring
from porter.outputs.renaming.target_table import target_table
from porter.recordings.own_golden import OwnGolden
from porter.recordings.tensor_digests import unit_roundoff
from porter.runners.job import Job
from porter.runners.ported_reading import OnDisk, listed, misfits, read, require_known_types, type_of

State = dict[str, torch.Tensor]


class Alone(NamedTuple):
    """What is run of a file.

    Attributes:
        golden: What it is held against.
        model: The file's network, in float64.
        state: Its weights.
        disturbed: The same, with every rounded tensor rounded once more at random; None if none is rounded.
        flipped: Whether the file's network takes the colours in the other order than the golden's.
        notes: What the reader of a report should know of the file.
    """

    golden: OwnGolden
    model: torch.nn.Module
    state: State
    disturbed: State | None
    flipped: bool
    notes: tuple[str, ...]


def prepare_alone(job: Job) -> Alone:
    """Read the job's file, compare its tensors with the golden's digests and make ready what is run.

    Raises:
        OutputError: the file cannot be read, or is no port to the golden's network.
        ParityError: the golden cannot be read, or is of a port by other options.
    """
    path = Path(str(job.ported))
    golden = OwnGolden.load(Path(str(job.golden)))
    recorded = described(golden.port, Path(str(job.golden)))
    found, judged = _in_timm(read(path, job.target), golden, recorded, job.target)
    says = found.ported or recorded
    _require_same_network(path, says, recorded)
    _require_fit(path, found, golden, says)
    model = build_network(says, trust_table=job.trust_table, file=path).eval()
    if says.folded:
        from porter.networks.bn_folding import fold_batch_norm

        fold_batch_norm(model)
        _require_folded_fit(path, found, model)
    counters = frozenset(n for n, t in model.state_dict().items() if not t.is_floating_point())
    require_known_types(path, found.state, counters)
    stored = found.floating()
    flipped = says.channels != recorded.channels
    if says.folded:
        # Each is the rounding of what only the checkpoint gives.
        judged = {name: (tensor.dtype, 0.0) for name, tensor in stored.items()}
    kinds = _kinds(golden, stored, judged, flipped=flipped)
    differing = [name for name in golden.tensors.shapes if name in kinds and kinds[name] is None]
    differences = explain_by_digests(stored, golden.tensors, differing)
    Path(job.ported_out).write_text(json.dumps([each._asdict() for each in differences]), encoding="utf-8")
    state = {n: t.double() if t.is_floating_point() else t for n, t in found.state.items()}
    disturbed = state | {
        name: torch.from_numpy(_disturbed(name, stored[name], kind, judged.get(name, ("", 0.0))[1]))
        for name, kind in kinds.items()
        if kind not in (None, "float64")
    }
    is_rounded = any(kind not in (None, "float64") for kind in kinds.values())
    notes = (*found.notes, *_notes(path, found, recorded, kinds))
    return Alone(golden, model.double(), state, disturbed if is_rounded else None, flipped, notes)


def _in_timm(
    found: OnDisk, golden: OwnGolden, recorded: Ported, target: str
) -> tuple[OnDisk, dict[str, tuple[str, float]]]:
    """Return the file's tensors under timm's names.

    With them come those whose rounding cannot be told, because a number was added before it: their type in
    the file, and that number.

    Raises:
        OutputError: the names are not those of the target.
        PlanError: the target has no such network.
    """
    if target in ("timm", "hub-folder"):
        return found, {}
    names = [*golden.tensors.shapes, *golden.counters]
    variances = [name for name in names if name.endswith(".running_var")]
    bn_eps = json.loads(golden.port["porter.bn_eps"])["value"]
    back = restoring(target_table(target, recorded.model), names, variances, bn_eps)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.state.items()}
    wrong = misfits(found.state, {name: shapes.get(name, ()) for name in back.timm_names})
    if wrong:
        raise OutputError(
            "check/does-not-fit",
            f"{len(wrong)} names are not those of {target}'s {recorded.model}",
            details=listed(wrong),
        )
    wide = {n: (t.double() if t.is_floating_point() else t).numpy() for n, t in found.state.items()}
    state = {name: torch.from_numpy(np.array(back.restore(name, wide))) for name in names}
    shifted = variances if back.shift else []
    types = {name: type_of(found.state[back.renamed[name].names[0]]) for name in shifted}
    return OnDisk(state, None, found.notes), {n: (dtype, abs(back.shift)) for n, dtype in types.items()}


def _require_same_network(path: Path, says: Ported, recorded: Ported) -> None:
    if says.model != recorded.model:
        raise ParityError(
            "golden/other-network",
            "is a port to another network than the golden's",
            file=path,
            expected=recorded.model,
            found=says.model,
        )


# Metadata that state a choice about a port: what it is called, and what the golden is recorded with.
_CHOICES = {"porter.classes": ("--classes", "all")}


def _require_fit(path: Path, found: OnDisk, golden: OwnGolden, says: Ported) -> None:
    """Refuse a port by options that give other stages, and a file of something else."""
    for key, (option, usual) in _CHOICES.items():
        chosen, recorded = says.metadata.get(key, usual), golden.port.get(key, usual)
        if chosen != recorded and found.ported is not None:
            raise ParityError(
                "golden/other-options",
                f"was ported with {option} {chosen}, and the golden is of a port with {option} {recorded}",
                file=path,
                hint=f"Record a golden with {option} {chosen}.",
            )
    wanted = {**golden.tensors.shapes, **dict.fromkeys(golden.counters, ())}
    wrong = () if says.folded else misfits(found.state, wanted)
    if wrong:
        raise OutputError(
            "check/does-not-fit",
            f"{len(wrong)} tensors are not those of the port that the golden is of",
            file=path,
            hint="A port with other classes, or without the classifier, needs a golden recorded with those "
            "options; --target says that names are another library's.",
            details=listed(wrong),
        )


def _require_folded_fit(path: Path, found: OnDisk, model: torch.nn.Module) -> None:
    wrong = misfits(found.state, {name: tuple(t.shape) for name, t in model.state_dict().items()})
    if wrong:
        raise OutputError(
            "check/does-not-fit",
            f"{len(wrong)} tensors are not those of the folded network",
            file=path,
            details=listed(wrong),
        )


def _kinds(
    golden: OwnGolden,
    stored: Mapping[str, StoredTensor],
    judged: Mapping[str, tuple[str, float]],
    *,
    flipped: bool,
) -> dict[str, str | None]:
    """Return the type whose rounding of the golden's port each tensor is; None if it is something else.

    Tensors in `judged` are taken to be roundings to the type that stands there.
    """
    kinds: dict[str, str | None] = {}
    for name, tensor in stored.items():
        kind = judged[name][0] if name in judged else golden.tensors.rounding(name, tensor.values)
        if kind is None and flipped and tensor.values.ndim == 4:
            kind = golden.tensors.rounding(name, tensor.values[:, ::-1])
        kinds[name] = kind
    return kinds


def _disturbed(name: str, tensor: StoredTensor, kind: str | None, added: float) -> Array:
    """Return the values with an error as large as rounding them has made, drawn by the tensor's name.

    Args:
        name: The tensor's name.
        tensor: Its values.
        kind: The type that they were rounded to.
        added: What had been added to them before.
    """
    relative, absolute = unit_roundoff(str(kind))
    values = tensor.values
    draws = np.random.default_rng(list(name.encode())).uniform(-1.0, 1.0, values.shape)
    error = np.maximum((np.abs(values) + added) * relative, absolute)
    moved = values + draws * error * (values != 0)
    # A variance that rounding had made negative would be another network.
    return np.where(np.sign(moved) == np.sign(values), moved, values)


def _notes(path: Path, found: OnDisk, recorded: Ported, kinds: Mapping[str, str | None]) -> Iterator[str]:
    if found.ported is not None and found.ported.folded:
        yield (
            f"PyTorch ran {path.name} as it is on disk; its norms are folded, so its tensors cannot be told "
            "one by one: it is judged by what it computes"
        )
    else:
        equal = sum(kind is not None for kind in kinds.values())
        yield (
            f"PyTorch ran {path.name} as it is on disk; {equal} of {len(kinds)} tensors are those of the "
            "golden's port"
        )
    if found.ported is None:
        yield f"{path.name} says nothing of its network: the golden's was run"
    else:
        yield from _other_weights(found.ported, recorded)
    narrow = Counter(kind for kind in kinds.values() if kind not in (None, "float64"))
    for kind, count in sorted(narrow.items(), key=str):
        yield (
            f"{count} tensors are rounded to {kind}: stages may differ by 8 times what rounding them once "
            "more changes"
        )


def _other_weights(says: Ported, recorded: Ported) -> Iterator[str]:
    kinds = {'"raw"': "the weights as trained", '"ema"': "moving averages"}
    own, other = (
        next((words for word, words in kinds.items() if word in each.metadata.get("porter.weights", "")), "")
        for each in (says, recorded)
    )
    if own != other and own:
        yield f"the file's metadata say that it holds {own}, the golden was recorded with {other}"
