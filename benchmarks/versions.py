"""Runs versions of the frameworks, each in an environment of its own, and keeps docs/versions.md.

    python benchmarks/versions.py                      # every environment below
    python benchmarks/versions.py torch-oldest         # these
    python benchmarks/versions.py torch-newest --python venv/bin/python   # with what is installed there

With torch, ports are checked against goldens: every stage in float64 against what TensorFlow 2.20 computed.
With transformers, the tests of its folders are run: it loads a port of every family that it has, misses no
tensor, and gives timm's logits in float64.
With TensorFlow, a network is written in each of its containers, and what porter (run by this interpreter)
makes of it is held against the weights that TensorFlow says it has.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "versions.md"
TRANSFORMERS_TESTS = ROOT / "tests" / "targets" / "test_transformers.py"
SMALL = ("click", "google-crc32c", "pyyaml", "safetensors", "pillow")
GOLDENS = (
    "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_medium",
    "garden_resnet50",
    "keras_efficientnetv2_b0",
)

# Name to what is installed. numpy 2.3 and newer no longer suits the oldest torch.
TORCH = {
    "torch-oldest": ("torch==2.4.0", "torchvision==0.19.0", "timm==1.0.16", "numpy<2.3", *SMALL),
    "torch-newest": ("torch", "torchvision", "timm", "numpy", *SMALL),
}
TENSORFLOW = {
    "tensorflow-2.16": ("tensorflow==2.16.2", "tf_keras==2.16.0"),
    "tensorflow-2.17": ("tensorflow==2.17.1", "tf_keras==2.17.0"),
    "tensorflow-2.18": ("tensorflow==2.18.1", "tf_keras==2.18.0"),
    "tensorflow-2.19": ("tensorflow==2.19.1", "tf_keras==2.19.0"),
    "tensorflow-newest": ("tensorflow", "tf_keras"),
}
TRANSFORMERS = {
    "transformers-oldest": ("transformers==4.32.0", *TORCH["torch-oldest"], "pytest"),
    "transformers-newest": ("transformers", *TORCH["torch-newest"], "pytest"),
}
SHOWN = {
    "goldens": ("torch", "torchvision", "timm"),
    "sources": ("tensorflow", "tf_keras", "keras"),
    "folders": ("transformers", "torch", "timm"),
}

_WRITERS = {"legacy": "tf_keras", "current": "Keras 3"}
_WRITE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
folder, legacy = sys.argv[1], sys.argv[2] == "legacy"
if legacy:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np, tensorflow as tf
model = tf.keras.applications.MobileNet(alpha=0.25, weights=None, input_shape=(128, 128, 3), classes=1000)
rng = np.random.default_rng(0)
model.set_weights([rng.uniform(0.5, 1.5, w.shape).astype("float32") for w in model.get_weights()])
np.savez(f"{folder}/weights.npz", *model.get_weights())
model.save(f"{folder}/model.h5")
model.save(f"{folder}/model.keras")
model.save_weights(f"{folder}/model.weights.h5")
if legacy:
    model.save_weights(f"{folder}/weights-1")
    model.save(f"{folder}/saved")
else:
    tf.train.Checkpoint(model=model).write(f"{folder}/checkpoint-1")
    model.export(f"{folder}/exported", verbose=False)
"""


def call(command: Sequence[object], **environment: str) -> str:
    """Run a command and return its standard output, whatever its exit code."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if not done.stdout and done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


def installed(python: Path) -> dict[str, str]:
    """Return the versions of the frameworks and of Python in an environment."""
    names = [*(name for shown in SHOWN.values() for name in shown), "numpy"]
    program = (
        "import importlib.metadata as m, json, platform; v = {}\n"
        f"for n in {names}:\n  try: v[n] = m.version(n)\n  except m.PackageNotFoundError: pass\n"
        "v['Python'] = platform.python_version(); print(json.dumps(v))"
    )
    found: dict[str, str] = json.loads(call([python, "-c", program]))
    return found


def environment(packages: Sequence[str], folder: Path) -> Path:
    """Make a virtual environment with these packages."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", *packages], check=True)
    return python


def goldens(python: Path) -> str:
    """Check ports against goldens and return what came out."""
    words = ["-m", "porter.cli.main", "golden", "verify", *GOLDENS, "--json"]
    reports = json.loads(call([python, *words], PYTHONPATH=str(ROOT)))
    failed = [report["variant"] for report in reports if report["verdict"] != "parity"]
    if failed:
        return f"no parity: {', '.join(failed)}"
    return f"{len(reports)} networks in parity with their goldens, worst {_worst(reports):.1e}"


