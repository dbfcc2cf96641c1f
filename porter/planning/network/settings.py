"""A training's settings, held against the network that was recognised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from porter.core.training_settings import TrainingSettings
from porter.errors import PlanError
from porter.planning.network.findings import NetworkFindings
from porter.planning.recognition import Recognised

_GARDEN = "model_garden."
# Backbones that apply the activation of the settings, and what they do where the table names none. The
# Garden's MobileNets have activations of their own, whatever the settings say.
_ACTIVATED = {"resnet": "relu", "efficientnet": "relu"}
# Arguments that change what is computed and no shape, with every value that changes nothing, for networks
# whose table does not name them. The Garden's networks end at a stride of 32.
_HARMLESS: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {"output_stride": (None, 32), "resnetd_shortcut": (None, False), "replace_stem_max_pool": (None, False)}
)
_HINT = "Pass --variant for the network that was trained, or move the file away if another training wrote it."


def hold_settings(settings: TrainingSettings, match: Recognised) -> NetworkFindings:
    """Return what the settings say of a network's norms.

    Args:
        settings: What lies beside the source.
        match: The network in it.

    Raises:
        PlanError: they describe another network (``plan/other-network``).
    """
    found = list(_contradictions(settings, match))
    if found:
        raise PlanError(
            "plan/other-network",
            f"names and shapes are those of {match.variant.name}, but {settings.file.name} says otherwise",
            file=settings.file,
            hint=_HINT,
            details=[f"{name}: expected {wanted}, found {given}" for name, wanted, given in found],
        )
    keys = [
        key
        for entry, key in zip(match.variant.entries, match.keys, strict=True)
        if entry.is_variance and entry.bn_eps is None and key is not None
    ]
    epsilons = {} if settings.epsilon is None else dict.fromkeys(keys, settings.epsilon)
    return NetworkFindings(_line(settings), epsilons, settings.file.name)


def _contradictions(settings: TrainingSettings, match: Recognised) -> Iterator[tuple[str, object, object]]:
    """Yield name, the table's value and the settings' value of everything that differs."""
    source = match.variant.source
    if source.name.startswith(_GARDEN):
        kind = source.name.removeprefix(_GARDEN)
        if kind != settings.backbone:
            yield "task.model.backbone.type", kind, settings.backbone
            return
        for name, wanted in source.arguments.items():
            given = settings.arguments.get(name)
            if given is not None and type(given) in (int, float, str, bool) and str(given) != str(wanted):
                yield f"task.model.backbone.{kind}.{name}", wanted, given
        for name in _HARMLESS.keys() - source.arguments.keys():
            given = settings.arguments.get(name)
            if given not in _HARMLESS[name]:
                yield f"task.model.backbone.{kind}.{name}", _HARMLESS[name][-1], given
        activation = source.arguments.get("activation", _ACTIVATED.get(kind))
        if kind in _ACTIVATED and settings.activation and settings.activation != activation:
            yield "task.model.norm_activation.activation", activation, settings.activation
    classes = match.lengths.get("classes")
    if classes is not None and settings.classes is not None and classes != settings.classes:
        yield "task.model.num_classes", classes, settings.classes


def _line(settings: TrainingSettings) -> str:
    told = [
        f"{name} {value}"
        for name, value in (
            ("backbone", f"{settings.backbone} {settings.arguments.get('model_id', '')}".strip()),
            ("activation", settings.activation),
            ("classes", settings.classes),
            ("epsilon", settings.epsilon),
        )
        if value
    ]
    return f"as {settings.file.name} of the training says: {', '.join(told)}"
