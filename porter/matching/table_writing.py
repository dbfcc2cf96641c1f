"""A match as a mapping table (docs/mapping-tables.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.matching.comparable import has_stage
from porter.matching.repeated_lines import with_ranges
from porter.tables.kinds import KINDS

if TYPE_CHECKING:  # the result writes itself with this module
    from porter.matching.result import MatchedLayer, MatchResult

_PART = "model"
_LENGTHS = {
    "conv2d": "h w i o",
    "depthwise_conv2d": "h w c m",
    "conv2d_transpose": "h w o i",
    "conv2d_as_linear": "1 1 i o",
    "dense": "i o",
    "dense_as_conv2d": "i o",
    "batch_norm": "c",
    "layer_norm": "c",
    "group_norm": "c",
}


def table_of(result: MatchResult) -> str:
    """Return the table of a match as TOML."""
    templates: dict[str, str] = {}
    layers = list(_first_calls(result.layers))
    lines = [_block(layer, result, templates) for layer in layers]
    if any(layer.evidence for layer in layers):  # each line has a reason of its own
        blocks = [
            f"{_toml(line)},{f'  # {layer.evidence}' if layer.evidence else ''}"
            for line, layer in zip(lines, layers, strict=True)
        ]
    else:
        blocks = [text for group in with_ranges(lines) for text in _group(group)]
    sections = [
        _head(result),
        _proof(result),
        _input(result),
        *(f"[template.{name}.rules]\n{rules}" for rules, name in templates.items()),
        _variant(result, blocks),
    ]
    return "\n\n".join(sections) + "\n"


def _first_calls(layers: Sequence[MatchedLayer]) -> Iterator[MatchedLayer]:
    """Yield each module's parameters once: a shared one is called again with the same variables."""
    seen = set()
    for layer in layers:
        given = layer.module, tuple(each["leaf"] for each in layer.moved)
        if given not in seen:
            seen.add(given)
            yield layer


def _head(result: MatchResult) -> str:
    target = result.target
    lines = [
        f"# {Path(result.source).name} to {target.words}, found and checked by porter match.",
        "",
        "schema = 1",
        f"family = {_text(_name(result))}",
        f"title = {_text(f'{Path(result.source).name} to {target.words}')}",
        "version = 1",
        "",
        "[source]",
        f"builder = {_text(result.function or 'file')}",
        "",
        f"[part.{_PART}]",
        'path = ""',
        "",
        "[target]",
        f"library = {_text(target.library)}",
        *([f"builder = {_text(target.name)}"] if target.library == "torch" else []),
    ]
    if result.adjustments:
        lines += [
            "",
            "[target.adjust]",
            *(f"{key} = {_toml(value)}" for key, value in result.adjustments.items()),
        ]
    if result.preparing:
        layers = dict.fromkeys(path.rpartition("/")[0] or path for path in result.preparing)
        lines += ["", "[left_out]", *(f'{_text(path)} = "prepares images"' for path in layers)]
    return "\n".join(lines)


def _proof(result: MatchResult) -> str:
    sizes = dict.fromkeys(run.size for run in result.proof)
    seeds = dict.fromkeys(int(n) for run in result.proof for n in re.findall(r"seed (\d+)", run.weights))
    ran = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    lines = [
        "[proof]",
        f"status = {_text(result.status)}",
        f"sizes = {_toml(list(sizes))}",
        f"seeds = {_toml(sorted(seeds))}",
        f"worst = {_float(result.worst)}",
        f"ran = {_text(ran)}",
    ]
    if result.open:
        lines += ["open = [", *(f"    {_text(each)}," for each in result.open), "]"]
    return "\n".join(lines)


def _input(result: MatchResult) -> str:
    image = result.image
    known = (
        []
        if image["known"]
        else ["# The source does not say how its images are prepared: mean and std are to be filled in."]
    )
    return "\n".join(
        [
            *known,
            "[input]",
            f"size = {image['size']}",
            f"mean = {_toml(_by_channel(image['mean'], image['channels']))}",
            f"std = {_toml(_by_channel(image['std'], image['channels']))}",
            "crop_pct = 1.0",
            'interpolation = "bilinear"',
            *([f"check_sizes = {_toml(sizes)}"] if (sizes := _check_sizes(result)) else []),
        ]
    )


def _check_sizes(result: MatchResult) -> list[int]:
    """Return the sizes that a check runs: the one that the source takes, or the square ones of the proof."""
    if result.image["fixed"]:
        return [result.image["size"]]
    proved = (tuple(map(int, run.size.split("x"))) for run in result.proof)
    return list(dict.fromkeys(height for height, width in proved if height == width))


def _by_channel(values: Sequence[float], channels: int) -> list[float]:
    return list(values) * channels if len(values) == 1 else list(values)


def _variant(result: MatchResult, blocks: Sequence[str]) -> str:
    target = result.target
    arguments = dict(target.arguments)
    model = {} if target.library == "torch" else {"model": target.name}
    return "\n".join(
        [
            f"[variant.{_name(result)}]",
            "source = {}",
            f"target = {_toml({**model, **arguments})}",
            "blocks = [",
            *(f"    {block}" for block in blocks),
            "]",
        ]
    )


