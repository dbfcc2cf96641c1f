"""A ported file, as far as it describes itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from porter.errors import OutputError


@dataclass(frozen=True, slots=True)
class Ported:
    """The part of the metadata that is needed to build the network.

    Attributes:
        variant: Name of the variant.
        model: timm's name, or that of a network of porter's own.
        network: The definition of a network of porter's own, see `porter.networks`; None where timm has it.
        arguments: Arguments of `timm.create_model`.
        input: Size, mean, std, crop_pct and interpolation of the pictures.
        folded: Whether norms are part of the convolutions in front of them.
    """

    variant: str
    model: str
    network: Mapping[str, Any] | None
    arguments: Mapping[str, Any]
    input: Mapping[str, Any]
    folded: bool = False

    @property
    def channels(self) -> str:
        """The order of the input's colours: ``"RGB"`` or ``"BGR"``."""
        return str(self.input.get("channel_order", "rgb")).upper()

    @property
    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std of pixels in 0..1, one number per channel in the order of `channels`.

        The metadata themselves have them in the order RGB.
        """
        step = -1 if self.channels == "BGR" else 1
        return tuple(self.input["mean"][::step]), tuple(self.input["std"][::step])


def ported_files(path: Path) -> tuple[Path, ...]:
    """Return the files of a port: `path` itself, or what it holds where it is a folder of shards.

    Raises:
        OutputError: the folder has no such files, or not those that its index lists.
    """
    if not path.is_dir():
        return (path,)
    found = sorted(path.glob("model*.safetensors"))
    index = path / "model.safetensors.index.json"
    listed = [file.name for file in found]
    if index.is_file():
        try:
            listed = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError("load/bad-index", f"the index cannot be read ({error})", file=index) from error
    if not found or listed != [file.name for file in found]:
        raise OutputError(
            "load/missing-shards",
            "the folder does not hold the files of a port",
            file=path,
            expected=", ".join(map(str, listed)) or "model.safetensors",
            found=", ".join(file.name for file in found) or "none",
        )
    return tuple(found)


def read_metadata(path: Path) -> Ported:
    """Read the metadata of a ported file.

    Raises:
        OutputError: the file cannot be read, was not written by porter, or was written for another library.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            found = file.metadata() or {}
        if "porter.target" in found:
            library = json.loads(found["porter.target"])["library"]
            raise OutputError(
                "load/other-library",
                f"was written for {library}, under its names",
                file=path,
                hint="Load it there, or port again for timm.",
            )
        return Ported(
            variant=found["porter.variant"],
            model=found["porter.model"],
            network=json.loads(found["porter.network"]) if "porter.network" in found else None,
            arguments=json.loads(found["porter.arguments"]),
            input=json.loads(found["porter.input"]),
            folded="porter.folding" in found,
        )
    except (OSError, SafetensorError) as error:
        raise OutputError(
            "load/unreadable",
            f"cannot be read as safetensors ({error})",
            file=path,
            hint="Name a file that port-weights wrote.",
        ) from None
    except (KeyError, json.JSONDecodeError) as error:
        raise OutputError(
            "load/not-ported",
            f"the metadata lacks {error}",
            file=path,
            hint="Was it written by port-weights?",
        ) from None
