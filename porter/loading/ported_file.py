"""A ported file, as far as it describes itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from porter.core.cut import Cut
from porter.core.cut import from_text as cut_from_text
from porter.core.head import HeadStep, from_text, output_count
from porter.errors import OutputError
from porter.planning.class_names import ClassNames

_INPUT_KEYS = ("size", "mean", "std", "crop_pct", "interpolation")


@dataclass(frozen=True, slots=True)
class Ported:
    """The part of the metadata that is needed to build the network.

    Attributes:
        variant: Name of the variant.
        model: What its library calls the network: timm's name, or that of a network of porter's own, or a
            function ``"package.module:function"``.
        network: The definition of a network of porter's own, see `porter.networks`; None if timm has it.
        arguments: Arguments of `timm.create_model`.
        input: Size, mean, std, crop_pct and interpolation of the images.
        metadata: All of the metadata, as they are stored.
        folded: Whether norms are part of the convolutions before them.
        library: What has the network: ``"timm"``, ``"torchvision"``, ``"transformers"`` or ``"torch"``, which
            is a function of a person's own.
        adjust: What is changed in the finished network, as in a mapping table.
        head: What takes the place of the classifier, in order; nothing for timm's own.
        cut: Where the network ends, if that is before its own end or in several places.
    """

    variant: str
    model: str
    network: Mapping[str, Any] | None
    arguments: Mapping[str, Any]
    input: Mapping[str, Any]
    metadata: Mapping[str, str]
    folded: bool = False
    library: str = "timm"
    adjust: Mapping[str, Any] = field(default_factory=dict)
    head: tuple[HeadStep, ...] = ()
    cut: Cut | None = None

    @property
    def channels(self) -> str:
        """The order of the input's colours: ``"RGB"`` or ``"BGR"``."""
        return str(self.input.get("channel_order", "rgb")).upper()

    @property
    def weights_read(self) -> str | None:
        """Which of the source's weights were read, as `PortOptions.weights` has it, or None."""
        read = json.loads(self.metadata.get("porter.weights", "{}")).get("read")
        return None if read is None else str(read)

    @property
    def bn_eps(self) -> float | None:
        """The epsilon of the network's batch norms; None if the table leaves it to the network."""
        value = json.loads(self.metadata.get("porter.bn_eps", "{}")).get("value")
        return None if value is None else float(value)

    @property
    def classifier_activation(self) -> str:
        """What turns the network's answer into probabilities, as the source has it behind its classifier."""
        return self.metadata.get("porter.classifier_activation", "softmax")

    @property
    def source_digests(self) -> Sequence[str]:
        """SHA-256 of every file that it was ported from; nothing if it does not say."""
        return [file["sha256"] for file in json.loads(self.metadata.get("porter.source_files", "[]"))]

    @property
    def class_names(self) -> ClassNames | None:
        """What the classes are called, if the source said so."""
        stated = json.loads(self.metadata.get("porter.class_names", "null"))
        return None if stated is None else ClassNames(tuple(stated["names"]), str(stated["source"]))

    @property
    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std of pixels in 0..1, one number per channel in the order of `channels`.

        The metadata themselves have them in the order RGB.
        """
        step = -1 if self.channels == "BGR" else 1
        return tuple(self.input["mean"][::step]), tuple(self.input["std"][::step])


def ported_files(path: Path) -> tuple[Path, ...]:
    """Return the files of a port: `path` itself, or what it holds if it is a folder.

    A folder holds what its index lists, or one model.safetensors.

    Raises:
        OutputError: the folder has no such files, or others that look like them.
    """
    if not path.is_dir():
        return (path,)
    found = sorted(path.glob("model*.safetensors"))
    index = path / "model.safetensors.index.json"
    listed = ["model.safetensors"]
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
            expected=", ".join(map(str, listed)),
            found=", ".join(file.name for file in found) or "none",
        )
    return tuple(found)


def read_metadata(path: Path) -> Ported:
    """Read the metadata of a port.

    Args:
        path: A file, or a folder of shards, which all carry the same metadata.

    Raises:
        OutputError: the file cannot be read, was not written by porter, or was written for another library.
    """
    file = ported_files(path)[0]
    try:
        with safe_open(file, framework="numpy") as opened:
            return described(opened.metadata() or {}, file)
    except (OSError, SafetensorError) as error:
        raise unreadable(file, error) from None


def description(path: Path) -> Ported | None:
    """Return what a safetensors file, or a folder of them, says of itself; None if it says nothing.

    Raises:
        OutputError: the file cannot be read, or was written for another library.
    """
    if path.is_file() and path.suffix != ".safetensors":
        return None
    file = ported_files(path)[0]
    try:
        with safe_open(file, framework="numpy") as opened:
            says = opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise unreadable(file, error) from None
    return described(says, file) if any(key.startswith("porter.") for key in says) else None


def refuse_several_outputs(ported: Ported, path: Path) -> None:
    """Refuse a port where one answer of classes is wanted.

    Raises:
        OutputError: its network returns several outputs.
    """
    outputs = output_count(ported.head)
    if outputs > 1:
        raise OutputError(
            "classify/several-outputs",
            f"the network returns {outputs} outputs, and one of classes is wanted",
            file=path,
            hint="porter.load_model gives the network, which returns them as a tuple.",
        )


def unreadable(file: Path, error: Exception) -> OutputError:
    """Say that a file is no safetensors file, or a damaged one."""
    return OutputError(
        "load/unreadable",
        f"cannot be read as safetensors ({error})",
        file=file,
        hint="Name a file that port-weights wrote.",
    )


def described(found: Mapping[str, str], file: Path) -> Ported:
    """Return what metadata say of a port.

    Args:
        found: The metadata.
        file: Where they stand.

    Raises:
        OutputError: they are not those that porter writes for timm.
    """
    try:
        return _described(found, file)
    except (KeyError, json.JSONDecodeError) as error:
        raise _not_ported(file, f"lacks {error}") from None


def _described(found: Mapping[str, str], file: Path) -> Ported:
    if "porter.target" in found:
        target = _object(found, "porter.target", ("library",), file)
        raise OutputError(
            "load/other-library",
            f"was written for {target['library']}, under its names",
            file=file,
            hint="Load it there, or port again for timm.",
        )
    return Ported(
        variant=found["porter.variant"],
        model=found["porter.model"],
        network=_object(found, "porter.network", (), file) if "porter.network" in found else None,
        arguments=_object(found, "porter.arguments", (), file),
        input=_object(found, "porter.input", _INPUT_KEYS, file),
        metadata=found,
        folded="porter.folding" in found,
        library=found.get("porter.library", "timm"),
        adjust=_object(found, "porter.adjust", (), file) if "porter.adjust" in found else {},
        head=_head(found["porter.head"], file) if "porter.head" in found else (),
        cut=_cut(found["porter.cut"], file) if "porter.cut" in found else None,
    )


def _head(text: str, file: Path) -> tuple[HeadStep, ...]:
    try:
        return from_text(text)
    except (ValueError, TypeError):
        raise _not_ported(file, "has a porter.head that is not the one porter writes") from None


def _cut(text: str, file: Path) -> Cut:
    try:
        return cut_from_text(text)
    except (ValueError, TypeError, KeyError):
        raise _not_ported(file, "has a porter.cut that is not the one porter writes") from None


def _object(found: Mapping[str, str], key: str, names: Sequence[str], file: Path) -> Mapping[str, Any]:
    """Return a JSON object that holds at least `names`."""
    described = json.loads(found[key])
    if not isinstance(described, dict) or not described.keys() >= set(names):
        raise _not_ported(file, f"has a {key} that is not the one porter writes")
    return described


def _not_ported(file: Path, what: str) -> OutputError:
    return OutputError(
        "load/not-ported", f"the metadata {what}", file=file, hint="Was it written by port-weights?"
    )
