"""A network whose norms are folded and that names no layers is told by what it computes, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from converted_record import ConvertedRecord

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


def converted(name):
    """Return the record of a variant as a converter would leave its network."""
    return ConvertedRecord(TABLES.variants[name])


def has_no_bias(operation):
    """Whether a layer of a record has a kernel alone."""
    return operation.kind != "other" and [role.endswith("kernel") for role in operation.variables] == [True]


def edited(name, edit):
    """Return the network of a variant with its operations changed by `edit`."""
    checkpoint = converted(name)
    operations = tuple(edit(list(checkpoint.network.operations)))
    checkpoint.network = StoredNetwork(operations, checkpoint.network.outputs, "the test")
    return checkpoint


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in REFUSED | ALIKE])
def test_every_recorded_network_is_told_from_all_others(name):
    """Kernels and biases go where the record has them; timm's network is the variant's own."""
    made = plan(converted(name), TABLES)

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
    monkeypatch.setattr(ConvertedRecord, "read", lambda self, key: np.ones(self.specs[key].shape, np.float32))
    with pytest.raises(PlanError) as caught:
        plan(converted("keras_xception"), TABLES)

    assert caught.value.code == "plan/left-over"


@pytest.mark.parametrize("name", sorted(ALIKE))
def test_which_of_two_names_is_meant_is_asked(name):
    """Nothing in the file tells; a person does."""
    with pytest.raises(PlanError) as caught:
        plan(converted(name), TABLES)
    assert caught.value.code == "plan/ambiguous-variant"
    assert all(each in str(caught.value) for each in ALIKE)

    assert plan(converted(name), TABLES, variant=name).variant.name == name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_folded_whole_is_refused(name):
    """No other network is found in the place of one that a converter does not leave in one piece."""
    with pytest.raises(PlanError) as caught:
        plan(converted(name), TABLES)
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


def test_another_order_is_refused():
    """A sum that takes another branch is no network that is known."""

    def edit(operations):
        place = next(n for n, operation in enumerate(operations) if operation.kind == "add")
        first = operations[place].inputs[0]
        operations[place] = operations[place]._replace(inputs=(first, first))
        return operations

    with pytest.raises(PlanError) as caught:
        plan(edited("keras_mobilenetv2_035", edit), TABLES)
    assert caught.value.code == "plan/no-match"


def test_a_variant_that_was_named_and_is_not_there_is_refused():
    """--variant chooses among what fits, and makes nothing fit."""
    with pytest.raises(PlanError, match="keras_mobilenetv2_100"):
        plan(converted("keras_mobilenetv2_035"), TABLES, variant="keras_mobilenetv2_100")
