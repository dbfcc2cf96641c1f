"""Batch norms that a tool folded into kernels and biases of a graph, given back as norms.

``optimize_for_inference`` and ``transform_graph`` multiply a norm's factor into the kernel before it and
leave its shift as a bias: ``<norm>/batchnorm/sub`` where constants were folded, ``<convolution>_bn_offset``
where a fused norm was. Tables know the network with its norms, so each gets factor and shift as gamma and
beta, mean 0 and a variance that makes 1 with the epsilon.

Source of the names: tensorflow/tools/graph_transforms/{fold_constants_lib,fold_batch_norms,
fold_old_batch_norms}.cc and tensorflow/python/tools/optimize_for_inference_lib.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from porter.core.stored_network import Operation, StoredNetwork
from porter.formats.malformed import Malformed

EPSILON = 1e-3
VARIANCE = 1 - EPSILON
NORMS_FOLDED = (
    "{count} batch norms were folded into kernels and biases when the graph was optimised: the ported norms "
    "only scale and shift (mean 0, variance and epsilon together 1)"
)
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_SHIFTS = ("Add", "AddV2", "BiasAdd")
_FOLDED = re.compile(r"/_\d+__cf__\d+$")
_WRITTEN_OUT = "/batchnorm/sub"
_OFFSET = "_bn_offset"


class WeightReader(Protocol):
    """A node of a graph, as far as it is needed here."""

    name: str
    op: str

    @property
    def inputs(self) -> Sequence[str]:
        """Outputs of other nodes, as the graph spells them."""


class FoldedNorm(NamedTuple):
    """One norm that was folded.

    Attributes:
        scope: What its variables were called before their last part.
        factor: The constant that is left of gamma and variance; None if it is in the kernel.
        shift: The constant that is left of beta and mean.
        kernel: The node that gives the kernel of the convolution before it.
        kernel_name: What that was called as a variable.
    """

    scope: str
    factor: str | None
    shift: str
    kernel: str
    kernel_name: str


def variable_name(constant: str) -> str:
    """Return what a variable was called before constants were folded: ``"x"`` of ``"x/read/_7__cf__7"``."""
    name = _FOLDED.sub("", constant)
    return name.removesuffix("/read") if name != constant else constant


def folded_norms(nodes: Sequence[WeightReader], constants: Mapping[str, tuple[int, ...]]) -> list[FoldedNorm]:
    """Return the norms that were folded into convolutions.

    Args:
        nodes: The graph's nodes.
        constants: Shape of each constant that may be a weight, by node.
    """
    takers: dict[str, list[WeightReader]] = {}
    for node in nodes:
        for source in node.inputs:
            takers.setdefault(source, []).append(node)
    found = []
    for node in nodes:
        if node.op in _CONVOLUTIONS and len(node.inputs) > 1 and node.inputs[1] in constants:
            norm = _norm_behind(node, takers, constants)
            if norm is not None:
                found.append(norm)
    return found


def _norm_behind(
    convolution: WeightReader,
    takers: Mapping[str, list[WeightReader]],
    constants: Mapping[str, tuple[int, ...]],
) -> FoldedNorm | None:
    following, factor = _only_taker(convolution, takers), None
    if following is not None and _is_plain_bias(following, constants):
        following = _only_taker(following, takers)
    if following is not None and following.op == "Mul":
        factor = _vector(following, constants)
        following = _only_taker(following, takers) if factor else None
    if following is None or following.op not in _SHIFTS:
        return None
    shift = _vector(following, constants)
    scope = None if shift is None else _scope(shift, following.name)
    if shift is None or scope is None:
        return None
    kernel_name = _kernel_name(convolution, scope)
    owner = kernel_name.rpartition("/")[0]
    above, _, own = scope.rpartition("/")
    # The scope of operations repeats the network's: "MobilenetV1/MobilenetV1/Conv2d_0/BatchNorm".
    scope = f"{owner}/{own}" if owner and above.endswith(owner) else scope
    return FoldedNorm(scope, factor, shift, convolution.inputs[1], kernel_name)


def _kernel_name(convolution: WeightReader, scope: str) -> str:
    """Return what a kernel was called; ``optimize_for_inference`` calls it after the convolution instead."""
    given = convolution.inputs[1]
    if given != f"{convolution.name}_weights":
        return variable_name(given)
    first, _, rest = convolution.name.rpartition("/")[0].partition("/")
    owner = rest if rest.partition("/")[0] == first else f"{first}/{rest}".rstrip("/")
    leaf = "weights" if scope.endswith("/BatchNorm") else "kernel"  # as tf.contrib.slim and Keras call it
    is_depthwise = convolution.op == "DepthwiseConv2dNative"
    return f"{owner}/depthwise_{leaf}" if is_depthwise else f"{owner}/{leaf}"


def _is_plain_bias(node: WeightReader, constants: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a node adds a bias that a convolution had before any norm."""
    bias = _vector(node, constants) if node.op in _SHIFTS else None
    return bias is not None and _scope(bias, node.name) is None


