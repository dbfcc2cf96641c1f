"""A ported file to a PyTorch model, in one line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from porter.core.named_function import is_function_name
from porter.errors import MissingDependencyError, OutputError
from porter.loading.ported_file import Ported, ported_files, read_metadata, unreadable
from porter.networks.pretrained_cfg import pretrained_cfg
from porter.tables.trust import require_trust

if TYPE_CHECKING:
    import torch

_SHOWN = 5


def load_model(
    path: str | os.PathLike[str],
    *,
    device: str = "cpu",
    model: torch.nn.Module | None = None,
    trust_table: bool = False,
) -> torch.nn.Module:
    """Build the network that a ported file belongs to and load the weights into it.

    Args:
        path: A file written by `port` or ``port-weights``, or a folder of shards.
        device: Where the parameters go.
        model: A network of your own to load the weights into, in place of the one that the file names. It is
            changed as the table that the file was ported with says (padding, epsilon), and returned.
        trust_table: Run the function that the file names, ``"package.module:function"``, for a network that
            no library has.

    Returns:
        The model in eval mode; input (batch, channels, height, width), normalised as the file's metadata
        say. Its `pretrained_cfg` holds the source's preprocessing, so that
        `timm.data.resolve_model_data_config` gives the right transform. Only the order of colours it cannot
        say: if the metadata's channel_order is ``"bgr"``, flip the image's channels after it (or port with
        `channel_order` ``"rgb"``).

    Raises:
        OutputError: the file was not written by porter, its definition of a network is malformed, or it does
            not fit the network.
        TableError: the file names a function, and neither `model` nor `trust_table` is given.
        MissingDependencyError: torch or timm is not installed.

    Example:
        >>> import torch
        >>> _ = porter.port("ckpt-1", "mobilenet.safetensors")
        >>> model = porter.load_model("mobilenet.safetensors")
        >>> model(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """
    ported = read_metadata(Path(path))
    if model is None:
        model = _build_to_load(ported, trust_table=trust_table, file=Path(path))
    else:
        _fit_to_port(model, ported)
    if ported.folded:
        from porter.networks.bn_folding import fold_batch_norm

        fold_batch_norm(model.eval())  # the norms' own values do not matter: the file holds none
    from safetensors.torch import load_file

    state: dict[str, torch.Tensor] = {}
    for file in ported_files(Path(path)):
        try:
            state |= load_file(file)
        except (OSError, SafetensorError) as error:
            raise unreadable(file, error) from None
    _require_fit(model, state, ported, path)
    model.load_state_dict(state, strict=True)
    return model.eval().to(device)


def _build_to_load(ported: Ported, *, trust_table: bool, file: Path) -> torch.nn.Module:
    """Build without drawing random weights, but for a person's own function: it may keep what it draws."""
    try:
        from porter.networks.no_drawing import NoDrawing
    except ImportError:  # torch is missing, which is reported for what the file needs
        return build_network(ported, trust_table=trust_table, file=file)
    with nullcontext() if is_function_name(ported.model) else NoDrawing():
        return build_network(ported, trust_table=trust_table, file=file)


def build_network(ported: Ported, *, trust_table: bool = False, file: Path | None = None) -> torch.nn.Module:
    """Return the network that a ported file belongs to, as its library or `porter.networks` initialises it.

    Args:
        ported: What the file says.
        trust_table: Whether a function that it names may be run.
        file: The file, for messages.

    Raises:
        OutputError: its definition of a network is malformed, or the library has no such network.
        TableError: it names a function, and is not trusted.
        MissingDependencyError: torch or the library is not installed.
    """
    if ported.library != "timm":
        return _of_library(ported, trust_table=trust_table, file=file)
    try:
        import timm

        from porter.networks.any_target import adjust, refuse_fetching
    except ImportError as error:
        raise MissingDependencyError(
            "load/no-timm",
            f"{error.name or 'timm'} is not installed",
            hint="pip install 'port-weights[torch]'",
        ) from None
    overlay = pretrained_cfg(ported.input, ported.arguments.get("in_chans", 3))
    model: torch.nn.Module
    if ported.network is None:
        refuse_fetching("timm", ported.model, ported.arguments)
        try:
            model = timm.create_model(ported.model, **ported.arguments, pretrained_cfg_overlay=overlay)
        except (RuntimeError, TypeError) as error:  # an unknown name, an unknown argument
            raise OutputError(
                "load/no-network",
                f"timm {timm.__version__} cannot build {ported.model} ({error})",
                hint="Install the timm that porter was tested with: constraints.txt names it.",
            ) from None
    else:
        from porter.networks.building import build
        from porter.networks.definition import parse

        definition = parse(ported.network)
        model = build(ported.model, definition, **ported.arguments, pretrained_cfg_overlay=overlay)
    if ported.head:
        from porter.networks.head import attach_head

        attach_head(model, ported.head)
    adjust(model, ported.adjust)
    if ported.cut is not None:
        from porter.networks.cut import CutNetwork

        model = CutNetwork(model, ported.cut, has_head=bool(ported.head))
    return model


def _of_library(ported: Ported, *, trust_table: bool, file: Path | None) -> torch.nn.Module:
    if is_function_name(ported.model):
        require_trust([ported.model], file, trust_table=trust_table)
    try:
        from porter.networks.any_target import adjust, build_target
    except ImportError as error:
        raise MissingDependencyError(
            "load/no-torch",
            f"{error.name or 'torch'} is not installed",
            hint="pip install 'port-weights[torch]'",
        ) from None
    model = build_target(ported.library, ported.model, ported.arguments)
    adjust(model, ported.adjust)
    _describe_images(model, ported)
    return model


def _fit_to_port(model: torch.nn.Module, ported: Ported) -> None:
    """Change a person's network as the port needs it: epsilon of its norms, and what the table adjusts."""
    from torch.nn.modules.batchnorm import _BatchNorm

    from porter.networks.any_target import adjust

    epsilon = ported.bn_eps
    for module in model.modules():
        if epsilon is not None and isinstance(module, _BatchNorm):
            module.eps = epsilon
    adjust(model, ported.adjust)
    _describe_images(model, ported)


def _describe_images(model: torch.nn.Module, ported: Ported) -> None:
    """Say how images are prepared where timm looks for it."""
    described: Any = pretrained_cfg(ported.input, ported.arguments.get("in_chans", 3))
    model.pretrained_cfg = described


def _require_fit(
    model: torch.nn.Module, state: Mapping[str, torch.Tensor], ported: Ported, path: str | os.PathLike[str]
) -> None:
    """Refuse a network that has other tensors than the file.

    Raises:
        OutputError: ``load/does-not-fit``, with the first few that differ.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [
        *(f"the file lacks {name} {shape}" for name, shape in wanted.items() if name not in state),
        *(f"the network lacks {name} {tuple(t.shape)}" for name, t in state.items() if name not in wanted),
        *(
            f"{name} is {tuple(tensor.shape)} in the file, {wanted[name]} in the network"
            for name, tensor in state.items()
            if name in wanted and wanted[name] != tuple(tensor.shape)
        ),
    ]
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise OutputError(
            "load/does-not-fit",
            f"the weights do not fit {ported.model}",
            file=path,
            details=[*wrong[:_SHOWN], *more],
        )
