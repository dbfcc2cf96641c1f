"""Reading a file of PyTorch weights as it is on disk, whoever wrote it; no code of it is run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from porter.diagnosis.ported_tensors import StoredTensor
from porter.errors import OutputError
from porter.loading.ported_file import Ported, ported_files, read_metadata, unreadable

State = Mapping[str, torch.Tensor]

_SHOWN = 5
_TYPES = ("float64", "float32", "float16", "bfloat16")
# Where training scripts keep the weights among other things; averages first, as timm's own loader takes them.
_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")
# What torch's wrappers put before every name.
_WRAPPERS = ("module.", "_orig_mod.")
_ALONE = "Save the weights alone: torch.save(model.state_dict(), FILE)."


class OnDisk(NamedTuple):
    """A file that was read.

    Attributes:
        state: Its tensors.
        ported: What it says of itself; None if it says nothing, or was written for another library.
        notes: How it was read, if that is not plain.
    """

    state: State
    ported: Ported | None
    notes: tuple[str, ...] = ()

    def floating(self) -> dict[str, StoredTensor]:
        """Return the floating-point tensors, widened."""
        return {
            name: StoredTensor(tensor.double().numpy(), type_of(tensor))
            for name, tensor in self.state.items()
            if tensor.is_floating_point()
        }


def type_of(tensor: torch.Tensor) -> str:
    """Return the name of a tensor's element type."""
    return str(tensor.dtype).removeprefix("torch.")


def read(path: Path, target: str) -> OnDisk:
    """Read a safetensors file, a folder of shards, or a state dict that PyTorch saved.

    Args:
        path: The file or folder.
        target: The library under whose names it was written.

    Raises:
        OutputError: it cannot be read, holds something else, or says that it is for another library.
    """
    if path.suffix in (".pth", ".pt", ".bin", ".tar", ".ckpt"):
        return _state_dict(path)
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
    _require_library(path, says, target, is_described=is_described)
    named_by_timm = target in ("timm", "hub-folder")
    ported = read_metadata(path) if is_described and named_by_timm else None
    if ported is not None and path.is_dir():
        _require_config(path / "config.json", ported)
    return OnDisk(state, ported)


def _require_config(file: Path, ported: Ported) -> None:
    """Refuse a hub folder whose config.json, by which timm builds the network, is not that of its weights.

    Raises:
        OutputError: it states another network, or cannot be read.
    """
    if not file.is_file():
        return
    try:
        says = json.loads(file.read_bytes())
        states = {name: says[name] for name in ("architecture", "model_args") if name in says}
    except (OSError, ValueError, TypeError) as error:
        raise OutputError("load/unreadable", f"cannot be read ({error})", file=file) from None
    wanted = {"architecture": ported.model, "model_args": dict(ported.arguments)}
    for name, value in states.items():
        if value != wanted[name]:
            raise OutputError(
                "check/other-config",
                f"{name} is not what the metadata of the weights say",
                file=file,
                expected=repr(wanted[name]),
                found=repr(value),
            )


def _require_library(path: Path, says: Mapping[str, str], target: str, *, is_described: bool) -> None:
    if not is_described:
        return
    try:
        library = str(json.loads(says["porter.target"])["library"]) if "porter.target" in says else "timm"
    except (ValueError, LookupError, TypeError) as error:
        raise unreadable(path, error) from None
    if library != target.replace("hub-folder", "timm"):
        raise OutputError(
            "check/other-library",
            f"was written for {library}, under its names",
            file=path,
            hint="Leave --target out." if library == "timm" else f"Give --target {library}.",
        )


def _state_dict(path: Path) -> OnDisk:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise OutputError(
            "load/unreadable",
            "is damaged, or holds more than tensors, and no code of a file is run",
            file=path,
            found=_first_line(error),
            hint=_ALONE,
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise OutputError(
            "load/unreadable", f"cannot be read as weights of PyTorch ({_first_line(error)})", file=path
        ) from None
    notes: list[str] = []
    stored = _weights_in(stored, path.name, notes)
    if not isinstance(stored, dict) or not all(isinstance(t, torch.Tensor) for t in stored.values()):
        raise OutputError(
            "load/no-state-dict",
            "holds no state dict, which is tensors by name",
            file=path,
            found=_contents(stored),
            hint=_ALONE,
        )
    state = {str(name): tensor.detach() for name, tensor in stored.items()}
    return OnDisk(_unwrapped(state, path.name, notes), None, tuple(notes))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def _weights_in(stored: Any, file: str, notes: list[str]) -> Any:
    """Return the weights of a file that holds other things too."""
    if not isinstance(stored, dict):
        return stored
    found = [key for key in _KEYS if isinstance(stored.get(key), dict)]
    if not found:
        return stored
    others = f"; it also holds {', '.join(map(repr, found[1:]))}" if found[1:] else ""
    notes.append(f"of {file} the weights under {found[0]!r} were taken{others}")
    return stored[found[0]]


def _contents(stored: object) -> str:
    if not isinstance(stored, dict):
        return f"a {type(stored).__name__}"
    wrong = [f"{key!r}: {type(v).__name__}" for key, v in stored.items() if not isinstance(v, torch.Tensor)]
    return ", ".join(wrong[:_SHOWN])


def _unwrapped(state: State, file: str, notes: list[str]) -> State:
    """Remove what torch's wrappers put before every name."""
    for wrapper in (*_WRAPPERS, *_WRAPPERS):
        if state and all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
            notes.append(f"the names in {file} begin with {wrapper!r}, which a wrapper of torch put there")
    return state


def misfits(state: State, wanted: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return in words every name and shape of a file that is not the network's: empty if all fit."""
    return (
        *(f"missing: {name}" for name in wanted if name not in state),
        *(f"unexpected: {name}" for name in state if name not in wanted),
        *(
            f"{name} is {tuple(state[name].shape)}, not {tuple(shape)}"
            for name, shape in wanted.items()
            if name in state and tuple(state[name].shape) != tuple(shape)
        ),
    )


def listed(wrong: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first few lines, and how many there are beside them."""
    more = (f"and {len(wrong) - _SHOWN} more",) if len(wrong) > _SHOWN else ()
    return (*wrong[:_SHOWN], *more)


def require_known_types(path: Path, state: State, counters: frozenset[str]) -> None:
    """Refuse a tensor whose element type is not one that a network computes with.

    Args:
        path: The file.
        state: Its tensors.
        counters: Names of the tensors that are whole numbers.

    Raises:
        OutputError: a tensor has another type.
    """
    for name, tensor in state.items():
        if name not in counters and type_of(tensor) not in _TYPES:
            raise OutputError(
                "check/element-type",
                "weights are floating-point numbers",
                file=path,
                tensor=name,
                expected=" or ".join(_TYPES),
                found=type_of(tensor),
            )
