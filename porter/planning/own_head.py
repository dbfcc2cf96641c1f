"""A head of a person's own on a backbone that a table knows: how it becomes part of the port.

A pooling and one dense layer are what timm's own classifier computes, so they go there. Any other head of
steps takes the classifier's place as a sequence of modules, which `porter.load_model` builds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.core.head import CLASSIFIERS, JOIN, WEIGHTED, HeadStep, branches_of
from porter.core.layouts import parse_layout
from porter.planning.custom_head import OWN_HEAD, backbone_alone
from porter.planning.network.canonical import canonical
from porter.planning.network.early_end import following
from porter.planning.network.folded_form import with_affine_norms
from porter.planning.network.head_chain import HeadChain, Outside, head_chain
from porter.planning.network.head_steps import HeadPart, Shapes
from porter.planning.network.record import recorded
from porter.planning.network.written_out import in_one_operation
from porter.planning.recognition import Recognised
from porter.tables.table_records import Constant
from porter.tables.variants import Entry, ModelPart, Network, Stage, Variant

_NORMS = ("norm", "layer_norm", "group_norm")
_POOL_ARGUMENTS = {"global_avg_pool": {}, "global_max_pool": {"global_pool": "max"}}
_LOGITS = "logits"
_KERNELS = {2: "i o -> o i", 4: "1 1 i o -> o i"}
_CONV_KERNELS = {2: "i o -> o i 1 1", 4: "h w i o -> o i h w"}
# Of a batch normalisation: TensorFlow's role, PyTorch's name, and the value of what is not there.
_STATISTICS = (
    ("gamma", "weight", 1.0),
    ("beta", "bias", 0.0),
    ("mean", "running_mean", 0.0),
    ("variance", "running_var", 1.0),
)


class OwnHead(NamedTuple):
    """A network with the head that the source has.

    Attributes:
        match: The backbone that was recognised, and the head as one more part of it.
        steps: What takes the place of the classifier, in order; nothing if timm's own classifier computes it.
        activation: What the source has after it, e.g. ``"softmax"``; None for nothing.
        words: The head in words.
        outputs: The source's names of what it gives.
    """

    match: Recognised
    steps: tuple[HeadStep, ...]
    activation: str | None
    words: str
    outputs: tuple[str, ...]


def own_head(checkpoint: Checkpoint, match: Recognised) -> OwnHead | None:
    """Return the network with the head that the source states, or None if there is no other than the table's.

    Args:
        checkpoint: The source.
        match: What was recognised in it; a classifier that is only the first layer of a longer head is part
            of that head.
    """
    classifier = _classifier(match.variant)
    if classifier is None or not _may_have_one(checkpoint, match):
        return None
    backbone = backbone_alone(match)
    chain = _chain(checkpoint, backbone)
    if not isinstance(chain, HeadChain):
        return None
    own = {key for part in chain.parts for key in part.variables.values()}
    if _is_of_table(match, chain, own) or not own <= checkpoint.specs.keys():
        return None
    return _joined(backbone, chain, classifier, _shapes(checkpoint))


def outside_of_head(checkpoint: Checkpoint, match: Recognised) -> str:
    """Return the first layer behind the backbone that is no step of a head, and why; "" if none is known."""
    if checkpoint.stored_network is None or _classifier(match.variant) is None:
        return ""
    found = _chain(checkpoint, backbone_alone(match)) if _may_have_one(checkpoint, match) else None
    if not isinstance(found, Outside):
        return ""
    operation = found.operation
    return f"{operation.name} ({operation.attributes.get('class_name', operation.kind)}) {found.reason}"


def _is_of_table(match: Recognised, chain: HeadChain, own: Collection[str]) -> bool:
    """Whether a head is the average and the classifier that the table has, and nothing else."""
    taken = {key for key in match.keys if key is not None}
    is_usual = {step.kind for step in chain.steps} <= {"global_avg_pool", "dense", "conv"}
    return _early_end(match) is None and taken.issuperset(own) and is_usual and len(chain.outputs) == 1


def _may_have_one(checkpoint: Checkpoint, match: Recognised) -> bool:
    return checkpoint.stored_network is not None and (match.ending is None or _early_end(match) is not None)


def _chain(checkpoint: Checkpoint, backbone: Recognised) -> HeadChain | Outside | None:
    assert checkpoint.stored_network is not None  # noqa: S101 (every caller has asked)
    keys = {key for key in backbone.keys if key is not None}
    end = _early_end(backbone)
    network = canonical(checkpoint.stored_network)
    network = with_affine_norms(network) if isinstance(checkpoint, FoldedCheckpoint) else network
    network = in_one_operation(network)
    passed = None if end is not None else _activations(backbone)
    return head_chain(network, keys, passed, _shapes(checkpoint), end)


def _shapes(checkpoint: Checkpoint) -> Shapes:
    return {key: spec.shape for key, spec in checkpoint.specs.items()}


def _early_end(match: Recognised) -> int | None:
    """Return the operation of the source that a head may follow, if the network ends before its own end."""
    if match.ending is None or not match.ending.tail or len(match.ending.exits) != 1:
        return None
    return match.ending.exits[0]


def _classifier(variant: Variant) -> str | None:
    """Return the module that classifies, if it runs by itself after the network's pooling."""
    backbone = {part.name for part in variant.backbone_parts}
    modules = {entry.target.rpartition(".")[0] for entry in variant.entries if entry.part not in backbone}
    named = modules & set(CLASSIFIERS)
    return named.pop() if len(modules) == 1 and named else None


