"""The golden of a person's own weights: what TensorFlow said of them, and what their port is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from porter.core.checkpoint import Array
from porter.errors import ParityError, PorterError
from porter.recordings.golden_images import GoldenImage, pixels_of
from porter.recordings.random_weights import image_input
from porter.recordings.recording import Recording
from porter.recordings.tensor_digests import TensorDigests
from porter.tables.table_records import InputSpec

FORMAT = "porter-own-golden"
VERSION = 1
LARGEST = 400_000  # bytes: small enough for a repository
_KEY = "porter.golden"
_DIGESTS = "port/digests"
_HINT = "Record it again: porter golden record --checkpoint CHECKPOINT --out FILE."
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the networks are given: a seeded image at every size, and real ones at one size.

    Attributes:
        seed: Of the seeded images.
        channels: Of all images.
        sizes: (H, W) of the seeded images.
        images: Real images.
        side: Height and width at which they are given.
    """

    seed: int
    channels: int
    sizes: tuple[Size, ...]
    images: tuple[GoldenImage, ...]
    side: int

    def arrays(self, spec: InputSpec) -> dict[Size, Array]:
        """Return one batch (N, H, W, C) float32 for each size; real images follow a seeded one of their size.

        Args:
            spec: How real images are normalised.
        """
        batches = {size: image_input(self.seed, size, 1, self.channels) for size in self.sizes}
        if self.images:
            size = (self.side, self.side)
            real = np.stack([image.normalised(spec, self.side) for image in self.images])
            batches[size] = np.concatenate([batches[size], real]) if size in batches else real
        return batches


@dataclass(frozen=True, slots=True)
class OwnGolden:
    """Everything that a check without the checkpoint and without TensorFlow needs.

    Attributes:
        recording: What TensorFlow computed, sampled; its provenance says whose network ran.
        port: The metadata of the port that the checkpoint and the options give, source digests included.
        tensors: The floating-point tensors of that port.
        counters: Names of its other tensors, which TensorFlow has no counterpart for.
        stages: Stage to PyTorch modules, the last of which gives the stage's output.
        inputs: What the networks were given.
        float64_activation: What float64 runs replace, as in a table; None for nothing.
    """

    recording: Recording
    port: Mapping[str, str]
    tensors: TensorDigests
    counters: tuple[str, ...]
    stages: Mapping[str, Sequence[str]]
    inputs: Inputs
    float64_activation: str | None

    @property
    def spec(self) -> InputSpec:
        """How the port's images are prepared."""
        return spec_of(json.loads(self.port["porter.input"]))

    def content(self) -> bytes:
        """Return the safetensors file."""
        tensors, metadata = self.recording.to_tensors()
        tensors[_DIGESTS] = self.tensors.to_array()
        for number, image in enumerate(self.inputs.images):
            tensors[_image(number)] = np.frombuffer(image.png(), np.uint8)
        described = {
            "format": FORMAT,
            "version": VERSION,
            "port": {**self.port},
            "port_sha256": self.tensors.sha256(),
            "shapes": {**self.tensors.shapes},
            "counters": self.counters,
            "stages": {**self.stages},
            "inputs": {**asdict(self.inputs), "images": [_described(i) for i in self.inputs.images]},
            "float64_activation": self.float64_activation,
        }
        metadata[_KEY] = json.dumps(described)
        return save(tensors, metadata={**metadata, "sha256": _sha256(tensors, metadata)})

    @classmethod
    def load(cls, path: Path) -> OwnGolden:
        """Read a file that holds `content`.

        Raises:
            ParityError: the file is missing, damaged, no golden of somebody's own weights, or newer.
        """
        try:
            tensors, metadata = _read(path)
            described = _document(path, metadata)
            if metadata.pop("sha256", None) != _sha256(tensors, metadata):
                raise ParityError("golden/damaged", "the golden is damaged", file=path, hint=_HINT)
            return _golden(described, tensors, Recording.load(path))
        except (OSError, SafetensorError, LookupError, AttributeError, TypeError, ValueError) as error:
            raise ParityError(
                "golden/unreadable",
                f"not a readable golden ({type(error).__name__}: {error})",
                file=path,
                hint=_HINT if path.exists() else None,
            ) from error


def spec_of(described: Mapping[str, Any]) -> InputSpec:
    """Return what the metadata of a port say of its images."""
    return InputSpec(
        size=int(described["size"]),
        square=False,
        mean=tuple(described["mean"]),
        std=tuple(described["std"]),
        crop_pct=float(described["crop_pct"]),
        interpolation=str(described["interpolation"]),
        channel_order=str(described.get("channel_order", "rgb")),
    )


def is_own_golden(path: Path) -> bool:
    """Whether a file is a golden of somebody's own weights, as far as its header says."""
    try:
        _document(path, _read(path)[1])
    except (OSError, SafetensorError, ValueError, TypeError, LookupError, PorterError):
        return False
    return True


def _read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def _document(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    document = json.loads(metadata.get(_KEY, "{}"))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ParityError(
            "golden/not-a-golden",
            "the file is no golden of somebody's own weights",
            file=path,
            hint="Name a file that porter golden record --checkpoint wrote.",
        )
    if document["version"] != VERSION:
        raise ParityError(
            "golden/version",
            "the golden has another format version",
            file=path,
            expected=VERSION,
            found=document["version"],
            hint=_HINT,
        )
    return document


def _golden(described: Mapping[str, Any], tensors: Mapping[str, Array], recording: Recording) -> OwnGolden:
    given = described["inputs"]
    images = [
        GoldenImage(each["file"], each["sha256"], pixels_of(tensors[_image(number)].tobytes(), each["side"]))
        for number, each in enumerate(given["images"])
    ]
    return OwnGolden(
        recording=recording,
        port=described["port"],
        tensors=TensorDigests.from_array(described["shapes"], tensors[_DIGESTS]),
        counters=tuple(described["counters"]),
        stages=described["stages"],
        inputs=Inputs(
            seed=int(given["seed"]),
            channels=int(given["channels"]),
            sizes=tuple((int(height), int(width)) for height, width in given["sizes"]),
            images=tuple(images),
            side=int(given["side"]),
        ),
        float64_activation=described["float64_activation"],
    )


def _described(image: GoldenImage) -> dict[str, object]:
    return {"file": image.file, "sha256": image.sha256, "side": len(image.pixels)}


def _image(number: int) -> str:
    return f"images/{number}.png"


def _sha256(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """Return the digest of everything that the file holds."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
