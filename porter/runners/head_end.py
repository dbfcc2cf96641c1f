"""How a graph of TensorFlow's ends behind a head of a person's own."""

from __future__ import annotations

from types import MappingProxyType

from porter.core.head import WEIGHTED
from porter.planning.network.findings import NO_LOGITS
from porter.planning.plan import Plan

# TensorFlow's operation by the activation that a head ends with.
_ENDS = MappingProxyType(
    {
        "": "",
        NO_LOGITS: "",
        "softmax": "Softmax",
        "sigmoid": "Sigmoid",
        "tanh": "Tanh",
        "softplus": "Softplus",
    }
)


def end_of_head(port_plan: Plan) -> str | None:
    """Return TensorFlow's operation behind the logits of a head that does more than its last weights do.

    Returns:
        "" if the network returns them; None if the last weights give them, or if it is no single operation.
    """
    if not port_plan.head or port_plan.head[-1].kind in WEIGHTED:
        return None
    return _ENDS.get(port_plan.classifier_activation or "")
