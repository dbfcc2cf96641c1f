"""Subclassed networks in Keras's own files: blocks whose layers have no names but an order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from warm_frameworks import run_with_tensorflow

import porter
from porter.checks.check import Check, check_against_tensorflow
from porter.tables.shipped import load_tables

pytest.importorskip("h5py")
pytestmark = pytest.mark.tensorflow

NETWORKS = {"MobileNetV4ConvSmall": "conv_small", "MobileNetV4HybridMedium": "hybrid_medium"}
WAYS = ("only.h5", "state.weights.h5", "archive.keras")


@pytest.fixture(scope="module")
def written(module_folder):
    """Let TensorFlow write the networks once."""
    pytest.importorskip("official", reason="needs tf-models-official")
    folder = module_folder("garden")
    run_with_tensorflow(Path(__file__).parent / "write_keras_files.py", folder, *NETWORKS)
    return folder


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("network", NETWORKS)
def test_blocks_of_a_subclassed_network_are_found_by_their_order(written, tmp_path, network, way):
    """Every tensor of the port equals the one that the checkpoint gives, attention and statistics too."""
    expected = porter.port(written / network / "ckpt", tmp_path / "expected.safetensors")
    found = porter.port(written / network / way, tmp_path / "found.safetensors")

    assert found.plan.variant.name == expected.plan.variant.name == f"mobilenetv4_{NETWORKS[network]}"
    assert found.plan.arguments == expected.plan.arguments
    wanted, given = load_file(expected.out), load_file(found.out)
    assert list(wanted) == list(given)
    for name, value in wanted.items():
        np.testing.assert_array_equal(value, given[name], err_msg=name, strict=True)


@pytest.mark.torch
@pytest.mark.parametrize("way", ["only.h5", "state.weights.h5"])
def test_parity_with_what_keras_itself_loads(written, tmp_path, way):
    """Keras loads its own file into the network, porter reads it, and every stage agrees in float64.

    The file has another name than Keras gives it: both sides go by what is in it.
    """
    variant = load_tables().variant("conv_small")
    named = tmp_path / "weights.bin"
    named.symlink_to(written / "MobileNetV4ConvSmall" / way)
    check = Check(variant, sizes=((64, 64),), dtypes=("float64",), checkpoint=named)

    assert check_against_tensorflow(check).report.passed
