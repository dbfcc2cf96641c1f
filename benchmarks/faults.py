"""How well faults are detected, located and named: every fault at every place in all five MobileNetV4.

    python benchmarks/faults.py [--variant NAME ...] [--fraction 0.1] [--size 64] [--jobs N] [--json FILE]

The reference is the unmutated PyTorch network on the same seeded weights, which equals TensorFlow's to 1e-13
(benchmarks/parity.py); tests/diagnosis repeats a part against TensorFlow itself. A mutant that changes no
stage's output by more than rounding (1e-13; the check allows 1e-11) is no fault here, such as a ReLU6 whose
input stays below 6: it is counted as equivalent and left out of the rates. Of the controls, which are no
faults, nothing may be found.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import fault_injection as faults
import torch
from faulty_network import FaultyNetwork
from faulty_preprocessing import PREPROCESSING, image, prepared

from porter.diagnosis import diagnose
from porter.parity.compare import compare
from porter.tables.shipped import load_tables

VARIANTS = ("conv_small", "conv_medium", "conv_large", "hybrid_medium", "hybrid_large")


@dataclass
class Tally:
    """What became of the mutants of one class."""

    count: int = 0
    equivalent: int = 0
    detected: int = 0
    golden: int = 0
    placed: int = 0
    named: int = 0
    named_from_patterns: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count what another process counted."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def judge(bench: FaultyNetwork, mutant: faults.Mutant, tally: Tally) -> None:
    """Run one mutant and count what was said about it."""
    actual, changed = bench.mutate(mutant)
    tally.count += 1
    report = compare(bench.expected, actual)
    if mutant.fault in faults.CONTROLS:
        tally.detected += not report.passed
        tally.golden += not compare(bench.golden, actual).passed
        tally.named += bool(diagnose(report, bench.expected, actual, bench.variant, bench.weights))
        return
    if not changed:
        tally.equivalent += 1
        return
    tally.detected += not report.passed
    # Two stages of the golden are enough to see the fault; a whole golden can only see more.
    stages = list(dict.fromkeys((changed[0], bench.stages[-1].name)))
    tally.golden += not compare(bench.golden, actual, stages=stages).passed
    tally.placed += report.first_bad_stage == changed[0]
    for attribute, variant, weights in (
        ("named", bench.variant, bench.weights),
        ("named_from_patterns", None, None),
    ):
        found = diagnose(report, bench.expected, actual, variant, weights)
        right = bool(found) and found[0].cause in mutant.cause
        setattr(tally, attribute, getattr(tally, attribute) + right)
        if not right and weights is not None:
            said = f"{found[0].cause} ({found[0].evidence})" if found else "nothing"
            tally.missed.append(f"{bench.variant.name} {mutant.place}: {said}")


def preprocessing(bench: FaultyNetwork, size: int, tallies: dict[str, Tally]) -> None:
    """Prepare a image wrongly, and run the right network on it."""
    taken = image(bench.seed, 2 * size)
    right = prepared(taken, size)
    expected = bench.recording(bench.forward(0, right), {}, right)
    for fault, cause in PREPROCESSING.items():
        wrong = prepared(taken, size, fault)
        # The stages are sound: fed with the reference's input each gives the reference's output.
        local = bench.forward(0, right)
        actual = bench.recording(bench.forward(0, wrong), local, wrong)
        report = compare(expected, actual)
        tally = tallies[f"preprocessing: {fault}"]
        tally.count += 1
        tally.detected += not report.passed
        tally.golden += not report.passed
        tally.placed += report.first_bad_stage == "input"
        for attribute, weights in (("named", bench.weights), ("named_from_patterns", None)):
            found = diagnose(report, expected, actual, bench.variant, weights)
            setattr(tally, attribute, getattr(tally, attribute) + (bool(found) and found[0].cause in cause))
            if attribute == "named" and not (found and found[0].cause in cause):
                tally.missed.append(f"{bench.variant.name}: {found[0].cause if found else 'nothing'}")


def chosen(bench: FaultyNetwork, fraction: float, seed: int) -> Iterator[faults.Mutant]:
    """Yield all mutants, or of each class an even share of the places; of the controls a quarter."""
    kinds: dict[str, list[faults.Mutant]] = defaultdict(list)
    for mutant in faults.mutants(bench.model, seed):
        kinds[mutant.fault].append(mutant)
    for found in kinds.values():
        step = max(1, round(1 / fraction))
        if found[0].fault == faults.CONTROL:
            step *= 4
        yield from found[seed % min(step, len(found)) :: step]


def table(tallies: dict[str, Tally]) -> str:
    """Return the results as aligned lines."""
    lines = [
        f"{'fault':<42}{'mutants':>8}{'equiv.':>7}{'found':>8}{'golden':>8}{'stage':>8}{'named':>8}{'patterns':>9}"
    ]
    total = Tally()
    for fault, t in sorted(tallies.items()):
        faulty = t.count - t.equivalent
        figures = (t.detected, t.golden, t.placed, t.named, t.named_from_patterns)
        if fault not in faults.CONTROLS:
            total.add(t)
        lines.append(_line(fault, t.count, t.equivalent, faulty, figures))
    faulty = total.count - total.equivalent
    figures = (total.detected, total.golden, total.placed, total.named, total.named_from_patterns)
    lines.append(_line("all faults, without the control", total.count, total.equivalent, faulty, figures))
    return "\n".join(lines)


def _line(name: str, count: int, equivalent: int, faulty: int, figures: tuple[int, ...]) -> str:
    # Rounded down, so that 100% means all.
    shares = (f"{math.floor(1000 * f / faulty) / 10:.1f}%" if faulty else "-" for f in figures)
    found, golden, stage, named, patterns = shares
    return f"{name:<42}{count:>8}{equivalent:>7}{found:>8}{golden:>8}{stage:>8}{named:>8}{patterns:>9}"


def share(name: str, options: argparse.Namespace, number: int) -> tuple[dict[str, Tally], float]:
    """Judge the mutants of one network whose turn is `number` of every `options.jobs`; also in seconds."""
    # The tensors are small: a second thread costs more than it brings.
    torch.set_num_threads(1)
    started = time.perf_counter()
    tallies: dict[str, Tally] = defaultdict(Tally)
    bench = FaultyNetwork(load_tables().variant(name), options.size, options.seed)
    for mutant in islice(chosen(bench, options.fraction, options.seed), number, None, options.jobs):
        judge(bench, mutant, tallies[mutant.fault])
    if number == 0:
        preprocessing(bench, options.size, tallies)
    return dict(tallies), time.perf_counter() - started


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", nargs="+", default=VARIANTS)
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tallies: dict[str, Tally] = defaultdict(Tally)
    # Forking a process whose torch has started threads would hang it.
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        for name in options.variant:
            parts = [pool.submit(share, name, options, number) for number in range(options.jobs)]
            spent = 0.0
            for part in parts:
                found, seconds = part.result()
                spent += seconds
                for fault, tally in found.items():
                    tallies[fault].add(tally)
            print(f"{name}: {spent:.0f} s of one processor", file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps({k: vars(t) for k, t in tallies.items()}, indent=1))
    print(table(tallies))
    for fault, tally in sorted(tallies.items()):
        for line in tally.missed[:5]:
            print(f"not named: {fault}: {line}")


if __name__ == "__main__":
    main()
