"""A ported file to a PyTorch model, in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from porter.errors import MissingDependencyError, OutputError
from porter.loading.ported_file import Ported, ported_files, read_metadata, unreadable
from porter.networks.pretrained_cfg import pretrained_cfg

if TYPE_CHECKING:
    import torch


def load_model(path: str | os.PathLike[str], *, device: str = "cpu") -> torch.nn.Module:
    """Build the network that a ported file belongs to and load the weights into it.

    Args:
        path: A file written by `port` or ``port-weights``, or a folder of shards.
        device: Where the parameters go.

    Returns:
        The model in eval mode; input (batch, channels, height, width), normalised as the file's metadata
        say. Its `pretrained_cfg` holds the source's preprocessing, so that
        `timm.data.resolve_model_data_config` gives the right transform. Only the order of colours it cannot
        say: if the metadata's channel_order is ``"bgr"``, flip the image's channels after it (or port with
        `channel_order` ``"rgb"``).

    Raises:
        OutputError: the file was not written by porter, its definition of a network is malformed, or it does
            not fit the network.
        MissingDependencyError: torch or timm is not installed.

    Example:
        >>> import torch
        >>> _ = porter.port("ckpt-1", "mobilenet.safetensors")
        >>> model = porter.load_model("mobilenet.safetensors")
        >>> model(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """
    ported = read_metadata(Path(path))
    model = build_network(ported)
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
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise OutputError(
            "load/does-not-fit", f"the weights do not fit {ported.model}: {error}", file=path
        ) from None
    return model.eval().to(device)


def build_network(ported: Ported) -> torch.nn.Module:
    """Return the network that a ported file belongs to, as timm or `porter.networks` initialises it.

    Raises:
        OutputError: its definition of a network is malformed, or timm has no such network.
        MissingDependencyError: torch or timm is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingDependencyError(
            "load/no-timm", f"{error.name or 'timm'} is not installed", hint="pip install 'porter[torch]'"
        ) from None
    overlay = pretrained_cfg(ported.input, ported.arguments.get("in_chans", 3))
    model: torch.nn.Module
    if ported.network is None:
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
    return model
