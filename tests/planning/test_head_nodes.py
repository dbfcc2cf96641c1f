"""Chains that fork and are joined again, and what is none."""

from __future__ import annotations

import pytest

from porter.core.stored_network import Operation
from porter.planning.network.head_nodes import common_source, nodes_between, operations_of
from porter.planning.network.head_steps import Joined, UnstatableError, read_steps


def network(*listed):
    """Return operations from pairs of a kind and what it takes."""
    return [Operation(kind, f"{kind} {n}", tuple(taken), {}, {}) for n, (kind, taken) in enumerate(listed)]


def test_branches_may_hold_branches():
    """A residual sum within a gate: each operation stands where it runs."""
    operations = network(
        ("input", ()), ("dense", (0,)), ("relu", (1,)), ("add", (1, 2)), ("multiply", (0, 3)), ("dense", (4,))
    )

    gate, last = nodes_between(operations, 0, 5)

    assert isinstance(gate, Joined)
    straight, (first, residual) = gate.branches
    assert (straight, first, last) == ((), operations[1], operations[5])
    assert [len(branch) for branch in residual.branches] == [0, 1]
    assert list(operations_of([gate, last])) == operations[1:]


def test_a_thousand_sums_of_the_two_before_are_refused_at_once():
    """The ways through them are as many as Fibonacci's numbers."""
    sums = [("add", (n - 1, n - 2)) for n in range(2, 1000)]
    operations = network(("input", ()), ("relu", (0,)), *sums)

    assert common_source(operations, [999], 0) == 999
    with pytest.raises(UnstatableError, match="add"):
        nodes_between(operations, 0, 999)


def test_a_thousand_sums_within_sums_are_refused():
    """Nobody trains such a head, and a crafted file would have no end."""
    sums = [("add", (0, n - 1)) for n in range(2, 1000)]
    operations = network(("input", ()), ("relu", (0,)), *sums)

    with pytest.raises(UnstatableError):
        nodes_between(operations, 0, 999)


def test_what_comes_from_elsewhere_is_no_branch():
    """A second input, or a tensor in front of where the head begins."""
    operations = network(("input", ()), ("relu", (0,)), ("input", ()), ("dense", (1,)), ("add", (3, 2)))

    with pytest.raises(UnstatableError):
        nodes_between(operations, 1, 4)


@pytest.mark.parametrize("roles", [("gamma", "beta"), ("gamma", "beta", "moving_mean")])
def test_batch_norm_without_its_statistics_is_no_step(roles):
    """Nothing may stand in for them; what a converter worked them into has no epsilon."""
    shapes = dict.fromkeys(roles, (8,))
    stated = {"epsilon": 1e-3, "axes": (-1,)}
    norm = Operation("norm", "norm", (0,), stated, dict(zip(roles, roles, strict=True)))

    with pytest.raises(UnstatableError):
        read_steps([norm], shapes, is_map=False)


def test_product_and_sum_with_weights_is_a_norm_without_epsilon():
    """It multiplies and adds, and nothing else."""
    norm = Operation("norm", "norm", (0,), {"axes": (-1,)}, {"gamma": "g", "beta": "b"})

    (part,) = read_steps([norm], {"g": (8,), "b": (8,)}, is_map=False).parts

    assert part.step.attributes["epsilon"] == 0.0
