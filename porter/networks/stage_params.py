"""MobileNetV4 from a `stage_params` document, the YAML with which NetsPresso Trainer describes a backbone.

The document describes the same five networks as the TensorFlow Model Garden and timm do, block by block. It
says nothing of the classifier, of padding and of epsilon: those are the Garden's here unless an argument says
otherwise (NetsPresso's own are ``pad_type=""`` and ``bn_eps=1e-5``).

``layer_scale`` is the initial value of a factor per channel after every universal inverted residual and
every attention. In the Garden and in timm the hybrids have it, starting at 1e-5, and the other networks have
none; the document's conv_small says 0.1, which means twelve tensors more than the Garden's network holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.errors import MissingDependencyError, OutputError
from porter.networks.definition import Definition, parse

if TYPE_CHECKING:
    from torch import nn

_PATH = ("model", "architecture", "backbone")
_PARAMS = (
    "stem_out_channel",
    "stem_kernel_size",
    "stem_stride",
    "final_conv_out_channel",
    "final_conv_kernel_size",
    "final_conv_stride",
    "norm_type",
    "act_type",
    "return_stage_idx",
    "layer_scale",
)
_ACTIVATIONS = ("relu", "relu6", "gelu", "silu")


def from_stage_params(
    document: str | os.PathLike[str], *, layer_scale: bool = True, **arguments: Any
) -> nn.Module:
    """Build the network that a `stage_params` document describes, with a classifier.

    Args:
        document: The YAML: its path, or its text.
        layer_scale: Whether to build the document's layer scale. False leaves it out, which is what the
            Garden's and timm's conv_small are.
        **arguments: As in `timm.create_model`, e.g. ``num_classes`` (1000), ``in_chans`` (3), ``pad_type``
            (``"same"``), ``bn_eps`` (1e-3).

    Returns:
        timm's MobileNetV3 class in eval mode with random weights; its tensors are named as in timm's
        ``mobilenetv4_*`` models.

    Raises:
        OutputError: the document is malformed, or describes what timm's blocks cannot compute; the message
            names stage and block, both counted from 0.
        MissingDependencyError: PyYAML or timm is not installed.
    """
    definition = read_stage_params(document, layer_scale=layer_scale)
    try:
        from porter.networks.building import build
    except ImportError as error:
        raise MissingDependencyError(
            "load/no-timm",
            f"{error.name or 'timm'} is not installed",
            hint="pip install 'port-weights[torch]'",
        ) from None
    return build("porter_stage_params", definition, **arguments).eval()


def read_stage_params(document: str | os.PathLike[str], *, layer_scale: bool = True) -> Definition:
    """Return the definition of the network, without torch; arguments and errors are `from_stage_params`'s."""
    backbone = _backbone(_loaded(document))
    params = _mapping(backbone, "params", _PARAMS)
    stages = backbone["stage_params"]
    if not isinstance(stages, list) or not all(isinstance(blocks, list) for blocks in stages):
        raise _error("stage_params", "a list of stages, each a list of blocks", type(stages).__name__)
    arch_def: list[list[str]] = []
    width = _positive(params, "stem_out_channel")
    for number, blocks in enumerate(stages):
        arch_def.append([])
        for position, block in enumerate(blocks):
            text, width = _block(f"stage {number}, block {position}", block, width)
            arch_def[-1].append(text)
    final = ["conv", *(params[f"final_conv_{name}"] for name in ("out_channel", "kernel_size", "stride"))]
    arch_def.append([_block("final_conv", final, width)[0]])
    return parse(
        {
            "base": "MobileNetV3",
            "arch_def": arch_def,
            "arguments": _arguments(params, layer_scale=layer_scale),
        }
    )


