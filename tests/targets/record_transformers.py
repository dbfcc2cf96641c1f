"""Record names and shapes of transformers' networks; run by hand where transformers is installed."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def digest(shapes):
    """Return how many tensors there are, and a digest of their names and shapes."""
    lines = "\n".join(f"{name} {list(map(int, shape))}" for name, shape in sorted(shapes.items()))
    return {"tensors": len(shapes), "sha256": hashlib.sha256(lines.encode()).hexdigest()}


def record(tables):
    """Return the digest of each network that the tables name, built by transformers from its config."""
    import torch
    import transformers

    found = {}
    for table in tables:
        architecture = getattr(transformers, table.config["architectures"][0])
        for name, model in table.models.items():
            entries = {**table.config, **model.config, "num_labels": 1000}
            with torch.device("meta"):
                network = architecture(architecture.config_class(**entries))
            found[name] = digest({key: tensor.shape for key, tensor in network.state_dict().items()})
    return found


if __name__ == "__main__":
    from porter.outputs.renaming.target_table import read_target_table
    from porter.tables.shipped import mappings_folder

    files = sorted((mappings_folder() / "targets" / "transformers").glob("*.toml"))
    recorded = record([read_target_table(file) for file in files])
    text = json.dumps(recorded, indent=1, sort_keys=True) + "\n"
    if "--check" in sys.argv:
        known = (Path(__file__).parent / "transformers_networks.json").read_text()
        sys.exit("transformers' networks differ from the recording" if text != known else 0)
    (Path(__file__).parent / "transformers_networks.json").write_text(text)
