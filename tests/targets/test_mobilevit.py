"""MobileViT: what transformers' TensorFlow class wrote, to timm and to transformers' PyTorch class."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import porter
from porter.outputs.port import carry_out
from porter.outputs.renaming.aim import aim
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

ROOT = Path(porter.__file__).parent.parent
TABLES = load_tables()


@pytest.fixture(scope="module")
def written(module_folder):
    """A folder where TensorFlow wrote MobileViT XXS as a checkpoint and as an .h5 file."""
    for package in ("transformers", "tensorflow", "tf_keras"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'transformers<5' tensorflow tf_keras")
    if int(importlib.metadata.version("transformers").partition(".")[0]) >= 5:
        pytest.skip("transformers 5 has no TensorFlow networks: pip install 'transformers<5'")
    folder = module_folder("mobilevit")
    script = Path(__file__).parent / "write_mobilevit.py"
    run = subprocess.run(
        [sys.executable, script, folder, "hf_mobilevit_xxs"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


@pytest.mark.tensorflow
@pytest.mark.parametrize("container", ["ckpt", "tf_model.h5"])
def test_port_is_bit_exact_from_both_containers(written, tmp_path, container):
    """Every tensor is TensorFlow's own variable after the layout change; query, key and value in one."""
    expected = np.load(written / "expected.npz")
    variant = TABLES.variant("hf_mobilevit_xxs")

    result = porter.port(written / container, tmp_path / "out.safetensors")

    assert result.plan.variant.name == variant.name
    found = load_file(result.out)
    parts = {}
    for entry in variant.entries:
        value = entry.layout.apply(expected[variant.full_source(entry)])
        parts.setdefault(entry.target, []).append(value)
    assert {len(values) for values in parts.values()} == {1, 3}
    for target, values in parts.items():
        np.testing.assert_array_equal(np.concatenate(values).view("u4"), found.pop(target).view("u4"), target)
    assert all(name.endswith("num_batches_tracked") for name in found)


@pytest.mark.tensorflow
def test_rgb_turns_the_stem_round_and_says_so(written, tmp_path):
    """``--channel-order rgb`` reverses the stem's input and nothing else; both folders say what they take."""
    porter.port(written / "ckpt", tmp_path / "bgr", target="transformers")
    porter.port(written / "ckpt", tmp_path / "rgb", target="transformers", channel_order="rgb")

    bgr, rgb = (load_file(tmp_path / name / "model.safetensors") for name in ("bgr", "rgb"))
    stem = "mobilevit.conv_stem.convolution.weight"
    assert [name for name in bgr if not np.array_equal(bgr[name], rgb[name])] == [stem]
    np.testing.assert_array_equal(bgr[stem][:, ::-1], rgb[stem])
    flips = [
        json.loads((tmp_path / name / "preprocessor_config.json").read_text())["do_flip_channel_order"]
        for name in ("bgr", "rgb")
    ]
    assert flips == [True, False]


@pytest.mark.tensorflow
@pytest.mark.torch
def test_every_stage_is_tensorflows(written):
    """XXS agrees with transformers' TensorFlow network in float64, its maps resized (200) and not (192)."""
    from porter.checks.check import Check, check_against_tensorflow

    check = Check(TABLES.variant("hf_mobilevit_xxs"), sizes=((192, 192), (200, 200)), dtypes=("float64",))

    report = check_against_tensorflow(check).report

    worst = max(case.worst for case in report.cases)
    print(f"worst float64 error {worst:.2g}")
    assert report.passed
    assert worst <= 1e-11


@pytest.mark.parametrize("name", ["hf_mobilevit_s", "hf_mobilevit_xs", "hf_mobilevit_xxs"])
def test_fused_attention_is_split_again_without_copying_rows(name):
    """Query, key and value of transformers are TensorFlow's own three variables, each read once and whole."""
    variant = TABLES.variant(name)
    aimed = aim(plan(RandomCheckpoint(variant, 0), TABLES, variant=name), "transformers")

    split = [a for a in aimed.assignments if ".attention.attention." in a.target]

    assert len(split) == 9 * 3 * 2
    for assignment in split:
        (part,) = assignment.parts
        kind = assignment.target.split(".")[-2]
        assert part.path.split("/")[-2] == kind
        assert part.selection is None


def test_h5_file_of_transformers_is_the_checkpoint(tmp_path):
    """Lists of layers, nested layers of one name and attributes of other names find their places."""
    h5py = pytest.importorskip("h5py")
    variant = TABLES.variant("hf_mobilevit_xxs")
    source = RandomCheckpoint(variant, 0)
    with h5py.File(tmp_path / "tf_model.h5", "w") as file:
        write_as_transformers(file, {variant.full_source(e): source for e in variant.entries}, h5py)
    carry_out(source, plan(source, TABLES, variant=variant.name), tmp_path / "expected.safetensors")

    result = porter.port(tmp_path / "tf_model.h5", tmp_path / "found.safetensors", variant=variant.name)

    assert result.plan.variant.name == variant.name
    expected, found = load_file(tmp_path / "expected.safetensors"), load_file(tmp_path / "found.safetensors")
    assert set(found) == set(expected)
    assert [name for name in found if not np.array_equal(found[name], expected[name])] == []


def write_as_transformers(file, variables, h5py):
    """Write variables as `save_pretrained` does: trainable ones first, a group for each layer at the top."""
    statistics = ("moving_mean", "moving_variance")
    paths = sorted(variables, key=lambda path: path.endswith(statistics))
    top = {"mobilevit": [], "dropout_27": [], "classifier": []}
    for path in paths:
        name = re.sub(r"\blayers/(\d+)", r"layer.\1", path)
        name = re.sub(r"\b(dense|mobilevit)_output\b", "output", name)
        full = f"tf_mobile_vi_t_for_image_classification/{name}:0"
        group = name.partition("/")[0]
        top[group].append(full.encode())
        file[f"{group}/{full}"] = variables[path].read(path)
    file.attrs["layer_names"] = [name.encode() for name in top]
    file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "2.20.1"
    for name, weights in top.items():
        file.require_group(name).attrs["weight_names"] = (
            np.array(weights, dtype="S") if weights else h5py.Empty("S1")
        )