def _scope(shift: str, operation: str) -> str | None:
    name = _FOLDED.sub("", shift)
    if name.endswith(_WRITTEN_OUT):
        return name.removesuffix(_WRITTEN_OUT)
    return operation.rpartition("/")[0] or None if name.endswith(_OFFSET) else None


def _only_taker(node: WeightReader, takers: Mapping[str, list[WeightReader]]) -> WeightReader | None:
    found = takers.get(node.name, ())
    return found[0] if len(found) == 1 else None


def _vector(node: WeightReader, constants: Mapping[str, tuple[int, ...]]) -> str | None:
    return next((each for each in node.inputs if len(constants.get(each, ())) == 1), None)


def with_norms(
    network: StoredNetwork | str | None, norms: Sequence[FoldedNorm]
) -> StoredNetwork | str | None:
    """Return a graph's network with its folded norms as norms again.

    Args:
        network: The network as the graph computes it: convolutions with biases, or with a product and a sum;
            or what of the graph is not understood, in words.
        norms: Those that were folded.

    Raises:
        Malformed: there are some, and the graph is in no form that is read: their epsilon would be guessed.
    """
    if not norms:
        return network
    if not isinstance(network, StoredNetwork):
        raise Malformed(
            "graphdef/unreadable-network",
            "batch norms are folded into the kernels of this graph, and what it computes is not understood",
            found=network,
            hint="Port the graph or the checkpoint that it was made from.",
        )
    scopes = [norm.scope for norm in norms]
    shifts = {f"{scope}/beta": scope for scope in scopes}
    factors = {f"{scope}/gamma" for scope in scopes}
    written: list[Operation] = []
    numbers: dict[int, int] = {}
    for old, operation in enumerate(network.operations):
        inputs = tuple(numbers[number] for number in operation.inputs)
        stored = set(operation.variables.values())
        if operation.kind == "other" and stored and stored <= factors:
            numbers[old] = inputs[0]
            continue
        scope = next((shifts[key] for key in stored if key in shifts), None)
        if scope is not None and operation.kind != "other":
            attributes = {**operation.attributes, "use_bias": False}
            rest = {role: key for role, key in operation.variables.items() if role != "bias"}
            written.append(operation._replace(inputs=inputs, attributes=attributes, variables=rest))
            inputs = (len(written) - 1,)
        written.append(operation._replace(inputs=inputs) if scope is None else _norm(scope, inputs))
        numbers[old] = len(written) - 1
    return network._replace(
        operations=tuple(written), outputs=tuple(numbers[number] for number in network.outputs)
    )


def _norm(scope: str, inputs: tuple[int, ...]) -> Operation:
    roles = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}
    variables = {role: f"{scope}/{leaf}" for role, leaf in roles.items()}
    return Operation("norm", scope, inputs, {"epsilon": EPSILON, "axes": (-1,)}, variables)
