"""Load ported files with NetsPresso Trainer's own network and compare with timm: the test's child.

The package's top level imports a web interface and a tracker, so only what defines the network is imported.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types


def package():
    """Stand in for the top level of the package, so that its parts can be imported without the rest."""
    spec = importlib.util.find_spec("netspresso_trainer")
    module = types.ModuleType(spec.name)
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules[spec.name] = module


def network(document, activation):
    """Build the backbone of a `stage_params` document and a head of two layers."""
    import yaml
    from netspresso_trainer.models.backbones.experimental.mobilenetv4 import MobileNetV4
    from netspresso_trainer.models.base import ClassificationModel
    from netspresso_trainer.models.heads.classification.core.fc import FCConv
    from omegaconf import OmegaConf

    stated = {"task": "classification", "name": "test", **yaml.safe_load(document)["model"]}
    stated["architecture"]["head"] = {"name": "fc_conv"}
    conf = OmegaConf.create(stated)
    described = conf.architecture.backbone
    backbone = MobileNetV4("classification", described.params, described.stage_params)
    sizes = {"dropout_prob": 0.0, "num_layers": 2, "intermediate_channels": 1280}
    head = OmegaConf.create({**sizes, "norm_type": "batch_norm", "act_type": activation})
    return ClassificationModel(conf, backbone, None, FCConv(960, 1000, head))


def main():
    """Read cases from stdin and write what was found to stdout, both JSON."""
    import timm
    import torch
    from safetensors.torch import load_file

    from porter.same_padding import emulate_same_padding

    package()
    torch.set_num_threads(1)
    answers = []
    for case in json.load(sys.stdin):
        theirs = network(case["document"], case["activation"]).double().eval()
        theirs.load_state_dict(load_file(case["ported"]), strict=True)
        mine = timm.create_model(case["model"], pad_type="same", bn_eps=1e-3)
        mine.load_state_dict(load_file(case["state"]))
        mine = mine.double().eval()
        errors = {}
        for padding in ("symmetric", "same"):
            if padding == "same":
                emulate_same_padding(theirs)
            for size in case["sizes"]:
                x = torch.randn(
                    2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size)
                )
                with torch.inference_mode():
                    expected, actual = mine(x), theirs(x)["pred"]
                errors[f"{padding} {size}"] = float((expected - actual).abs().max() / expected.abs().max())
        answers.append({"errors": errors, "spread": float(expected.std(0).max() / expected.abs().max())})
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
