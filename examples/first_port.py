"""A whole port on one page: TensorFlow writes a checkpoint, porter ports it, timm loads it.

Run it: python examples/first_port.py

TensorFlow and timm cannot live in one process (both bring LLVM), so this file starts itself twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

MODEL_ID = "MobileNetV4HybridMedium"
SIZE = 224


def image() -> np.ndarray:
    """Return one seeded image, (1, SIZE, SIZE, 3), NHWC."""
    return np.random.default_rng(0).standard_normal((1, SIZE, SIZE, 3)).astype(np.float32)


def train(folder: Path) -> None:
    """Stand in for a training run: a Model Garden network with seeded weights, saved by TensorFlow."""
    import tensorflow as tf
    from official.vision.modeling import classification_model
    from official.vision.modeling.backbones import mobilenet

    tf.random.set_seed(1)
    backbone = mobilenet.MobileNet(model_id=MODEL_ID)
    model = classification_model.ClassificationModel(backbone, num_classes=1000)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        noise = rng.uniform(0.5, 1.5, variable.shape).astype(np.float32)
        variable.assign(noise if "variance" in variable.name else variable * noise)
    tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
    np.save(folder / "tensorflow.npy", model(image(), training=False).numpy())


def deploy(folder: Path) -> None:
    """Load the ported file with plain timm arguments and compare the logits."""
    import torch

    import porter

    model = porter.load_model(folder / "model.safetensors")
    with torch.inference_mode():
        logits = model(torch.from_numpy(image()).permute(0, 3, 1, 2)).numpy()
    expected = np.load(folder / "tensorflow.npy")
    difference = np.abs(logits - expected).max() / np.abs(expected).max()
    print(f"timm      {type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} parameters")
    print(f"logits    differ by {difference:.1e} of the largest (float32 rounding)")
    if difference > 1e-4:
        raise SystemExit("the port is wrong")


def main() -> None:
    """Train, port, deploy."""
    with tempfile.TemporaryDirectory() as name:
        print(f"TensorFlow writes a {MODEL_ID} checkpoint ...", flush=True)
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, __file__, "train", name], check=True, env=quiet)
        command = [
            str(Path(sys.executable).parent / "port-weights"),
            f"{name}/ckpt-1",
            f"{name}/model.safetensors",
        ]
        subprocess.run(command, check=True)
        subprocess.run([sys.executable, __file__, "deploy", name], check=True)


if __name__ == "__main__":
    steps = {"train": train, "deploy": deploy}
    steps[sys.argv[1]](Path(sys.argv[2])) if len(sys.argv) > 1 else main()
