"""Folders for transformers: what is in them, and that transformers loads them and computes the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from timm_sources import planned, random_state

import porter
from porter.errors import OutputError, PlanError
from porter.loading.ported_file import read_metadata
from porter.outputs.output_options import OutputOptions
from porter.outputs.port import carry_out
from porter.outputs.renaming.aim import aim
from porter.planning.plan import plan
from porter.planning.port_options import PortOptions
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.atomic_folder import new_folder

pytestmark = pytest.mark.torch
TRANSFORMERS = OutputOptions(target="transformers")
CHILD = Path(__file__).parent / "load_transformers.py"

# model, timm's arguments for it, its batch normalisation epsilon, size of its images, sizes to compare at
CASES = [
    ("mobilenetv1_100", {"pad_type": "same"}, 1e-3, 224, [224, 225, 200, 96]),
    ("mobilenetv2_100", {"pad_type": "same"}, 1e-3, 224, [224, 225, 200, 96]),
    ("mobilenetv2_035", {}, 1e-5, 224, [224, 225, 200, 96]),
    ("tf_efficientnet_b0", {}, 1e-3, 224, [224, 192]),
    ("tf_efficientnet_b1", {}, 1e-3, 240, [240]),
    ("resnet50", {}, 1e-3, 224, [224, 225, 200, 96]),
    ("vit_tiny_patch16_224", {"act_layer": "gelu_tanh"}, None, 224, [224]),
    ("mobilevit_xxs", {}, 1e-5, 256, [256, 192]),
]

VARIANTS = {
    "garden_mobilenetv1_025": [224, 225],
    "mlperf_tiny_vww": [96, 97],
    "garden_mobilenetv2_100": [224, 225],
    "keras_mobilenetv2_130": [224],
    "garden_efficientnet_b0_swish_se": [224],
    "garden_vit_tiny_patch16_224": [224],
    "hf_mobilevit_xxs": [256, 200],
}


def ported(folder, name, arguments, epsilon, size, dtype=None):
    """Write the folder; return the plan's aim, the report and timm's arguments."""
    import timm

    known = arguments | (
        {} if epsilon is None or name.startswith(("resnet", "mobilevit")) else {"bn_eps": epsilon}
    )
    model = timm.create_model(name, **known)
    state = random_state(model, size)
    save_file(state, folder / "state.safetensors")
    checkpoint, made = planned(folder, name, state, arguments=arguments, bn_eps=epsilon, size=size)
    result = carry_out(checkpoint, made, folder / "out", PortOptions(dtype=dtype), TRANSFORMERS)
    return result.output.aim, result.report, known


def test_transformers_loads_every_family_and_computes_what_timm_does(tmp_path):
    """``from_pretrained`` misses nothing, finds nothing unexpected, and the logits agree in float64."""
    require_transformers()
    cases = []
    for name, arguments, epsilon, size, sizes in CASES:
        folder = tmp_path / name
        folder.mkdir()
        # In float64, so that a variance that takes up a difference of epsilons is not rounded.
        _, report, known = ported(folder, name, arguments, epsilon, size, "float64")
        assert report.findings == ()
        state = str(folder / "state.safetensors")
        cases.append(
            {
                "model": name,
                "arguments": known,
                "epsilon": epsilon,
                "state": state,
                "folder": str(folder / "out"),
                "sizes": sizes,
            }
        )

    for case, answer in zip(cases, answers(cases), strict=True):
        name = case["model"]
        print(name, answer["class"], answer["errors"], f"spread {answer['spread']:.2g}")
        assert set(answer["loading"]) >= {"missing_keys", "unexpected_keys", "mismatched_keys"}
        assert not any(answer["loading"].values()), name
        # The same operations in another order: a few units in the last place of float64.
        assert max(answer["errors"].values()) <= 1e-12, name
        assert answer["spread"] > 1e-3, f"{name}: the logits hardly depend on the input"
        config = json.loads((Path(case["folder"]) / "config.json").read_text())
        assert answer["processor"]["crop_size"]["height"] == config["image_size"]


def test_mapped_variants_reach_transformers(tmp_path):
    """Rows of the mapping tables, networks of porter's own among them: both outputs of one source agree."""
    require_transformers()
    tables = load_tables()
    cases = []
    for name, sizes in VARIANTS.items():
        source = RandomCheckpoint(tables.variant(name), 0)
        made = plan(source, tables, variant=name)
        folder = tmp_path / name
        folder.mkdir()
        carry_out(source, made, folder / "timm.safetensors")
        carry_out(source, made, folder / "out", form=TRANSFORMERS)
        cases.append(
            {"ported": str(folder / "timm.safetensors"), "folder": str(folder / "out"), "sizes": sizes}
        )

    for (name, _), answer in zip(VARIANTS.items(), answers(cases), strict=True):
        print(name, answer["class"], answer["errors"])
        assert not any(answer["loading"].values()), name
        assert max(answer["errors"].values()) <= 1e-12, name


