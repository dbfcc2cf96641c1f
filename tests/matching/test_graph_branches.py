"""Operations that run under a condition alone have no value to record."""

from __future__ import annotations

from types import SimpleNamespace

from porter.runners.graph_branches import in_branches

BRANCHES = {
    "images": ("Placeholder", []),
    "condition": ("Greater", ["images"]),
    "switch": ("Switch", ["images", "condition"]),
    "above": ("Relu", ["switch:1"]),
    "below": ("Neg", ["switch", "^condition"]),
    "meet": ("Merge", ["below", "above"]),
    "layer": ("Conv2D", ["meet"]),
}


def found(graph):
    """Return what is found in a graph, which is given as name, operation and inputs."""
    return in_branches(SimpleNamespace(name=name, op=op, input=taken) for name, (op, taken) in graph.items())


def test_branches_end_where_they_meet():
    """What comes before the condition, and behind both branches, always has a value."""
    assert found(BRANCHES) == {"switch", "above", "below"}


def test_condition_in_a_branch_does_not_end_it():
    """Behind the inner meeting place the outer branch goes on."""
    inner = {f"inner {name}": (op, [f"inner {n}" for n in taken]) for name, (op, taken) in BRANCHES.items()}
    inner["inner images"] = ("Identity", ["switch:1"])
    graph = {**BRANCHES, **inner, "meet": ("Merge", ["below", "inner layer"])}

    assert "inner layer" in found(graph)
    assert "layer" not in found(graph)


def test_loop_is_no_condition():
    """A graph that runs in circles is left as it is."""
    assert found({**BRANCHES, "switch": ("Switch", ["images", "layer"])}) == frozenset()
