"""Load ported folders with transformers, offline, and compare them with timm in float64: the test's child."""

from __future__ import annotations

import json
import os
import sys

os.environ |= {"USE_TF": "0", "USE_FLAX": "0", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def main():
    """Read cases from stdin and write what was found to stdout, both JSON."""
    import timm
    import torch
    from safetensors.torch import load_file
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    import porter

    torch.set_num_threads(1)
    answers = []
    for case in json.load(sys.stdin):
        theirs, info = AutoModelForImageClassification.from_pretrained(
            case["folder"], output_loading_info=True, torch_dtype=torch.float64
        )
        if "ported" in case:
            mine = porter.load_model(case["ported"])
        else:
            mine = timm.create_model(case["model"], **case["arguments"])
            mine.load_state_dict(load_file(case["state"]))
        mine, theirs = mine.double().eval(), theirs.double().eval()
        # from_pretrained of 4.x holds statistics in float32, so the float64 ones are loaded over them. What
        # else is in the file has other names in the model of 5.x than on the disk.
        stored = load_file(f"{case['folder']}/model.safetensors")
        statistics = {name: value for name, value in stored.items() if ".running_" in name}
        assert not theirs.load_state_dict(statistics, strict=False).unexpected_keys
        for module in mine.modules():
            if "epsilon" in case and isinstance(module, torch.nn.BatchNorm2d):
                module.eps = case["epsilon"]
        errors = {}
        for size in case["sizes"]:
            x = torch.randn(
                2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size)
            )
            with torch.inference_mode():
                expected, actual = mine(x), theirs(x).logits
            errors[size] = float((expected - actual).abs().max() / expected.abs().max())
            spread = float(expected.std(0).max() / expected.abs().max())
        processor = AutoImageProcessor.from_pretrained(case["folder"], use_fast=False)
        answers.append(
            {
                "class": type(theirs).__name__,
                "loading": {key: sorted(map(str, value)) for key, value in info.items()},
                "errors": errors,
                "spread": spread,
                "processor": processor.to_dict(),
            }
        )
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
