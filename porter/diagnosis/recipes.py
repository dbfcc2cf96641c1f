"""From the weights of a stage to the program that they belong to: layer order by module name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from porter.core.checkpoint import Array
from porter.diagnosis.arithmetic import Padding, Values
from porter.diagnosis.program import (
    Attention,
    BatchNorm,
    Conv,
    Dense,
    Elementwise,
    Gate,
    GlobalPool,
    Layer,
    Program,
    Residual,
    Scale,
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The layers of a kind of block in forward order, by module name below the block.

    A layer that the weights do not have is left out. A word in angle brackets is no module: ``<act>`` is the
    network's activation if the layer before it is there, ``<none>`` a place without one, ``<pool>`` the
    global mean, ``<se>`` a squeeze-and-excitation gate with ``<inside>`` its own activation, and
    ``<attention>`` multi-query attention.

    Attributes:
        layers: The words.
        strided: Layers that take the block's stride, the first that is there taking it.
        residual: Whether the input is added if shapes allow.
        after: Words after the addition.
        shortcut: Layers on the other branch.
    """

    layers: str
    strided: str = ""
    residual: bool = False
    after: str = ""
    shortcut: str = ""


# Module names of timm 1.0.31.
RECIPES = (
    Recipe("conv_stem bn1 <act>", "conv_stem"),
    Recipe("<pool> conv_head norm_head <act>"),
    Recipe("<pool> classifier"),
    Recipe("<pool> fc"),
    Recipe("conv_head"),
    Recipe("conv bn1 <act>", "conv"),
    Recipe("conv_exp bn1 <act> conv_pwl bn2 <none>", "conv_exp", residual=True),
    Recipe(
        "dw_start.conv dw_start.bn <none> pw_exp.conv pw_exp.bn <act> dw_mid.conv dw_mid.bn <act> "
        "pw_proj.conv pw_proj.bn <none> layer_scale",
        "dw_mid.conv dw_start.conv",
        residual=True,
    ),
    Recipe("norm <none> <attention> layer_scale", residual=True),
    Recipe(
        "conv_pw bn1 <act> conv_dw bn2 <act> <se> conv_pwl bn3 <none>",
        "conv_dw",
        residual=True,
    ),
    Recipe("conv_dw bn1 <act> <se> conv_pw bn2 <none>", "conv_dw", residual=True),
    Recipe(
        "conv1 bn1 <act> conv2 bn2 <act> conv3 bn3 <none>",
        "conv2",
        residual=True,
        after="<act>",
        shortcut="downsample.0 downsample.1",
    ),
)
_ATTENTION = {
    "query": "attn.query.proj",
    "key": "attn.key.down_conv attn.key.norm <none> attn.key.proj",
    "value": "attn.value.down_conv attn.value.norm <none> attn.value.proj",
    "output": "attn.output.proj",
}
_GATE = "se.conv_reduce <inside> se.conv_expand"


@dataclass(frozen=True, slots=True)
class Conventions:
    """What no weight file says.

    Attributes:
        activation: The network's activation function.
        gate: The function of squeeze-and-excitation gates.
        inside: The activation function inside them.
        padding: Padding of convolutions.
        epsilon: The batch normalisation epsilon.
    """

    activation: str
    gate: str
    inside: str
    padding: Padding
    epsilon: float


@dataclass(frozen=True, slots=True)
class StageFacts:
    """What is known of one stage before its program.

    Attributes:
        modules: PyTorch modules of the stage.
        weights: Tensors below the modules, by full name.
        stride: Input rows over output rows, rounded; 1 if a side is no image.
        same_shape: Whether input and output have the same shape.
        epsilons: Batch normalisation module to its own epsilon, if it has one.
    """

    modules: tuple[str, ...]
    weights: Mapping[str, Array]
    stride: int
    same_shape: bool
    epsilons: Mapping[str, float]


def program(block: StageFacts, conventions: Conventions) -> Program | None:
    """Return the program of a stage, or None if no recipe has exactly its layers.

    A layer that cannot be recomputed here (layer normalisation, a bare tensor) is in no recipe.
    """
    found = {name.rpartition(".")[0] for name in block.weights}
    if any(_is_unknown(name, block) for name in block.weights):
        return None
    for recipe in RECIPES:
        for prefix in _prefixes(block.modules):
            builder = _Builder(block, conventions, prefix, recipe)
            program = builder.program()
            if builder.used == found:
                return program
    return None


