"""Where a person looks for a cause: the table's file, block and rule, or the argument."""

from __future__ import annotations

from porter.tables.variants import Variant

_ADVICE = {
    "padding": 'the padding argument (timm: pad_type="same")',
    "bn-epsilon": "the batch normalisation epsilon (timm: bn_eps)",
    "activation": "the activation argument (timm: act_layer)",
    "hard-sigmoid": "the gate of the squeeze-and-excitation layer (timm: se_layer)",
    "missing-fold": "what the port folds into the batch normalisation's mean",
    "label-offset": "num_classes, and whether class 0 is a background class",
    "residual": "the block's skip connection",
    "constant": "the weights and images of this check: other ones (--seed) make the stage say something",
}
_ARGUMENTS = {"padding": "[target] arguments", "bn-epsilon": "[bn_eps]", "activation": "float64_activation"}


def look_at(cause: str, place: str, stage: str, variant: Variant | None) -> str:
    """Return where to look.

    Args:
        cause: Code of the finding.
        place: Module or tensor of the PyTorch network, or "".
        stage: The bad stage.
        variant: The table's variant, or None for a network in no table.
    """
    if cause.startswith("preprocessing"):
        return "the preparation of the images on both sides" + (
            f" ([input] in {_file(variant)})" if variant else ""
        )
    if cause.startswith("precision"):
        return "the precision that the other side computed in: autocast, allow_tf32, .half()"
    advice = _ADVICE.get(cause, "")
    where = place or stage
    if variant is None:
        return ", ".join(filter(None, (where, advice)))
    block = _block(place, stage, variant)
    section = f"{_ARGUMENTS[cause]} and " if cause in _ARGUMENTS else ""
    found = f"{section}{block} in {_file(variant)} (timm: {where})"
    return f"{found}; {advice}" if advice else found


def _file(variant: Variant | None) -> str:
    return "" if variant is None else variant.table.name


def _block(place: str, stage: str, variant: Variant) -> str:
    entry = next((e for e in variant.entries if place and e.target == place), None)
    entry = entry or next((e for e in variant.entries if place and e.target.startswith(f"{place}.")), None)
    if entry is not None:
        return entry.block
    return next((s.block for s in variant.stages if s.name == stage), stage)
