"""The networks whose unchanged files are held against the tables: how each library builds them."""

from __future__ import annotations

from typing import Any

SIZE, CLASSES = 64, 7
SMALL = (32, 33, 50)
KERAS: dict[str, tuple[str, dict[str, Any]]] = {
    "MobileNet": ("MobileNet", {"alpha": 0.25}),
    "MobileNetV2": ("MobileNetV2", {"alpha": 0.35}),
    "MobileNetV3Small": ("MobileNetV3Small", {}),
    "MobileNetV3Large": ("MobileNetV3Large", {}),
    "MobileNetV3SmallMinimalistic": ("MobileNetV3Small", {"minimalistic": True}),
    "MobileNetV3LargeMinimalistic": ("MobileNetV3Large", {"minimalistic": True}),
    "MobileNetV3SmallNarrow": ("MobileNetV3Small", {"alpha": 0.75}),
    "MobileNetV3LargeNarrow": ("MobileNetV3Large", {"alpha": 0.75}),
    "EfficientNetB0": ("EfficientNetB0", {}),
    "EfficientNetV2B0": ("EfficientNetV2B0", {}),
    "ResNet50": ("ResNet50", {}),
    "ConvNeXtTiny": ("ConvNeXtTiny", {}),
    "DenseNet121": ("DenseNet121", {}),
}
# Those of more layers alone: they are ported, and not run.
DEEPER = (
    *("ResNet101", "ResNet152", *(f"EfficientNetB{n}" for n in range(1, 8))),
    *(f"EfficientNetV2{name}" for name in ("B1", "B2", "B3", "S", "M", "L")),
)
KERAS |= {name: (name, {}) for name in DEEPER}
GARDEN = {
    "MobileNetV2": ("mobilenet", {"model_id": "MobileNetV2", "filter_size_scale": 0.35}),
    "MobileNetV4ConvSmall": ("mobilenet", {"model_id": "MobileNetV4ConvSmall"}),
    "ResNet50": ("resnet", {"model_id": 50}),
    "EfficientNetB0": ("efficientnet", {"model_id": "b0", "se_ratio": 0.25, "activation": "swish"}),
    "ViTTiny": ("vit", {"model_name": "vit-ti16"}),
}
