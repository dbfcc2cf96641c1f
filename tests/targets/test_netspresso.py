"""Files for NetsPresso Trainer: its network takes them and, with TensorFlow's padding, computes the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from timm_sources import planned, random_state

import porter
from porter.errors import PlanError
from porter.outputs.output_options import OutputOptions
from porter.outputs.port import carry_out
from porter.outputs.renaming.aim import aim
from porter.planning.port_options import PortOptions

pytestmark = pytest.mark.torch
NETSPRESSO = OutputOptions(target="netspresso")
CHILD = Path(__file__).parent / "load_netspresso.py"
DOCUMENTS = Path(__file__).parent.parent / "networks" / "stage_params"
NAMES = sorted(path.stem for path in DOCUMENTS.glob("*.yaml"))


def test_netspresso_takes_every_file_strictly_and_computes_what_timm_does(tmp_path):
    """Its own modules load all five with ``strict=True``; with SAME padding the logits agree in float64."""
    import timm

    if importlib.util.find_spec("netspresso_trainer") is None:
        pytest.skip(
            "netspresso-trainer is not installed (pip install --no-deps netspresso-trainer omegaconf loguru)"
        )
    cases = []
    for name in NAMES:
        folder = tmp_path / name
        folder.mkdir()
        state = random_state(timm.create_model(name, pad_type="same", bn_eps=1e-3), 96)
        save_file(state, folder / "state")
        checkpoint, made = planned(folder, name, state, arguments={"pad_type": "same"}, bn_eps=1e-3)
        # In float64, so that a variance that takes up the difference of the epsilons is not rounded.
        carry_out(checkpoint, made, folder / "ported.safetensors", PortOptions(dtype="float64"), NETSPRESSO)
        document = (DOCUMENTS / f"{name}.yaml").read_text()
        cases.append(
            {
                "model": name,
                # The one change that the command asks for.
                "document": document.replace("layer_scale: 0.1", "layer_scale: ~")
                if "conv" in name
                else document,
                "activation": "gelu" if name.endswith("hybrid_large") else "relu",
                "state": str(folder / "state"),
                "ported": str(folder / "ported.safetensors"),
                "sizes": [96, 97],
            }
        )

    run = subprocess.run(
        [sys.executable, CHILD],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(porter.__file__).parent.parent)},
    )

    assert run.returncode == 0, run.stderr[-3000:]
    for case, answer in zip(cases, json.loads(run.stdout.splitlines()[-1]), strict=True):
        print(case["model"], answer["errors"], f"spread {answer['spread']:.2g}")
        errors = answer["errors"]
        # The bound of every parity check. The folded epsilons round otherwise, and attention magnifies it.
        assert max(error for place, error in errors.items() if place.startswith("same")) <= 1e-11
        assert errors["symmetric 96"] > 1e-3, "the note about padding would be wrong"
        assert answer["spread"] > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_differences_are_printed(tmp_path, name):
    """Padding is named for each network; conv_small's layer scale and hybrid_large's head for these."""
    made = empty_plan(tmp_path, name, {"pad_type": "same"})

    notes = "\n".join(aim(made, "netspresso").notes)

    assert "emulate_same_padding" in notes
    assert ("layer_scale" in notes) == name.endswith("conv_small")
    assert ("gelu" in notes) == name.endswith("hybrid_large")


def test_another_number_of_channels_is_refused(tmp_path):
    """NetsPresso's stem takes three."""
    made = empty_plan(tmp_path, "mobilenetv4_conv_small", {"pad_type": "same", "in_chans": 1})

    with pytest.raises(PlanError, match="cannot express timm's in_chans=1"):
        aim(made, "netspresso")


def empty_plan(folder, name, arguments):
    """Return a plan for network `name` whose weights are all one."""
    import numpy as np
    import timm
    import torch

    with torch.device("meta"):
        model = timm.create_model(name)
    state = {key: np.broadcast_to(np.float32(1), tensor.shape) for key, tensor in model.state_dict().items()}
    return planned(folder, name, state, arguments=arguments, bn_eps=1e-3)[1]
