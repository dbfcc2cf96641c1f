"""Every SAME window at every size from 1x1 to 33x33, against TensorFlow: outputs and gradients in float64.

    python benchmarks/same_padding_grid.py

140 windows (kernel 1-7 x stride 1-4 x dilation 1-3, where TensorFlow allows it; convolutions, depthwise
convolutions and both pools) at 1,089 sizes each. The tests run a part of this grid; the whole takes half
an hour on two cores. TensorFlow runs in a process of its own, window by window. Exits with 1 where a number
differs by more than 1e-12. TensorFlow's gradient of an average pool whose kernel is longer than the input is
not the derivative of its own output (see tests/same_padding); there the derivative is what is compared.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "same_padding"))

from same_padding_cases import OPERATIONS, SIZES, Case, split_answers, windows  # noqa: E402 - found there


def grid(operation: str, window: tuple[int, int, int]) -> list[Case]:
    """Return one window at every size."""
    return [Case(operation, *window, height, width) for height in SIZES for width in SIZES]


def every_window() -> list[tuple[str, tuple[int, int, int]]]:
    """Return operation and (kernel, stride, dilation), 140 in all."""
    return [(operation, window) for operation in OPERATIONS for window in windows(operation)]


def answer(folder: Path) -> None:
    """Let TensorFlow compute every window, a file for each, announced on stdout."""
    from record_tensorflow import answers

    for number, (operation, window) in enumerate(every_window()):
        flat = np.concatenate([a.ravel() for case in grid(operation, window) for a in answers(case)])
        np.save(folder / f"{number}.npy", flat)
        print(number, flush=True)
        sys.stdin.readline()  # no further ahead than one window


def compare(operation: str, window: tuple[int, int, int], flat: np.ndarray, worst: Counter[str]) -> int:
    """Return how many answers differ, and note the largest difference by kind."""
    from test_grid import ATOL, torch_answers

    cases = grid(operation, window)
    wrong = 0
    for case, expected in zip(cases, split_answers(cases, flat), strict=True):
        if case.tensorflow_gradient_is_wrong:
            expected[1] = case.average_gradient()
        kinds = ("output", "input gradient", "kernel gradient")
        for kind, theirs, ours in zip(kinds, expected, torch_answers(case), strict=False):
            difference = float(np.abs(theirs - ours).max()) if theirs.shape == ours.shape else np.inf
            worst[kind] = max(worst[kind], difference)
            wrong += difference > ATOL
    return wrong


def run(child: subprocess.Popen[str], requests: IO[str], announcements: IO[str], folder: Path) -> int:
    """Compare window by window; return how many answers differ."""
    worst: Counter[str] = Counter()
    failed = 0
    for number, (operation, window) in enumerate(every_window()):
        if announcements.readline().strip() != str(number):
            sys.exit(f"TensorFlow ended with {child.wait()}")
        requests.write("\n")
        requests.flush()
        file = folder / f"{number}.npy"
        wrong = compare(operation, window, np.load(file), worst)
        file.unlink()
        failed += wrong
        if wrong:
            print(f"{operation} kernel {window[0]} stride {window[1]} dilation {window[2]}: {wrong} differ")
        if number % 20 == 19:
            print(f"{number + 1} windows, {(number + 1) * len(SIZES) ** 2} cases", flush=True)
    for kind, difference in worst.items():
        print(f"largest difference of any {kind}: {difference:.1e}")
    return failed


def main() -> None:
    """Compare the whole grid."""
    if sys.argv[1:2] == ["--tensorflow"]:
        answer(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--tensorflow", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin
            assert child.stdout
            failed = run(child, child.stdin, child.stdout, Path(folder))
    print(f"{len(every_window()) * len(SIZES) ** 2} cases, {failed} answers differ")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
