"""A definition of a network is checked before torch is imported, and says what is wrong with it."""

from __future__ import annotations

import pytest

from porter.errors import OutputError
from porter.networks.definition import parse

SMALL = {"base": "MobileNetV3", "arch_def": [["ds_r1_k3_s1_c16"], ["ir_r2_k3_s2_e4_c24_se0.25"]]}


def test_definition_of_a_class_keeps_its_blocks():
    """Stages and blocks come out in order, as they were written."""
    definition = parse({**SMALL, "arguments": {"stem_size": 16, "bn_eps": 1}})

    assert definition.is_class
    assert definition.arch_def == (("ds_r1_k3_s1_c16",), ("ir_r2_k3_s2_e4_c24_se0.25",))
    assert definition.arguments == {"stem_size": 16, "bn_eps": 1}


def test_definition_of_an_entry_point_keeps_its_adjustments():
    """Adjustments come out in order."""
    definition = parse({"base": "resnet50", "adjust": ["same_padding", "same_pool_in_first_shortcut"]})

    assert not definition.is_class
    assert definition.adjust == ("same_padding", "same_pool_in_first_shortcut")


@pytest.mark.parametrize(
    ("stated", "code", "words"),
    [
        ({}, "network/type", "base; expected str, found None"),
        ({"base": 3}, "network/type", "base; expected str, found 3"),
        ({"base": "no such thing"}, "network/base", "names no network"),
        ({"base": "../evil"}, "network/base", "names no network"),
        ({"base": "MobileNetV3"}, "network/arch-def", "needs an arch_def"),
        ({**SMALL, "base": "resnet50"}, "network/arch-def", "takes no arch_def"),
        ({**SMALL, "arch_def": "ir"}, "network/arch-def", "a list of stages"),
        ({**SMALL, "arch_def": [["ir r2"]]}, "network/arch-def", "block 'ir r2'"),
        ({**SMALL, "arch_def": [[7]]}, "network/arch-def", "block 7"),
        ({**SMALL, "width": 2}, "network/unknown-key", "'width'"),
        ({**SMALL, "arguments": {"depth": 2}}, "network/unknown-key", "arguments of MobileNetV3: 'depth'"),
        ({**SMALL, "arguments": {"stem_size": True}}, "network/type", "stem_size; expected int, found True"),
        ({**SMALL, "arguments": {"se_layer": {"gate": "x"}}}, "network/unknown-key", "se_layer: 'gate'"),
        ({**SMALL, "arguments": {"se_layer": {"gate_layer": 1}}}, "network/type", "gate_layer"),
        ({"base": "resnet50", "adjust": ["paint"]}, "network/adjustment", "unknown adjustment 'paint'"),
        ({"base": "resnet50", "adjust": "same_padding"}, "network/type", "adjust; expected list"),
    ],
)
def test_malformed_definition_is_refused(stated, code, words):
    """Every wrong use has its own message."""
    with pytest.raises(OutputError) as refused:
        parse(stated)

    assert refused.value.code == code
    assert words in str(refused.value)