def _worst(reports: list[dict[str, Any]]) -> float:
    return max(case["worst_relative"] for report in reports for case in report["cases"] if case["decides"])


def sources(python: Path) -> str:
    """Have Keras write a network in each container, port each, and compare every weight."""
    done: list[str] = []
    for generation, writer in _WRITERS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            subprocess.run([python, "-c", _WRITE, folder, generation], check=True, capture_output=True)
            with np.load(folder / "weights.npz") as kept:
                expected = sorted(map(_digest, (kept[key] for key in kept.files)))
            found = [path for path in sorted(folder.iterdir()) if not path.name.endswith(".npz")]
            for source in sorted({re.sub(r"\.(index|data-.*)$", "", str(path)) for path in found}):
                if Path(source).name != "checkpoint":
                    _port_and_compare(source, folder / "out.safetensors", expected)
                    done.append(f"{Path(source).name} ({writer})")
    names = ", ".join(sorted(done))
    return f"{len(done)} containers ported, shapes, sums and smallest values of all weights equal: {names}"


def folders(python: Path) -> str:
    """Run the tests that load ports with transformers, and return what they printed of the differences."""
    chosen = ["-q", "-rpP", "-W", "ignore", "-p", "no:cacheprovider", "-k", "every_family or mapped_variants"]
    printed = call([python, "-m", "pytest", *chosen, TRANSFORMERS_TESTS], PYTHONPATH=str(ROOT))
    if "\n2 passed" not in printed:
        raise SystemExit(printed[-3000:])
    errors = {
        match[1]: max(map(float, re.findall(r": ([\d.e-]+)", match[2])))
        for match in re.finditer(r"^(\w+) \w+ForImageClassification \{(.*?)\}", printed, re.MULTILINE)
    }
    return f"{len(errors)} networks loaded whole, logits timm's in float64, worst {max(errors.values()):.1e}"


def _port_and_compare(source: str, out: Path, expected: list[Any]) -> None:
    words = [sys.executable, "-m", "porter.cli.main", "port-weights", source, out, "-q"]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    tensors = load_file(out)
    got = sorted(_digest(v) for k, v in tensors.items() if "num_batches_tracked" not in k)
    out.unlink()
    assert got == expected, f"{source}: weights differ"


def _digest(values: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    """Return what a layout cannot change: the number of elements and their sorted values."""
    return values.size, tuple(np.sort(values.ravel())[:3].tolist()), float(np.sort(values.ravel()).sum())


def row(python: Path, check: Callable[[Path], str]) -> str:
    """Return a row of the table."""
    versions = installed(python)
    shown = ", ".join(f"{name} {versions[name]}" for name in SHOWN[check.__name__])
    return f"| {shown} | {versions['Python']} | {versions['numpy']} | {check(python)} |"


def keep(line: str, column: str) -> None:
    """Put a row into the page's table of this first column, in place of the one of the same versions.

    A cell that is empty keeps what the page has.
    """
    text = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(number for number, old in enumerate(text) if old.startswith(f"| {column} |")) + 2
    kept = itertools.takewhile(lambda old: old.startswith("|"), text[start:])
    rows = {(cells := _cells(old))[0]: cells for old in kept}
    count, new = len(rows), _cells(line)
    rows[new[0]] = [cell or old for cell, old in zip(new, rows.get(new[0], new), strict=True)]
    text[start : start + count] = [f"| {' | '.join(cells)} |" for _, cells in sorted(rows.items())]
    PAGE.write_text("\n".join(text) + "\n", encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


CHECKS: dict[str, tuple[tuple[str, ...], Callable[[Path], str]]] = {
    **{name: (packages, goldens) for name, packages in TORCH.items()},
    **{name: (packages, sources) for name, packages in TENSORFLOW.items()},
    **{name: (packages, folders) for name, packages in TRANSFORMERS.items()},
}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CHECKS))
    parser.add_argument("--python", type=Path, help="use this environment instead of making one")
    asked = parser.parse_args()
    for name in asked.names or CHECKS:
        packages, check = CHECKS[name]
        with tempfile.TemporaryDirectory() as folder:
            python = asked.python or environment(packages, Path(folder) / "venv")
            line = row(python, check)
        print(line)
        keep(line, "frameworks")


if __name__ == "__main__":
    main()