def require_transformers():
    """Skip where the package is missing."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed: pip install 'port-weights[transformers]'")


def answers(cases):
    """Let the child, which never sees TensorFlow, load and compare."""
    run = subprocess.run(
        [sys.executable, CHILD],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(porter.__file__).parent.parent)},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_folder_holds_config_preprocessor_and_weights(tmp_path):
    """The three files are there; epsilon, padding, classes and images stand where transformers looks."""
    aimed, report, _ = ported(tmp_path, "mobilenetv2_100", {"pad_type": "same", "num_classes": 7}, 1e-3, 160)

    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    config = json.loads((out / "config.json").read_text())
    assert (config["layer_norm_eps"], config["tf_padding"], config["num_labels"]) == (1e-3, True, 7)
    assert config["image_size"] == 160
    images = json.loads((out / "preprocessor_config.json").read_text())
    assert images["size"] == {"shortest_edge": 182}
    assert images["image_mean"] == [0.5, 0.5, 0.5]
    assert images["resample"] == 3
    assert "do_flip_channel_order" not in images
    assert report.path == out / "model.safetensors"
    assert len(load_file(report.path)) == report.tensors == len(aimed.assignments)


def test_file_for_another_library_is_not_loaded_as_timm(tmp_path):
    """`load_model` says for which library the file was written."""
    ported(tmp_path, "mobilenetv1_100", {"pad_type": "same"}, 1e-3, 64)

    with pytest.raises(OutputError, match="written for transformers"):
        read_metadata(tmp_path / "out" / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "arguments", "size", "code"),
    [
        ("mobilenetv2_100", {"pad_type": "same", "act_layer": "silu"}, 224, "target/argument"),
        ("tf_efficientnet_b0", {"pad_type": "valid"}, 224, "target/argument"),
        ("tf_efficientnet_b0", {}, 240, "target/size"),
        ("mobilenetv4_conv_small", {}, 224, "target/unknown-model"),
        ("resnet50d", {}, 224, "target/refused"),
    ],
)
def test_other_function_is_refused(tmp_path, name, arguments, size, code):
    """What transformers would compute differently is refused before anything is written."""
    import timm
    import torch

    with torch.device("meta"):
        shapes = {key: tuple(tensor.shape) for key, tensor in timm.create_model(name).state_dict().items()}
    state = {key: np.broadcast_to(np.float32(1), shape) for key, shape in shapes.items()}
    _, made = planned(tmp_path, name, state, arguments=arguments, bn_eps=1e-3, size=size)

    with pytest.raises(PlanError) as caught:
        aim(made, "transformers")

    assert caught.value.code == code


def test_fixed_epsilon_goes_into_the_variance(tmp_path):
    """ResNet of transformers knows 1e-5 only, so the variance grows by the difference."""
    _, report, _ = ported(tmp_path, "resnet50", {}, 1e-3, 64)

    state = load_file(tmp_path / "state.safetensors")["bn1.running_var"]
    found = load_file(report.path)["resnet.embedder.embedder.normalization.running_var"]
    assert (found == (state.astype("float64") + (1e-3 - 1e-5)).astype("float32")).all()
    assert not (found == state).all()


def test_name_that_is_taken_is_refused_and_left_alone(tmp_path):
    """A folder with something in it stays as it is; an empty one is filled; nothing hidden remains."""
    (tmp_path / "out").mkdir()
    ported(tmp_path, "mobilenetv1_100", {"pad_type": "same"}, 1e-3, 64)
    (tmp_path / "out" / "mine").write_text("kept")

    with pytest.raises(OutputError) as caught:
        ported(tmp_path, "mobilenetv1_100", {"pad_type": "same"}, 1e-3, 64)

    assert caught.value.code == "output/not-empty"
    assert (tmp_path / "out" / "mine").read_text() == "kept"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_failure_leaves_nothing(tmp_path):
    """Where the weights cannot be written, neither the folder nor a hidden one is left."""

    def interrupted():
        with new_folder(tmp_path / "out") as folder:
            (folder / "config.json").write_text("{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert list(tmp_path.iterdir()) == []