def _is_unknown(name: str, block: StageFacts) -> bool:
    """Whether a weight belongs to a layer that no class of `porter.diagnosis.program` computes."""
    module, _, leaf = name.rpartition(".")
    if leaf not in ("weight", "bias", "running_mean", "running_var", "gamma"):
        return True
    is_norm = f"{module}.running_var" in block.weights
    return leaf == "weight" and not is_norm and block.weights[name].ndim not in (2, 4)


def _prefixes(modules: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("", *(f"{module}." for module in modules))))


class _Builder:
    def __init__(self, block: StageFacts, conventions: Conventions, prefix: str, recipe: Recipe) -> None:
        self.used: set[str] = set()
        self._block = block
        self._conventions = conventions
        self._prefix = prefix
        self._recipe = recipe
        strided = (prefix + word for word in recipe.strided.split())
        self._strided = next((name for name in strided if f"{name}.weight" in block.weights), None)

    def program(self) -> Program:
        recipe = self._recipe
        body = self._layers(recipe.layers)
        shortcut = self._layers(recipe.shortcut)
        if recipe.residual and (shortcut or self._block.same_shape):
            body = (Residual(self._prefix.rstrip("."), body, shortcut),)
        return body + self._layers(recipe.after)

    def _layers(self, words: str) -> Program:
        layers: list[Layer] = []
        for word in words.split():
            layers += self._composite(word, layers) if word.startswith("<") else self._module(word)
        return tuple(layers)

    def _composite(self, word: str, before: list[Layer]) -> Program:
        name = before[-1].name if before else self._prefix.rstrip(".")
        if word == "<pool>":
            return (GlobalPool("global_pool"),)
        if word == "<attention>":
            parts = {part: self._layers(words) for part, words in _ATTENTION.items()}
            return self._attention(parts) if all(parts.values()) else ()
        if word == "<se>":
            body = (
                self._layers(_GATE) if f"{self._prefix}se.conv_reduce.weight" in self._block.weights else ()
            )
            return (Gate(f"{self._prefix}se", body, self._conventions.gate),) if body else ()
        known = {"<act>": self._conventions.activation, "<inside>": self._conventions.inside}
        function = known.get(word, "identity")
        follows = before and isinstance(before[-1], BatchNorm | Conv | Residual)
        return (Elementwise(name, function),) if follows or self._recipe.after == word else ()

    def _attention(self, parts: Mapping[str, Program]) -> Program:
        query, key = parts["query"][-1], parts["key"][-1]
        if not (isinstance(query, Conv) and isinstance(key, Conv)):
            return ()
        heads = len(query.kernel) // len(key.kernel)
        return (Attention(f"{self._prefix}attn", **parts, heads=heads),)

    def _module(self, word: str) -> Program:
        name = self._prefix + word
        stored = {
            leaf: np.asarray(self._block.weights[f"{name}.{leaf}"], np.float64)
            for leaf in ("weight", "bias", "running_mean", "running_var", "gamma")
            if f"{name}.{leaf}" in self._block.weights
        }
        if not stored:
            return ()
        self.used.add(name)
        return (self._layer(name, stored),)

    def _layer(self, name: str, stored: Mapping[str, Values]) -> Layer:
        if "gamma" in stored:
            return Scale(name, stored["gamma"])
        weight, bias = stored["weight"], stored.get("bias")
        if "running_var" in stored and bias is not None:
            epsilon = self._block.epsilons.get(name, self._conventions.epsilon)
            return BatchNorm(name, weight, bias, stored["running_mean"], stored["running_var"], epsilon)
        if weight.ndim == 2:
            return Dense(name, weight, bias)
        strided = name == self._strided or "downsample" in name
        stride = 2 if "down_conv" in name else (self._block.stride if strided else 1)
        depthwise = weight.shape[1] == 1 and weight.shape[0] > 1 and weight.shape[2] > 1
        return Conv(name, weight, bias, stride, self._conventions.padding, len(weight) if depthwise else 1)
