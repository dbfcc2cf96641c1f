"""A network whose norms are folded and that names no layers is told by what it computes, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter.core.checkpoint import TensorSpec
from porter.core.dtypes import BY_NAME
from porter.core.folded_checkpoint import FoldedCheckpoint
from porter.core.object_graph import Node, ObjectGraph
from porter.core.stored_network import StoredNetwork
from porter.errors import PlanError
from porter.planning.network.folded_form import folded
from porter.planning.network.record import recorded
from porter.planning.plan import plan
from porter.tables.shipped import load_tables

TABLES = load_tables()
RECORDED = [name for name, variant in TABLES.variants.items() if recorded(variant)]
REFUSED = {name for name in RECORDED if "_hybrid_" in name or "_vit_" in name}
# One network by two projects, whose modules timm's side calls by two names.
ALIKE = {"edgetpu_mobilenet_v1", "garden_mobilenetv3_edgetpu"}
LENGTHS = {"classes": 5, "channels": 3}


class Folded(FoldedCheckpoint):
    """The record of a variant as a converter would leave it: kernels and biases under numbers."""

    def __init__(self, name):
        variant = TABLES.variants[name]
        self.path, self.format, self.files = Path(name), "numbers", ()
        shapes = {
            variant.full_source(entry): tuple(LENGTHS.get(dim, dim) for dim in entry.source_shape)
            for entry in variant.entries
        }
        self.specs = {}
        network = folded(recorded(variant))
        self.network = network._replace(operations=tuple(self._of(o, shapes) for o in network.operations))
        nodes = [Node({key: place for place, key in enumerate(self.specs, 1)})]
        self.graph = ObjectGraph(nodes + [Node(key=key) for key in self.specs], stored=False)
        self.read_network = lambda: self.network

    def _of(self, operation, shapes):
        kernel = next((path for role, path in operation.variables.items() if role.endswith("kernel")), None)
        attributes = dict(operation.attributes)
        if kernel is None or operation.kind == "other":
            return self._without_kernel(operation, shapes)
        key = f"{len(self.specs)}"
        self.specs[key] = TensorSpec(BY_NAME["float32"], shapes[kernel])
        is_depthwise = operation.kind == "depthwise_conv"
        width = np.prod(shapes[kernel][-2:]) if is_depthwise else shapes[kernel][-1]
        self.specs[f"{key} bias"] = TensorSpec(BY_NAME["float32"], (int(width),))
        if "strides" in attributes:
            padding = attributes["padding"]
            one = padding if isinstance(padding, str) else padding[0] if len(padding) == 1 else "same"
            attributes |= {"kernel": shapes[kernel][:2], "padding": one}
        return operation._replace(
            name=key, attributes=attributes, variables={"kernel": key, "bias": f"{key} bias"}
        )

    def _without_kernel(self, operation, shapes):
        """Return a norm's factor and shift, a layer norm, or what a converter spells in its own way."""
        kept = {}
        roles = operation.variables if operation.kind != "other" else {}
        for role in {*roles} & {"gamma", "beta"}:
            kept[role] = f"{len(self.specs)} {role}"
            self.specs[kept[role]] = TensorSpec(BY_NAME["float32"], shapes[roles[role]])
        is_spelt_anew = operation.kind == "other" and operation.variables
        attributes = {"class_name": "converted"} if is_spelt_anew else operation.attributes
        return operation._replace(name=operation.kind, attributes=attributes, variables=kept)

    def see_as(self, key, shape):
        """Keep another shape."""
        self.specs[key] = TensorSpec(BY_NAME["float32"], shape)

    def read(self, key):
        """Return zeros."""
        return np.zeros(self.specs[key].shape, np.float32)

    def read_block(self, key, block):
        """Return zeros."""
        return self.read(key)[block]

    def verify(self, key):
        """Do nothing."""

    def close(self):
        """Do nothing."""