def _activations(backbone: Recognised) -> int | None:
    """Return how many operations of the table's network follow the backbone's last layer before it pools.

    None if the table's network has no record.
    """
    variant = backbone.variant
    names = {variant.full_source(entry) for entry in variant.entries if entry.part in backbone.nodes}
    network = recorded(variant)
    behind = None if network is None else following(network, names)
    return None if behind is None else len(behind)


def _joined(backbone: Recognised, chain: HeadChain, classifier: str, shapes: Shapes) -> OwnHead:
    kinds = [step.kind for step in chain.steps]
    pool = kinds[0] if chain.takes_map else "global_avg_pool"
    is_whole = len(backbone.nodes) == len(backbone.variant.backbone_parts)  # or timm's classifier is wider
    is_whole = is_whole and backbone.ending is None
    is_simple = (
        is_whole and kinds == ([pool, "dense"] if chain.takes_map else ["dense"]) and pool in _POOL_ARGUMENTS
    )
    if is_simple:
        steps: tuple[HeadStep, ...] = ()
        modules = {classifier: chain.parts[-1]}
        arguments = {"num_classes": chain.parts[-1].step.attributes["outputs"], **_POOL_ARGUMENTS[pool]}
    else:
        steps = chain.steps
        modules = {f"{classifier}.{part.place}": part for part in chain.parts}
        arguments = {"num_classes": 0}
    variant = _extended(backbone, chain, modules, arguments, shapes)
    keys = tuple(
        backbone_key
        for entry, backbone_key in zip(backbone.variant.entries, backbone.keys, strict=True)
        if entry.part in backbone.nodes
    )
    own = tuple(key for part in modules.values() for _, key in sorted(part.variables.items()))
    match = backbone._replace(variant=variant, nodes={**backbone.nodes, OWN_HEAD: 0}, keys=(*keys, *own))
    return OwnHead(match, steps, chain.activation, _in_words(chain), chain.outputs)


def _extended(
    backbone: Recognised,
    chain: HeadChain,
    modules: Mapping[str, HeadPart],
    arguments: Mapping[str, object],
    shapes: Shapes,
) -> Variant:
    variant = backbone.variant
    there = backbone.nodes
    entries = [entry for entry in variant.entries if entry.part in there]
    constants: list[Constant] = [each for each in variant.constants if each.part in there]
    counters = [counter for counter in variant.counters if counter[0] in there]
    for module, part in modules.items():
        variables = [
            (role, _path(backbone, key), shapes[key]) for role, key in sorted(part.variables.items())
        ]
        entries += _entries(part.step, variables, module, part.layer)
        constants += _constants(part.step, part.variables, module)
        counters += [(OWN_HEAD, f"{module}.num_batches_tracked")] if part.step.kind == "norm" else []
    target = Network(variant.target.name, {**variant.target.arguments, **arguments})
    return replace(
        variant,
        parts=(*variant.backbone_parts, ModelPart(OWN_HEAD, "", None)),
        entries=tuple(entries),
        constants=tuple(constants),
        counters=tuple(counters),
        stages=tuple(_stages(variant, chain, modules)),
        target=target,
    )


