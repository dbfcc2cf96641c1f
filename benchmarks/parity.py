"""What a parity check costs, as ratios within one run; and that correct ports raise no alarm.

Usage: python benchmarks/parity.py [time] [seeds] [--variants A,B] [--rounds N] [--seeds N] [--json FILE]

``time`` compares whole processes, interleaved, medians. Goals:
  golden  `porter golden verify VARIANT`: at most 3 times a script that imports torch and timm, builds the
          network and runs it once in float64
  live    `parity-check --variant VARIANT` with its defaults (three sizes, both element types, both columns):
          at most 1.5 times the sum of two such scripts, one per framework

``seeds`` runs both frameworks on many seeds of weights and inputs, in one process each, at a small even size.
Goal: no alarm, float64 at most 1e-11, float32 within its measured bound. It prints the worst deviations, and
the largest ratio of the float32 deviation to the smaller framework's noise, which NOISE_FACTOR bounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from porter.checks.check import Check, write_inputs
from porter.parity.compare import compare
from porter.parity.outcome import ParityReport
from porter.parity.tolerances import NOISE_FACTOR
from porter.recordings.recording import Recording
from porter.runners.job import Job
from porter.runners.process import Child, default_threads, wait_for
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

ROOT = Path(__file__).parent.parent
VARIANTS = "conv_small,conv_medium,conv_large,hybrid_medium,hybrid_large"
SIZE = 64

BARE_TORCH = """
import torch, timm
torch.set_num_threads({threads})
model = timm.create_model("{target}", pad_type="same", bn_eps=1e-3).eval().double()
with torch.inference_mode():
    model(torch.zeros(1, 3, {size}, {size}, dtype=torch.float64))
"""
BARE_TENSORFLOW = """
import tensorflow as tf, tf_keras
from official.vision.modeling.backbones import mobilenet
from official.vision.modeling.classification_model import ClassificationModel
tf.config.threading.set_intra_op_parallelism_threads({threads})
tf_keras.backend.set_floatx("float64")
model = ClassificationModel(mobilenet.MobileNet(model_id="{source}"), num_classes=1000)
model(tf.zeros([1, {size}, {size}, 3], tf.float64), training=False)
"""
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


def main() -> None:
    """Run what was asked for and exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["time", "seeds"])
    parser.add_argument("--variants", default=VARIANTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=200, help="seeds per variant")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tables = load_tables()
    variants = [tables.variant(name) for name in options.variants.split(",")]
    results: dict[str, Any] = {}
    if "time" in options.parts:
        results["time"] = [measure_time(variant, options.rounds) for variant in variants]
    if "seeds" in options.parts:
        results["seeds"] = [measure_seeds(variant, options.seeds) for variant in variants]
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    sys.exit(0 if all(row["met"] for rows in results.values() for row in rows) else 1)


def measure_time(variant: Variant, rounds: int) -> dict[str, Any]:
    """Time both checks and both bare scripts of one network."""
    filled = {
        "threads": default_threads(),
        "target": variant.target.name,
        "source": variant.source.arguments["model_id"],
    }
    porter = [sys.executable, "-m", "porter.cli.main"]
    commands = {
        "bare torch, 96": [sys.executable, "-c", BARE_TORCH.format(size=96, **filled)],
        "bare torch, 224": [sys.executable, "-c", BARE_TORCH.format(size=224, **filled)],
        "bare tensorflow, 224": [sys.executable, "-c", BARE_TENSORFLOW.format(size=224, **filled)],
        "golden": [*porter, "golden", "verify", variant.name],
        "live": [*porter, "parity-check", "--variant", variant.name],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
            taken[name].append(time.perf_counter() - started)
    seconds = {name: statistics.median(values) for name, values in taken.items()}
    golden = seconds["golden"] / seconds["bare torch, 96"]
    live = seconds["live"] / (seconds["bare torch, 224"] + seconds["bare tensorflow, 224"])
    print(f"{variant.name:<28} golden {golden:.2f} of 3, live {live:.2f} of 1.5   ", end="")
    print(", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()), flush=True)
    return {
        "variant": variant.name,
        "seconds": taken,
        "golden": golden,
        "live": live,
        "met": golden <= 3 and live <= 1.5,
    }


def measure_seeds(variant: Variant, count: int) -> dict[str, Any]:
    """Compare many correct ports of one network, each with its own weights and input."""
    alarms: list[int] = []
    worst = {"float64": 0.0, "float32": 0.0}
    ratio = 0.0
    batch = 20  # recordings of that many seeds are on disk at a time
    for start in range(0, count, batch):
        for seed, report in run_seeds(variant, range(start, min(start + batch, count))):
            if not all(case.passed for case in report.cases):
                alarms.append(seed)
            for case in report.cases:
                worst[case.dtype] = max(worst[case.dtype], case.worst)
            ratio = max(ratio, noise_ratio(report))
    print(
        f"{variant.name:<28} {count} seeds: {len(alarms)} alarms {alarms[:5]}, worst float64 "
        f"{worst['float64']:.1e}, float32 {worst['float32']:.1e}, {ratio:.2f} times the noise "
        f"(bound {NOISE_FACTOR:g})",
        flush=True,
    )
    met = not alarms and worst["float64"] <= 1e-11
    return {
        "variant": variant.name,
        "seeds": count,
        "alarms": alarms,
        "worst": worst,
        "ratio": ratio,
        "met": met,
    }


def run_seeds(variant: Variant, seeds: range) -> list[tuple[int, ParityReport]]:
    """Run TensorFlow, then PyTorch, on every seed and compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checks = [Check(variant, sizes=((SIZE, SIZE),), seed=seed) for seed in seeds]
        inputs = [write_inputs(check, folder / f"{check.seed}.in") for check in checks]

        def jobs(side: str, *, local: bool) -> list[Job]:
            return [
                check.job(source, folder / f"{check.seed}.{side}", local=local)
                for check, source in zip(checks, inputs, strict=True)
            ]

        with Child("tensorflow", *jobs("tf", local=False)) as child:
            wait_for(child, [], 36000)
        with Child("torch", *jobs("pt", local=True)) as child:
            for check in checks:
                child.name_reference(folder / f"{check.seed}.tf")
            wait_for(child, [], 36000)
        pairs = [
            (Recording.load(folder / f"{seed}.tf"), Recording.load(folder / f"{seed}.pt")) for seed in seeds
        ]
        return [(seed, compare(*pair)) for seed, pair in zip(seeds, pairs, strict=True)]


def noise_ratio(report: ParityReport) -> float:
    """Return the largest ratio of a float32 deviation to the smaller noise, where that is above the floor."""
    return max(
        (
            stage.propagated.relative / min(stage.noise.expected, stage.noise.actual)
            for case in report.cases
            for stage in case.stages
            if stage.noise is not None and min(stage.noise.expected, stage.noise.actual) > 0
        ),
        default=0.0,
    )


if __name__ == "__main__":
    main()
