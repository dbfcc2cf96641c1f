"""A head of a person's own on a backbone that a table knows: how it becomes part of the port.

A pooling and one dense layer are what timm's own classifier computes, so they go there. Any other chain of
steps takes the classifier's place as a sequence of modules, which `porter.load_model` builds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from porter.core.checkpoint import Checkpoint
from porter.core.head import HeadStep
from porter.core.layouts import parse_layout
from porter.planning.custom_head import OWN_HEAD, backbone_alone
from porter.planning.network.canonical import canonical
from porter.planning.network.head_chain import HeadChain, head_chain
from porter.planning.network.layer_pairing import POOLS, tail
from porter.planning.network.record import recorded
from porter.planning.recognition import Recognised
from porter.tables.table_records import Constant
from porter.tables.variants import Entry, ModelPart, Network, Stage, Variant

Shapes = Mapping[str, tuple[int, ...]]

_POOL_ARGUMENTS = {"global_avg_pool": {}, "global_max_pool": {"global_pool": "max"}}
# Modules that timm's networks run last, by themselves, after `global_pool`.
_CLASSIFIERS = ("classifier", "fc")
_LOGITS = "logits"
_KERNELS = {2: "i o -> o i", 4: "1 1 i o -> o i"}
_CONV_KERNELS = {2: "i o -> o i 1 1", 4: "1 1 i o -> o i 1 1"}
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
    """

    match: Recognised
    steps: tuple[HeadStep, ...]
    activation: str | None
    words: str


def own_head(checkpoint: Checkpoint, match: Recognised) -> OwnHead | None:
    """Return the network with the head that the source states, or None if there is no other than the table's.

    Args:
        checkpoint: The source.
        match: What was recognised in it; a classifier that is only the first layer of a longer head is part
            of that head.
    """
    network = checkpoint.stored_network
    classifier = _classifier(match.variant)
    if network is None or classifier is None:
        return None
    taken = {key for key in match.keys if key is not None}
    stated = {key for operation in network.operations for key in operation.variables.values()}
    end = _early_end(match)
    # The table's classifier is the same dense layer, whatever pools before it.
    pools = end is not None or any(o.kind == "global_max_pool" for o in network.operations)
    if (stated <= taken and not pools) or (end is None and match.ending is not None):
        return None
    backbone = backbone_alone(match)
    keys = {key for key in backbone.keys if key is not None}
    shapes = {key: spec.shape for key, spec in checkpoint.specs.items()}
    passed = None if end is not None else _activations(backbone)
    chain = head_chain(canonical(network), keys, passed, shapes, end)
    if chain is None:
        return None
    own = {key for roles in chain.variables for key in roles.values()}
    is_of_table = end is None and own <= taken and chain.steps[0].kind != "global_max_pool"
    if is_of_table or not own <= shapes.keys():
        return None
    return _joined(backbone, chain, classifier, shapes)


def _early_end(match: Recognised) -> int | None:
    """Return the operation of the source that a head may follow, if the network ends before its own end."""
    if match.ending is None or not match.ending.tail or len(match.ending.exits) != 1:
        return None
    return match.ending.exits[0]


def _classifier(variant: Variant) -> str | None:
    """Return the module that classifies, if it runs by itself after the network's pooling."""
    backbone = {part.name for part in variant.backbone_parts}
    modules = {entry.target.rpartition(".")[0] for entry in variant.entries if entry.part not in backbone}
    named = modules & set(_CLASSIFIERS)
    return named.pop() if len(modules) == 1 and named else None