def _loaded(document: str | os.PathLike[str]) -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingDependencyError(
            "network/no-yaml", "PyYAML is not installed", hint="pip install 'port-weights[torch]'"
        ) from None
    is_text = isinstance(document, str) and "\n" in document
    try:
        text = str(document) if is_text else Path(document).read_text(encoding="utf-8")
        return yaml.safe_load(text)
    except OSError as error:
        raise OutputError(
            "network/stage-params", f"cannot be read ({error.strerror})", file=document
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise OutputError("network/stage-params", f"the document is not valid YAML ({problem})") from None


def _backbone(loaded: Any) -> Mapping[str, Any]:
    for key in _PATH:
        if not isinstance(loaded, dict) or key not in loaded:
            raise _error("the document", ".".join(_PATH), f"no {key!r}")
        loaded = loaded[key]
    backbone = _mapping({"backbone": loaded}, "backbone", ("name", "params", "stage_params"))
    if backbone["name"] != "mobilenetv4":
        raise _error("name", "'mobilenetv4'", repr(backbone["name"]))
    return backbone


def _mapping(parent: Mapping[str, Any], key: str, keys: Sequence[str]) -> Mapping[str, Any]:
    """Return the mapping `key` of `parent`, which must hold exactly `keys`."""
    value = parent[key]
    if not isinstance(value, dict):
        raise _error(key, "a mapping", type(value).__name__)
    for name in sorted(set(value) ^ set(keys), key=str):
        raise _error(key, f"the keys {', '.join(keys)}", f"{'unknown' if name in value else 'no'} {name!r}")
    return value


def _arguments(params: Mapping[str, Any], *, layer_scale: bool) -> dict[str, Any]:
    for name, only in (
        ("stem_kernel_size", 3),
        ("stem_stride", 2),
        ("norm_type", "batch_norm"),
        ("return_stage_idx", None),
    ):
        if params[name] != only:
            raise _error(name, repr(only), repr(params[name]))
    if params["act_type"] not in _ACTIVATIONS:
        raise _error("act_type", f"one of {', '.join(_ACTIVATIONS)}", repr(params["act_type"]))
    arguments = {
        "stem_size": _positive(params, "stem_out_channel"),
        "fix_stem": True,
        "num_features": 1280,
        "head_bias": False,
        "head_norm": True,
        "act_layer": params["act_type"],
        "pad_type": "same",
        "bn_eps": 1e-3,
    }
    scale = params["layer_scale"]
    if scale is not None and (type(scale) not in (int, float) or not scale > 0):
        raise _error("layer_scale", "a positive number or ~", repr(scale))
    if layer_scale and scale is not None:
        arguments["layer_scale_init_value"] = float(scale)
    return arguments


def _block(where: str, block: Any, width: int) -> tuple[str, int]:
    """Return a block in timm's notation, and how many channels it gives."""
    kind = block[0] if isinstance(block, list) and block else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise _error(where, f"a list that begins with one of {', '.join(_KINDS)}", repr(block))
    names, write = _KINDS[kind]
    values = block[1:]
    if len(values) != len(names):
        raise _error(f"{where} ({kind})", f"{len(names)} values: {', '.join(names)}", f"{len(values)}")
    given = dict(zip(names, values, strict=True))
    out = _positive(given, "out_channels", f"{where} ({kind}), ")
    return write(given, width, f"{where} ({kind})"), out


def _conv(given: Mapping[str, Any], width: int, where: str) -> str:
    del width
    kernel, stride, out = _numbers(given, ("kernel_size", "stride", "out_channels"), where)
    return f"cn_r1_k{kernel}_s{stride}_c{out}"


def _fused(given: Mapping[str, Any], width: int, where: str) -> str:
    names = ("kernel_size", "stride", "hidden_channels", "out_channels")
    kernel, stride, hidden, out = _numbers(given, names, where)
    return f"er_r1_k{kernel}_s{stride}_e{_expansion(hidden, width, where)}_c{out}"


def _universal(given: Mapping[str, Any], width: int, where: str) -> str:
    stride, hidden, out = _numbers(given, ("stride", "hidden_channels", "out_channels"), where)
    start, middle = _depthwise(given, "extra_dw", where), _depthwise(given, "middle_dw", where)
    if stride > 1 and not (start or middle):
        raise _error(where, "a depthwise convolution to take the stride", f"stride {stride} and none")
    return f"uir_r1_a{start}_k{middle}_s{stride}_e{_expansion(hidden, width, where)}_c{out}"


def _attention(given: Mapping[str, Any], width: int, where: str) -> str:
    names = ("num_attention_heads", "attention_channel", "stride", "out_channels")
    heads, channels, stride, out = _numbers(given, names, where)
    if channels % heads:
        raise _error(where, f"an attention_channel that {heads} heads divide", channels)
    if stride != 1 or out != width:
        raise _error(where, f"stride 1 and {width} out_channels, as many as come in", f"{stride} and {out}")
    if given["query_pooling_stride"] not in (None, 1):
        raise _error(where, "no query_pooling_stride (~)", given["query_pooling_stride"])
    downsample = _flag(given, "key_val_downsample", where)
    kernel_and_stride = ("key_val_downsample_kernel_size", "key_val_downsample_stride")
    if not downsample:
        for name in kernel_and_stride:
            if given[name] is not None:
                raise _error(where, f"no {name} (~) where key_val_downsample is False", given[name])
        return f"mqa_r1_k3_h{heads}_s1_d{channels // heads}_c{out}"
    kernel, step = _numbers(given, kernel_and_stride, where)
    if step == 1:
        raise _error(where, "a key_val_downsample_stride above 1", step)
    return f"mqa_r1_k{kernel}_h{heads}_s1_v{step}_d{channels // heads}_c{out}"


_KINDS: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any], int, str], str]]] = {
    "conv": (("out_channels", "kernel_size", "stride"), _conv),
    "fi": (("out_channels", "hidden_channels", "kernel_size", "stride"), _fused),
    "uir": (
        (
            "out_channels",
            "hidden_channels",
            "extra_dw",
            "extra_dw_kernel_size",
            "middle_dw",
            "middle_dw_kernel_size",
            "stride",
        ),
        _universal,
    ),
    "mmqa": (
        (
            "out_channels",
            "attention_channel",
            "num_attention_heads",
            "query_pooling_stride",
            "key_val_downsample",
            "key_val_downsample_kernel_size",
            "key_val_downsample_stride",
            "stride",
        ),
        _attention,
    ),
}