def _stages(variant: Variant, chain: HeadChain, modules: Mapping[str, HeadPart]) -> Iterator[Stage]:
    """Yield the table's stages, its logits as the source has them: one stage for each output."""
    for stage in variant.stages:
        if stage.name != _LOGITS:
            yield stage
        elif len(chain.outputs) == 1:
            yield stage._replace(source="", block=f"the source's own head, {chain.parts[-1].layer}")
        else:
            yield from _stages_of_outputs(chain, modules)


def _stages_of_outputs(chain: HeadChain, modules: Mapping[str, HeadPart]) -> Iterator[Stage]:
    for number, name in enumerate(chain.outputs):
        own = chain.branch(number)
        listed = [(module, part) for module, part in modules.items() if part in own and part.variables]
        if listed:
            module, part = listed[-1]
            yield Stage(
                f"output {name}", "", (module,), f"the source's own head, {part.layer}", is_layer=True
            )


def _entries(
    step: HeadStep, variables: Iterable[tuple[str, str, tuple[int, ...]]], module: str, layer: str
) -> Iterator[Entry]:
    named = {role: name for role, name, _ in _STATISTICS} if step.kind in _NORMS else {}
    named = {"kernel": "weight", "alpha": "weight", "bias": "bias", **named}
    for role, path, shape in variables:
        layout = parse_layout(_layout(step, role, len(shape)))
        yield Entry(
            part=OWN_HEAD,
            source=path,
            source_shape=shape,
            layout=layout,
            target=f"{module}.{named[role]}",
            target_shape=layout.target_shape(shape),
            kind="batch_norm" if step.kind == "norm" else step.kind,
            bn_eps=None,
            is_variance=role == "variance",
            block=f"the source's own head: {layer}",
            role=role,
            join=False,
            folded=False,
            scale=1.0,
            gain=None,
        )


def _layout(step: HeadStep, role: str, axes: int) -> str:
    if role != "kernel":
        return "c -> c" if axes == 1 else "1 1 c -> c"
    if step.kind == "depthwise_conv":
        return "h w c m -> (c m) 1 h w"
    return (_KERNELS if step.kind == "dense" else _CONV_KERNELS)[axes]


def _path(backbone: Recognised, key: str) -> str:
    node = backbone.graph.node_of_key.get(key)
    return (None if node is None else backbone.graph.paths[node]) or key


def _constants(step: HeadStep, variables: Mapping[str, str], module: str) -> Iterator[Constant]:
    """Yield what PyTorch's module has and the source's layer does without."""
    if step.kind in WEIGHTED and "bias" not in variables:
        yield Constant(OWN_HEAD, f"{module}.bias", (int(str(step.attributes["outputs"])),), 0.0)
    elif step.kind in _NORMS:
        channels = int(str(step.attributes["channels"]))
        for role, name, value in _STATISTICS if step.kind == "norm" else _STATISTICS[:2]:
            if role not in variables:
                yield Constant(OWN_HEAD, f"{module}.{name}", (channels,), value)


def _in_words(chain: HeadChain) -> str:
    if len(chain.outputs) == 1:
        return ", ".join([*map(_told, chain.steps), *([chain.activation] if chain.activation else [])])
    *trunk, fork = chain.steps
    named = zip(chain.outputs, branches_of(fork), strict=True)
    branches = (f"{name}: {_listed(steps)}" for name, steps in named)
    return ", ".join([*map(_told, trunk), f"then {'; '.join(branches)}"])


def _listed(steps: Iterable[HeadStep]) -> str:
    return ", ".join(map(_told, steps)) or "as it is"


def _told(step: HeadStep) -> str:
    if step.kind == JOIN:
        return f"{step.attributes['how']} of ({'; '.join(map(_listed, branches_of(step)))})"
    if step.kind not in WEIGHTED:
        size = "x".join(map(str, step.attributes.get("size", ())))  # type: ignore[call-overload]
        return f"{step.kind}{f' {size}' if size else ''}"
    size = "x".join(map(str, step.attributes.get("kernel", ())))  # type: ignore[call-overload]
    return f"{step.kind}{f' {size}' if size else ''} {step.attributes['outputs']}"
