"""Faults put into real networks. The whole, thousands of them, is benchmarks/faults.py."""

from __future__ import annotations

import numpy as np
import pytest

from porter.diagnosis import diagnose
from porter.parity.compare import compare

SIZE = 64
pytestmark = [pytest.mark.torch, pytest.mark.tensorflow]

# Faults that a network without attention cannot have are taken from one with.
HYBRID_ONLY = ("missing layer scale", "attention heads in the wrong order", "missing residual", "bfloat16")
FAULTS = (
    "padding",
    "BN epsilon, usual value",
    "BN epsilon, any value",
    "swapped mean and variance",
    "swapped scale and offset",
    "statistics not loaded",
    "additional ReLU",
    "missing activation",
    "GELU for ReLU",
    "transposed kernel",
    "kernel turned by 180 degrees",
    "depthwise order",
    "reshaped instead of transposed",
    "input and output channels exchanged",
    "permuted output channels",
    "permuted input channels",
    "swapped tensors of one role",
    "swapped tensors of any role",
    "label offset",
    "TF32",
    *HYBRID_ONLY,
)


def places(network, fault, count=2):
    """`count` mutants of a class, spread over the network by the name of the class alone."""
    import fault_injection

    found = [m for m in fault_injection.mutants(network.model) if m.fault == fault]
    assert found, f"the network has no place for {fault!r}"
    draw = np.random.default_rng(sum(map(ord, fault)))
    return [found[i] for i in draw.choice(len(found), min(count, len(found)), replace=False)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_detected_placed_and_named(network, fault):
    """Each fault is found, by a golden too; the local column names its stage, the diagnosis its cause."""
    sound = network("hybrid_medium" if fault in HYBRID_ONLY else "conv_small")

    for mutant in places(sound, fault):
        actual, changed = sound.mutate(mutant)
        report = compare(sound.expected, actual)
        findings = diagnose(report, sound.expected, actual, sound.variant)

        assert not report.passed
        assert not compare(sound.golden, actual).passed
        assert report.first_bad_stage == changed[0]
        assert findings[0].cause in mutant.cause, (mutant.place, findings)
        assert findings[0].stage == changed[0]


def test_an_activation_that_is_never_reached_is_no_fault(network):
    """A ReLU6 whose input stays below 6 computes the same: nothing is found and nothing is said."""
    sound = network("conv_small")
    import fault_injection

    mutants = [m for m in fault_injection.mutants(sound.model) if m.fault == "ReLU6 for ReLU"]
    assert mutants
    reached = []
    for mutant in mutants:
        actual, changed = sound.mutate(mutant)
        report = compare(sound.expected, actual)

        assert report.passed == (not changed)
        assert bool(diagnose(report, sound.expected, actual, sound.variant)) == bool(changed)
        reached.append(bool(changed))
    assert not all(reached)


@pytest.mark.parametrize("name", ["conv_small", "hybrid_medium"])
def test_one_ulp_is_no_fault(network, name):
    """A tensor that is off by one unit in the last place passes, and nothing is said about it."""
    import fault_injection

    sound = network(name)
    for mutant in places(sound, fault_injection.CONTROL, count=12):
        actual, _ = sound.mutate(mutant)
        report = compare(sound.expected, actual)

        assert report.passed
        assert compare(sound.golden, actual).passed
        assert diagnose(report, sound.expected, actual, sound.variant) == ()


def test_an_offset_of_all_keys_is_no_fault(network):
    """What a key's normalisation adds cancels in the softmax, so that a wrong one is rightly not found."""
    import fault_injection

    sound = network("hybrid_medium")
    for mutant in places(sound, fault_injection.KEYS):
        actual, _ = sound.mutate(mutant)

        assert any(
            not np.array_equal(a.values, b.values)
            for a, b in zip(
                actual.runs[0].stages.values(), sound.expected.runs[0].stages.values(), strict=True
            )
        )
        assert compare(sound.expected, actual).passed


def test_a_negative_variance_of_the_keys_is_named_though_the_output_is_finite(network):
    """PyTorch's fused attention turns NaN keys into zeros; the swapped statistics are found all the same."""
    import fault_injection

    sound = network("hybrid_medium")
    keys = [
        mutant
        for mutant in fault_injection.mutants(sound.model)
        if mutant.fault == "swapped mean and variance" and mutant.place.endswith("attn.key.norm")
    ]
    assert keys
    for mutant in keys:
        actual, changed = sound.mutate(mutant)
        report = compare(sound.expected, actual)
        findings = diagnose(report, sound.expected, actual, sound.variant)

        assert (findings[0].cause, findings[0].stage) == ("swapped-statistics", changed[0])


def test_a_golden_is_enough_for_a_diagnosis(network):
    """Against samples, with no local column, the cause is still found by recomputing the first bad stage."""
    sound = network("conv_small")
    for fault in ("padding", "transposed kernel", "swapped mean and variance"):
        (mutant,) = places(sound, fault, count=1)
        whole, changed = sound.mutate(mutant)
        actual = sound.recording({n: sound_tensor(a) for n, a in whole.runs[0].stages.items()}, {})
        report = compare(sound.golden, actual)

        findings = diagnose(report, sound.golden, actual, sound.variant)

        assert (findings[0].cause, findings[0].stage) == (mutant.cause[0], changed[0])


def sound_tensor(activation):
    """The values of an activation as a torch tensor."""
    import torch

    return torch.from_numpy(activation.values)


def test_a_wrong_table_is_found_from_the_side_of_the_weights(network):
    """Where the port itself put a kernel in wrongly, its weights explain the port and not the reference."""
    sound = network("conv_small")
    (mutant,) = places(sound, "transposed kernel", count=1)
    actual, changed = sound.mutate(mutant)
    wrong = {**sound.weights, mutant.place: sound.weights[mutant.place].swapaxes(2, 3)}
    report = compare(sound.expected, actual)

    findings = diagnose(report, sound.expected, actual, sound.variant, wrong)

    assert (findings[0].cause, findings[0].stage) == ("kernel-layout", changed[0])
    assert "gives the reference's output" in findings[0].evidence


def test_a_finding_says_how_well_it_explains_and_where_to_look(network):
    """The evidence holds the error with and without the fault; the place is the table's block and rule."""
    sound = network("conv_small")
    import fault_injection

    mutant = next(
        m
        for m in fault_injection.mutants(sound.model)
        if (m.fault, m.place) == ("transposed kernel", "blocks.2.1.dw_mid.conv.weight")
    )
    actual, _ = sound.mutate(mutant)

    (finding,) = diagnose(compare(sound.expected, actual), sound.expected, actual, sound.variant)

    assert "blocks.2.1.dw_mid.conv.weight with rows and columns of its taps exchanged" in finding.evidence
    assert finding.look_at.startswith("blocks.2.1: uib._middle_dw_conv in mobilenet_v4.toml")


def test_preprocessing_is_told_from_the_two_inputs(network):
    """A image that was prepared in another way is named from the inputs, and no stage is blamed."""
    import faulty_preprocessing

    sound = network("conv_small")
    image = faulty_preprocessing.image(0, 2 * SIZE)
    right = faulty_preprocessing.prepared(image, SIZE)
    expected = sound.recording(sound.forward(0, right), {}, right)
    assert faulty_preprocessing.PREPROCESSING
    for fault, causes in faulty_preprocessing.PREPROCESSING.items():
        wrong = faulty_preprocessing.prepared(image, SIZE, fault)
        actual = sound.recording(sound.forward(0, wrong), sound.forward(0, right), wrong)
        report = compare(expected, actual)

        findings = diagnose(report, expected, actual, sound.variant)

        assert report.first_bad_stage == "input"
        assert findings[0].cause in causes, fault
        assert findings[0].stage == "input"
