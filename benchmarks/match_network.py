"""The PyTorch network of a variant, as `benchmarks/match.py` names it: ``match_network:build``."""

from __future__ import annotations

from torch import nn

from porter.networks.building import build as build_defined
from porter.networks.definition import parse
from porter.tables.shipped import load_tables


def build(variant: str) -> nn.Module:
    """Build the network that timm has no name for, with the lengths that the table takes by default."""
    found = load_tables().variant(variant)
    assert found.network is not None
    free = {each.argument: each.default for each in found.free.values()}
    arguments = {**found.target.arguments, **free}
    return build_defined(found.target.name, parse(found.network), **arguments)