def _depthwise(given: Mapping[str, Any], name: str, where: str) -> int:
    """Return the kernel size of an optional depthwise convolution, 0 if there is none."""
    if _flag(given, name, where):
        return _positive(given, f"{name}_kernel_size", f"{where}, ")
    if given[f"{name}_kernel_size"] is not None:
        raise _error(where, f"no {name}_kernel_size (~) where {name} is False", given[f"{name}_kernel_size"])
    return 0


def _expansion(hidden: int, width: int, where: str) -> str:
    """Return hidden / width, a factor in timm's notation; timm rounds its product to a multiple of 8."""
    factor = f"{hidden / width:.9g}"
    if hidden % 8 or "e" in factor:
        raise _error(where, "hidden_channels that 8 divides, as timm rounds them", hidden)
    return factor


def _numbers(given: Mapping[str, Any], names: Sequence[str], where: str) -> list[int]:
    return [_positive(given, name, f"{where}, ") for name in names]


def _positive(given: Mapping[str, Any], name: str, where: str = "") -> int:
    value = given[name]
    if type(value) is not int or value < 1:
        raise _error(f"{where}{name}", "a whole number above 0", repr(value))
    return value


def _flag(given: Mapping[str, Any], name: str, where: str) -> bool:
    value = given[name]
    if type(value) is not bool:
        raise _error(f"{where}, {name}", "True or False", repr(value))
    return value


def _error(where: str, expected: object, found: object) -> OutputError:
    return OutputError("network/stage-params", where, expected=expected, found=found)
