"""What SAME padding costs: MobileNetV4 folded against native padding, dynamic against timm's pad_type="same".

Run `python benchmarks/same_padding.py` (a quarter of an hour, half of it compiling), or choose
with `--models`, `--sizes`, `--batches`, `--modes`. The four networks of a row run in turns in one process; a
ratio is the median of the rounds' ratios, so that a busy machine disturbs both sides alike. `native_again` is
the native network timed twice in a round: how far it is from 1 is the noise of the row.

On a GPU every time is that of a whole forward, from an idle device to an idle device. All networks compute in
full float32 (no TF32) and cuDNN chooses each layer's algorithm by trying them (`cudnn.benchmark`), before the
first round.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import TypeAlias

import timm
import torch
from torch import nn

from porter.same_padding import emulate_same_padding, fold_same_padding

MODELS = ("mobilenetv4_conv_medium", "mobilenetv4_hybrid_medium")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Network: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
# A forward on a GPU takes some milliseconds, of which launching kernels is a noisy part.
ROUNDS = {1: 40, 32: 6} if DEVICE.type == "cpu" else {1: 200, 32: 40}


def networks(name: str, size: int, *, compiled: bool) -> dict[str, Network]:
    """Return the four networks of a row, of equal weights."""
    torch.manual_seed(0)
    built: dict[str, nn.Module] = {}
    for key in ("native", "folded", "timm", "dynamic"):
        pad_type = "same" if key == "timm" else ""
        built[key] = timm.create_model(name, pad_type=pad_type, num_classes=1000)
        built[key].load_state_dict(built["native"].state_dict())
        built[key].to(DEVICE).eval()
    for key in ("folded", "dynamic"):
        emulate_same_padding(built[key])
    fold_same_padding(built["folded"], (size, size))
    if not compiled:
        return dict(built)
    torch.compiler.reset()
    return {key: torch.compile(net, dynamic=False) for key, net in built.items()}


def seconds(net: Network, x: torch.Tensor) -> float:
    """Time one forward, to the end of its last kernel."""
    start = time.perf_counter()
    net(x)
    finish()
    return time.perf_counter() - start


def finish() -> None:
    """Wait until the device is idle."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def ratios(nets: dict[str, Network], x: torch.Tensor, rounds: int) -> dict[str, float]:
    """Run the networks in turns, the order reversed every second round, and compare within each round."""
    order = [*nets.items(), ("native_again", nets["native"])]
    for _, net in order * 3:
        net(x)
    finish()
    times: dict[str, list[float]] = {key: [] for key, _ in order}
    for turn in range(rounds):
        for key, net in order if turn % 2 else order[::-1]:
            times[key].append(seconds(net, x))

    def ratio(over: str, under: str) -> float:
        return round(statistics.median(a / b for a, b in zip(times[over], times[under], strict=True)), 3)

    return {
        "native_ms": round(1000 * statistics.median(times["native"]), 2),
        "folded/native": ratio("folded", "native"),
        "dynamic/timm": ratio("dynamic", "timm"),
        "timm/native": ratio("timm", "native"),
        "native_again/native": ratio("native_again", "native"),
    }


def peak_megabytes(net: Network, x: torch.Tensor) -> float:
    """Return the most that torch's allocator holds at once for one forward, in MB.

    Scratch space inside oneDNN is not torch's and not counted.
    """
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # to what is held now: nothing is running
        before = torch.cuda.memory_allocated()
        net(x)
        return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        net(x)
    recorded = profile.profiler.kineto_results.events()
    steps = sorted((event.start_ns(), event.nbytes()) for event in recorded if event.name() == "[memory]")
    return round(max(itertools.accumulate((count for _, count in steps), initial=0)) / 1e6, 1)


@torch.no_grad()
def row(model: str, size: int, batch: int, mode: str) -> dict[str, object]:
    """Measure one configuration."""
    nets = networks(model, size, compiled=mode == "compiled")
    x = torch.randn(batch, 3, size, size, device=DEVICE)
    result: dict[str, object] = {
        "model": model,
        "size": size,
        "batch": batch,
        "mode": mode,
        "device": torch.cuda.get_device_name() if DEVICE.type == "cuda" else str(DEVICE),
    }
    result |= ratios(nets, x, ROUNDS[batch])
    result["peak_MB"] = {key: peak_megabytes(net, x) for key, net in nets.items()}
    return result


def main() -> None:
    """Print one JSON line per configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[224, 256])
    parser.add_argument("--batches", nargs="+", type=int, default=list(ROUNDS), choices=list(ROUNDS))
    parser.add_argument("--modes", nargs="+", default=["eager", "compiled"], choices=["eager", "compiled"])
    chosen = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    for mode in chosen.modes:
        for model in chosen.models:
            for size in chosen.sizes:
                for batch in chosen.batches:
                    print(json.dumps(row(model, size, batch, mode)), flush=True)


if __name__ == "__main__":
    main()