def has_no_bias(operation):
    """Whether a layer of a record has a kernel alone."""
    return operation.kind != "other" and [role.endswith("kernel") for role in operation.variables] == [True]


def edited(name, edit):
    """Return the network of a variant with its operations changed by `edit`."""
    checkpoint = Folded(name)
    operations = tuple(edit(list(checkpoint.network.operations)))
    checkpoint.network = StoredNetwork(operations, checkpoint.network.outputs, "the test")
    return checkpoint


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in REFUSED | ALIKE])
def test_every_recorded_network_is_told_from_all_others(name):
    """Kernels and biases go where the record has them; timm's network is the variant's own."""
    made = plan(Folded(name), TABLES)

    assert made.variant.target.name == TABLES.variants[name].target.name
    zeros = {line.path for line in made.ledger if line.reason.startswith("a bias of zeros")}
    assert all(line.bucket.value == "mapped" or line.path in zeros for line in made.ledger)
    # No norm follows a separable convolution's first kernel, and a converter writes a bias all the same.
    assert len(zeros) == sum(map(has_no_bias, folded(recorded(TABLES.variants[name])).operations))
    assert name != "keras_xception" or len(zeros) == 34
    targets = {assignment.target for assignment in made.assignments}
    assert targets >= {entry.target for entry in TABLES.variants[name].entries}


def test_bias_that_is_not_of_zeros_is_left_over(monkeypatch):
    """It changes what the network computes, and the table has no place for it."""
    monkeypatch.setattr(Folded, "read", lambda self, key: np.ones(self.specs[key].shape, np.float32))
    with pytest.raises(PlanError) as caught:
        plan(Folded("keras_xception"), TABLES)

    assert caught.value.code == "plan/left-over"


@pytest.mark.parametrize("name", sorted(ALIKE))
def test_which_of_two_names_is_meant_is_asked(name):
    """Nothing in the file tells; a person does."""
    with pytest.raises(PlanError) as caught:
        plan(Folded(name), TABLES)
    assert caught.value.code == "plan/ambiguous-variant"
    assert all(each in str(caught.value) for each in ALIKE)

    assert plan(Folded(name), TABLES, variant=name).variant.name == name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_folded_whole_is_refused(name):
    """No other network is found in the place of one that a converter does not leave in one piece."""
    with pytest.raises(PlanError) as caught:
        plan(Folded(name), TABLES)
    assert caught.value.code in ("plan/no-match", "plan/left-over")  # the latter with how far it fits


def test_another_activation_is_refused_by_its_layer():
    """Relu in the place of relu6 is a network that nobody knows."""

    def edit(operations):
        place = next(n for n, operation in enumerate(operations) if operation.kind == "relu")
        plain = {**operations[place].attributes, "max_value": None}
        operations[place] = operations[place]._replace(attributes=plain)
        return operations

    with pytest.raises(PlanError, match="max_value") as caught:
        plan(edited("keras_mobilenetv2_035", edit), TABLES)
    assert caught.value.code == "plan/other-network"


def test_another_order_is_another_network():
    """A sum that takes another branch ends the network that is known: what follows is ported as it is."""

    def edit(operations):
        place = next(n for n, operation in enumerate(operations) if operation.kind == "add")
        first = operations[place].inputs[0]
        operations[place] = operations[place]._replace(inputs=(first, first))
        return operations

    made = plan(edited("keras_mobilenetv2_035", edit), TABLES)

    assert made.cut.words.startswith("behind blocks.1.0")
    assert "a head of its own: add of (as it is; as it is), conv 48, relu, " in made.network


def test_a_variant_that_was_named_and_is_not_there_is_refused():
    """--variant chooses among what fits, and makes nothing fit."""
    with pytest.raises(PlanError, match="keras_mobilenetv2_100"):
        plan(Folded("keras_mobilenetv2_035"), TABLES, variant="keras_mobilenetv2_100")
