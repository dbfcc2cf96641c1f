"""The grid of SAME operations, its seeded inputs, and how TensorFlow's answers are stored: numpy alone."""

import zlib
from typing import NamedTuple

import numpy as np

OPERATIONS = ("conv2d", "depthwise_conv2d", "max_pool2d", "avg_pool2d")
SIZES = range(1, 34)
CHANNELS = 2
MULTIPLIER = 2


class Case(NamedTuple):
    """One operation at one input size, with a square window as tf.nn wants it."""

    operation: str
    kernel: int
    stride: int
    dilation: int
    height: int
    width: int

    @property
    def has_kernel(self) -> bool:
        """Whether the operation has weights."""
        return self.operation in {"conv2d", "depthwise_conv2d"}

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """The NHWC output shape that TensorFlow's SAME promises."""
        channels = CHANNELS * MULTIPLIER if self.operation == "depthwise_conv2d" else CHANNELS
        return 1, -(-self.height // self.stride), -(-self.width // self.stride), channels

    @property
    def tensorflow_gradient_is_wrong(self) -> bool:
        """Whether TensorFlow 2.20's CPU gradient is not the derivative of its own forward.

        In an average pool whose kernel is longer than the input, a window cut at its start is given a
        gradient over the whole axis although the forward averages only its part of it (39 of the 1848
        average pools of the live grid; one-hot output gradients show it; nothing outside this rule differs).
        """
        return self.operation == "avg_pool2d" and any(
            self.kernel > size
            and any(begin < 0 and begin + self.kernel < size for begin in self._begins(size))
            for size in (self.height, self.width)
        )

    def average_gradient(self) -> np.ndarray:
        """Return the input gradient (NHWC) of SAME average pooling, each output spread over its window."""
        x, _, upstream = self.arrays()
        gradient = np.zeros_like(x)
        for i, top in enumerate(self._begins(self.height)):
            for j, left in enumerate(self._begins(self.width)):
                rows = slice(max(top, 0), top + self.kernel)
                columns = slice(max(left, 0), left + self.kernel)
                window = gradient[:, rows, columns]
                window += upstream[:, i : i + 1, j : j + 1] / (window.shape[1] * window.shape[2])
        return gradient

    def _begins(self, size: int) -> list[int]:
        outputs = -(-size // self.stride)
        before = max((outputs - 1) * self.stride + self.kernel - size, 0) // 2
        return [output * self.stride - before for output in range(outputs)]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return input (NHWC), kernel (HWIO or HWCM) and output gradient (NHWC), seeded by the case."""
        rng = np.random.default_rng(zlib.crc32(repr(tuple(self)).encode()))
        x = rng.standard_normal((1, self.height, self.width, CHANNELS))
        kernel = rng.standard_normal((self.kernel, self.kernel, CHANNELS, MULTIPLIER))
        return x, kernel, rng.standard_normal(self.output_shape)


def windows(operation: str) -> list[tuple[int, int, int]]:
    """Return every (kernel, stride, dilation) that TensorFlow allows: 42 for convolutions, 28 for pools."""
    dilations = (1, 2, 3) if "conv" in operation else (1,)
    return [
        (kernel, stride, dilation)
        for kernel in range(1, 8)
        for stride in range(1, 5)
        for dilation in dilations
        if stride == 1 or dilation == 1
    ]


def live_grid() -> list[Case]:
    """Return the grid that runs against a live TensorFlow.

    Every window of every operation at all 33 squares and at 33 non-square sizes in which every height and
    every width from 1 to 33 occurs once: 66 sizes for each of 140 windows. Which widths meet which heights
    differs from window to window.
    """
    cases = []
    for operation in OPERATIONS:
        for number, window in enumerate(windows(operation)):
            shift = 1 + number % (len(SIZES) - 1)
            for size in SIZES:
                other = (size - 1 + shift) % len(SIZES) + 1
                cases += [Case(operation, *window, size, size), Case(operation, *window, size, other)]
    return cases


def recorded_grid() -> list[Case]:
    """Return the committed part of the grid: every window at one even-by-odd and one odd-by-even size."""
    cases = []
    for operation in OPERATIONS:
        for number, window in enumerate(windows(operation)):
            even, odd = 2 + 2 * (number % 3), 3 + 2 * (number % 2)
            cases += [Case(operation, *window, even, odd), Case(operation, *window, odd + 2, even)]
    return cases


def answer_shapes(case: Case) -> list[tuple[int, ...]]:
    """Return the shapes of output, input gradient and, where there is one, kernel gradient."""
    shapes: list[tuple[int, ...]] = [case.output_shape, (1, case.height, case.width, CHANNELS)]
    if case.has_kernel:
        shapes.append((case.kernel, case.kernel, CHANNELS, MULTIPLIER))
    return shapes


def split_answers(cases: list[Case], flat: np.ndarray) -> list[list[np.ndarray]]:
    """Cut the answers of `cases`, stored end to end, back into arrays."""
    answers, position = [], 0
    for case in cases:
        arrays = []
        for shape in answer_shapes(case):
            count = int(np.prod(shape))
            arrays.append(flat[position : position + count].reshape(shape))
            position += count
        answers.append(arrays)
    assert position == flat.size
    return answers
