"""The Model Garden's ``params.yaml``: what a training was asked for.

Source of the names: official/vision/configs/{image_classification,backbones,common}.py; the file is
written by official.core.train_utils.serialize_config.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from porter.core.training_settings import TrainingSettings
from porter.errors import CheckpointError, printable
from porter.formats.files import RegularFile
from porter.formats.malformed import Malformed, naming

_MOST_BYTES = 1 << 20


def training_settings(path: Path) -> TrainingSettings | None:
    """Return what a ``params.yaml`` says of the network; None if it is another program's.

    Raises:
        CheckpointError: it is no YAML, or gives something in a form that the Garden does not write.
    """
    model = _mapping(task_settings(path).get("model"))
    backbone = _mapping(model.get("backbone"))
    kind = backbone.get("type")
    if not isinstance(kind, str):
        return None
    norm = _mapping(model.get("norm_activation"))
    return TrainingSettings(
        file=path,
        backbone=kind,
        arguments=_mapping(backbone.get(kind)),
        epsilon=_epsilon(path, norm.get("norm_epsilon")),
        activation=norm["activation"] if isinstance(norm.get("activation"), str) else "",
        input_size=_size(path, model.get("input_size")),
        classes=_classes(path, model.get("num_classes")),
    )


def task_settings(path: Path) -> Mapping[str, Any]:
    """Return what stands below ``task`` in a ``params.yaml``, as plain values.

    Raises:
        CheckpointError: it is no YAML.
    """
    with naming(path):
        return _mapping(_mapping(_parsed(path)).get("task"))


def _parsed(path: Path) -> object:
    import yaml  # noqa: PLC0415  (only if there is such a file)

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """YAML's plain values, and the tuples that the Garden writes among them."""

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", Loader.construct_yaml_seq)
    file = RegularFile(path)
    try:
        if file.size > _MOST_BYTES:
            raise Malformed("garden/huge-settings", "these settings are implausibly long", found=file.size)
        data = file.read(0, file.size)
    finally:
        file.close()
    try:
        return yaml.load(data, Loader)  # noqa: S506  (a safe loader)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise Malformed(
            "garden/bad-settings",
            "the settings beside the checkpoint are no YAML that can be read",
            found=printable(" ".join(str(error).split())[:200]),
            hint="Restore the file, or move it away if it has nothing to do with the checkpoint.",
        ) from None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _epsilon(path: Path, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):  # YAML 1.1 reads 1e-5, without a point, as a string
        try:
            value = float(value)
        except ValueError:
            raise _unexpected(path, "norm_epsilon", "a number", value) from None
    if type(value) not in (int, float) or not 0 < value < 1:
        raise _unexpected(path, "norm_epsilon", "a number between 0 and 1", value)
    return float(value)


def _size(path: Path, value: Any) -> tuple[int, int] | None:
    """Return height and width of ``[height, width, channels]``; None for images of any size."""
    if value in (None, []):
        return None
    if not isinstance(value, list) or any(type(length) not in (int, type(None)) for length in value):
        raise _unexpected(path, "input_size", "[height, width, channels]", value)
    height, width = [*value, None, None][:2]
    return (height, width) if height and width and min(height, width) > 0 else None


def _classes(path: Path, value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise _unexpected(path, "num_classes", "a number of classes", value)
    return value or None


def _unexpected(path: Path, name: str, expected: str, found: object) -> CheckpointError:
    return CheckpointError(
        "garden/bad-settings",
        f"task.model.{name} has a form that the Model Garden does not write",
        file=path,
        expected=expected,
        found=printable(repr(found)[:100]),
    )