def _activations(backbone: Recognised) -> int | None:
    """Return how many operations of the table's network follow the backbone's last layer before it pools.

    None if the table's network has no record.
    """
    variant = backbone.variant
    names = {variant.full_source(entry) for entry in variant.entries if entry.part in backbone.nodes}
    for network in recorded(variant):
        last = max(
            (n for n, o in enumerate(network.operations) if names & set(o.variables.values())), default=None
        )
        if last is None:
            continue
        following = list(tail(network.operations, last))
        return next(
            (n for n, o in enumerate(following) if o.kind in POOLS or o.variables or o.kind == "flatten"),
            len(following),
        )
    return None


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
        modules = {len(kinds) - 1: classifier}
        arguments = {"num_classes": chain.steps[-1].attributes["outputs"], **_POOL_ARGUMENTS[pool]}
    else:
        steps = chain.steps
        modules = {number: f"{classifier}.{number}" for number in range(len(kinds))}
        arguments = {"num_classes": 0}
    variant = _extended(backbone, chain, modules, arguments, shapes)
    keys = tuple(
        backbone_key
        for entry, backbone_key in zip(backbone.variant.entries, backbone.keys, strict=True)
        if entry.part in backbone.nodes
    )
    own = tuple(key for number in modules for _, key in sorted(chain.variables[number].items()))
    match = backbone._replace(variant=variant, nodes={**backbone.nodes, OWN_HEAD: 0}, keys=(*keys, *own))
    return OwnHead(match, steps, chain.activation, _in_words(chain))


def _extended(
    backbone: Recognised,
    chain: HeadChain,
    modules: Mapping[int, str],
    arguments: Mapping[str, object],
    shapes: Shapes,
) -> Variant:
    variant = backbone.variant
    there = backbone.nodes
    entries = [entry for entry in variant.entries if entry.part in there]
    constants: list[Constant] = [each for each in variant.constants if each.part in there]
    counters = [counter for counter in variant.counters if counter[0] in there]
    for number, module in modules.items():
        step = chain.steps[number]
        variables = [
            (role, _path(backbone, key), shapes[key]) for role, key in sorted(chain.variables[number].items())
        ]
        entries += _entries(step, variables, module, chain.layers[number])
        constants += _constants(step, chain.variables[number], module)
        counters += [(OWN_HEAD, f"{module}.num_batches_tracked")] if step.kind == "norm" else []
    target = Network(variant.target.name, {**variant.target.arguments, **arguments})
    return replace(
        variant,
        parts=(*variant.backbone_parts, ModelPart(OWN_HEAD, "", None)),
        entries=tuple(entries),
        constants=tuple(constants),
        counters=tuple(counters),
        stages=_stages(variant, chain),
        target=target,
    )


def _stages(variant: Variant, chain: HeadChain) -> tuple[Stage, ...]:
    return tuple(
        stage._replace(source="", block=f"the source's own head, {chain.layers[-1]}")
        if stage.name == _LOGITS
        else stage
        for stage in variant.stages
    )


def _entries(
    step: HeadStep, variables: Iterable[tuple[str, str, tuple[int, ...]]], module: str, layer: str
) -> Iterator[Entry]:
    named = {role: name for role, name, _ in _STATISTICS} if step.kind == "norm" else {"kernel": "weight"}
    named = {"bias": "bias", **named}
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
        return "c -> c"
    return (_KERNELS if step.kind == "dense" else _CONV_KERNELS)[axes]


def _path(backbone: Recognised, key: str) -> str:
    node = backbone.graph.node_of_key.get(key)
    return (None if node is None else backbone.graph.paths[node]) or key


def _constants(step: HeadStep, variables: Mapping[str, str], module: str) -> Iterator[Constant]:
    """Yield what PyTorch's module has and the source's layer does without."""
    if step.kind in ("dense", "conv") and "bias" not in variables:
        yield Constant(OWN_HEAD, f"{module}.bias", (int(str(step.attributes["outputs"])),), 0.0)
    elif step.kind == "norm":
        channels = int(str(step.attributes["channels"]))
        for role, name, value in _STATISTICS:
            if role not in variables:
                yield Constant(OWN_HEAD, f"{module}.{name}", (channels,), value)


def _in_words(chain: HeadChain) -> str:
    steps = [
        f"{step.kind} {step.attributes['outputs']}" if step.kind in ("dense", "conv") else step.kind
        for step in chain.steps
    ]
    return ", ".join([*steps, *([chain.activation] if chain.activation else [])])
