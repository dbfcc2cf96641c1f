"""A small network, its port, and a few images."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from agreement_rows import rows_of
from ported_files import WRITER
from warm_frameworks import run_with_tensorflow

import porter

COUNT = 10
# Looked for and not imported: both frameworks in one process abort it.
NEEDED = ("tensorflow", "tf_keras", "torch", "timm", "PIL", "pyarrow")


def pytest_collection_modifyitems(items):
    """Leave tests out whose packages are not installed."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    for item in items:
        missing = [
            *lacking,
            *(["ray"] if item.path.name == "test_ray.py" and find_spec("ray") is None else []),
        ]
        if item.path.parent == Path(__file__).parent and missing:
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))


def write_images(folder, count=COUNT):
    """Write images with edges and noise, wider than high, half of them as JPEG, in two labelled folders."""
    from PIL import Image

    rng = np.random.default_rng(3)
    for number in range(count):
        small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((100, 84), Image.Resampling.NEAREST)
        noisy = np.clip(np.asarray(image) + rng.normal(0, 8, (84, 100, 3)), 0, 255).astype(np.uint8)
        place = folder / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(place / f"{number:03}.{'jpg' if number % 2 else 'png'}", quality=90)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of images with labels, half of them stored without loss."""
    return write_images(tmp_path_factory.mktemp("agreement") / "images")


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A Keras file that carries its network: 64 pixels, 5 classes."""
    folder = tmp_path_factory.mktemp("agreement-source")
    run_with_tensorflow(WRITER, folder)
    return folder / "model.keras"


@pytest.fixture(scope="session")
def ported(source, tmp_path_factory):
    """Its port."""
    out = tmp_path_factory.mktemp("agreement-port") / "model.safetensors"
    porter.port(source, out)
    return out


@pytest.fixture(scope="session")
def undisturbed(source, ported, images, tmp_path_factory):
    """The rows of a run of the local engine that nothing disturbs, an image at a time."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    return rows_of(porter.agree(source, ported, images, out=out, engine=porter.Engine(batch=1)))


@pytest.fixture
def altered(ported, tmp_path):
    """Return a function that copies the port with other statements about its images, or wrong weights."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    def copy(*, shifts_classes=False, variant=None, head=None, **changes):
        with safe_open(ported, framework="numpy") as opened:
            metadata = dict(opened.metadata())
        metadata["porter.input"] = json.dumps({**json.loads(metadata["porter.input"]), **changes})
        metadata["porter.variant"] = variant or metadata["porter.variant"]
        metadata |= {"porter.head": head} if head else {}
        tensors = load_file(ported)
        if shifts_classes:
            tensors = {
                n: np.roll(t, 1, axis=0) if n.startswith("classifier") else t for n, t in tensors.items()
            }
        save_file(tensors, tmp_path / "altered.safetensors", metadata)
        return tmp_path / "altered.safetensors"

    return copy