def _group(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the text of lines that take turns, or of a single one."""
    if len(lines) == 1:
        yield f"{_toml(lines[0])},"
        return
    yield "{ lines = ["
    yield from (f"    {_toml(line)}," for line in lines)
    yield "] },"


def _block(layer: MatchedLayer, result: MatchResult, templates: dict[str, str]) -> dict[str, Any]:
    """Return the line of a layer, and add its template where no layer before had the same."""
    folding = next(
        (each for each in result.layers if layer.lost_bias and each.folded == layer.lost_bias), None
    )
    below = _common([each["path"] for each in layer.moved])
    target, inner, into = layer.module, "", ""
    if folding is not None:
        target = _common_module(layer.module, folding.module)
        inner, into = (name.removeprefix(target).lstrip(".") for name in (layer.module, folding.module))
    rules, lengths = _rules(layer, below, inner, into)
    if rules not in templates:
        templates[rules] = _free_name(layer.kind, templates)
    return {
        "source": f"{_PART}/{below}" if below else _PART,
        **({"stage": layer.module} if target != layer.module else {}),
        **({} if has_stage(layer, result.layers) else {"stage": ""}),
        "target": target,
        "template": templates[rules],
        **lengths,
        **({} if layer.activated == (result.target.library == "timm") else {"activation": layer.activated}),
    }


def _rules(layer: MatchedLayer, below: str, inner: str, into: str) -> tuple[str, dict[str, int]]:
    """Return the rules of a layer's template, and the lengths that its line gives."""
    kind = KINDS.get(layer.kind)
    main = layer.moved[0]
    leaves = {leaf.source for leaf in (*kind.leaves, kind.bias) if leaf} if kind else set()
    owner = _owner(main["path"])
    leaf_names = [each["leaf"] for each in layer.moved]
    plain = kind is not None and all(
        _owner(each["path"]) == owner
        and each["path"].rpartition("/")[2] == each_role(layer.kind, each["role"])
        for each in layer.moved
    )
    if plain and leaves:
        return _kind_rule(layer, owner.removeprefix(below).lstrip("/"), inner, into)
    lines = []
    lengths: dict[str, int] = {}
    told: set[str] = set()
    for number, each in enumerate(layer.moved):
        names = [f"{_letter(number)}{axis}" for axis in range(len(each["shape"]))]
        lengths |= dict(zip(names, each["shape"], strict=True))
        rule = {
            "target": ".".join(filter(None, (inner, each["leaf"]))),
            "kind": "tensor",
            "layout": each["layout"],
            "shape": " ".join(names),
            **({"scale": each["scale"]} if each["scale"] != 1 else {}),
            **({"join": True} if leaf_names.count(each["leaf"]) > 1 else {}),
            **({"counter": True} if each["role"] == "moving_variance" and each["leaf"] not in told else {}),
        }
        told.add(each["leaf"])
        if number == 0:
            rule |= _beside(layer)
        lines.append(f"{_text(each['path'].removeprefix(below).lstrip('/'))} = {_toml(rule)}")
    return "\n".join(lines), lengths


def _beside(layer: MatchedLayer) -> dict[str, dict[str, str]]:
    """Return what the module has and the layer does without, for a rule of one tensor."""
    found: dict[str, dict[str, str]] = {}
    for each in layer.constants:
        shape = " ".join(map(str, each["shape"]))
        found.setdefault("ones" if each["value"] else "zeros", {})[each["leaf"]] = shape
    return found


def each_role(kind: str, role: str) -> str:
    """Return what Keras calls a variable of a layer: a depthwise kernel has a name of its own."""
    return "depthwise_kernel" if kind == "depthwise_conv2d" and role == "kernel" else role


def _kind_rule(layer: MatchedLayer, key: str, inner: str, into: str) -> tuple[str, dict[str, int]]:
    shape = _LENGTHS[layer.kind]
    names = shape.split()
    main = layer.moved[0]["shape"]
    lengths = {name: length for name, length in zip(names, main, strict=True) if not name.isdigit()}
    rule: dict[str, Any] = {"target": inner, "kind": layer.kind, "shape": shape}
    if any(each["role"] == "bias" for each in layer.moved):
        rule["bias"] = True
    if layer.moved[0]["scale"] != 1:
        rule["scale"] = layer.moved[0]["scale"]
    if into:
        rule |= {"bias": "fold", "bias_into": into}
    implied = {"weight": "gamma", "bias": "beta"} if layer.kind.endswith("norm") else {"bias": "bias"}
    if layer.constants:
        rule["without"] = [implied[each["leaf"]] for each in layer.constants]
    told = {*rule.get("without", ()), *(each["role"] for each in layer.moved)}
    neither = [leaf.source for leaf in KINDS[layer.kind].leaves if leaf.source not in told]
    if neither and layer.kind.endswith("norm"):
        rule["neither"] = neither
    return f"{_text(key)} = {_toml(rule)}", lengths


def _owner(path: str) -> str:
    return path.rpartition("/")[0]


def _common(paths: Sequence[str]) -> str:
    """Return the object path that all variables of a layer are below."""
    parts = [path.split("/")[:-1] for path in paths]
    shared = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join(shared)


def _common_module(one: str, other: str) -> str:
    shared = []
    for first, second in zip(one.split(".")[:-1], other.split(".")[:-1], strict=False):
        if first != second:
            break
        shared.append(first)
    return ".".join(shared)


def _free_name(kind: str, templates: Mapping[str, str]) -> str:
    taken = set(templates.values())
    number = 1
    name = kind
    while name in taken:
        number += 1
        name = f"{kind}_{number}"
    return name


def _letter(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return letters[number] if number < len(letters) else f"{_letter(number // 26 - 1)}{letters[number % 26]}"


def _name(result: MatchResult) -> str:
    return re.sub(r"\W+", "_", f"matched_{result.target.name}").strip("_").lower()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return _text(value) if isinstance(value, str) else str(value)


def _float(value: float) -> str:
    return "inf" if value == float("inf") else repr(float(value))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
