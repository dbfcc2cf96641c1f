"""The layers against TensorFlow itself, in float64: values and gradients."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import same_padding_cases
from safetensors import safe_open
from warm_frameworks import run_with_tensorflow

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

# Sums of up to 1089 products of standard normal numbers: the rounding of float64 stays below this.
ATOL = 1e-12
HERE = Path(__file__).parent
RECORDED = HERE.parents[1] / "golden" / "same_padding.safetensors"


def layer(case, kernel):
    """Return the module of a case, its weights taken from TensorFlow's layout."""
    from porter.same_padding import AvgPool2dSame, Conv2dSame, MaxPool2dSame

    if not case.has_kernel:
        return {"max_pool2d": MaxPool2dSame, "avg_pool2d": AvgPool2dSame}[case.operation](
            case.kernel, case.stride
        )
    depthwise = case.operation == "depthwise_conv2d"
    groups, outputs = (
        (kernel.shape[2], kernel.shape[2] * kernel.shape[3]) if depthwise else (1, kernel.shape[3])
    )
    conv = Conv2dSame(
        kernel.shape[2],
        outputs,
        case.kernel,
        case.stride,
        case.dilation,
        groups,
        bias=False,
        dtype=torch.float64,
    )
    weight = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
    conv.weight.data = torch.from_numpy(weight.reshape(conv.weight.shape).copy())
    return conv


def torch_answers(case):
    """Return what TensorFlow is asked for, computed by torch, in TensorFlow's layouts."""
    x, kernel, upstream = case.arrays()
    inputs = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
    module = layer(case, kernel)
    output = module(inputs)
    output.backward(torch.from_numpy(upstream).permute(0, 3, 1, 2))
    answers = [output.detach().permute(0, 2, 3, 1).numpy(), inputs.grad.permute(0, 2, 3, 1).numpy()]
    if case.has_kernel:
        gradient = module.weight.grad.numpy()
        depthwise = case.operation == "depthwise_conv2d"
        shaped = gradient.reshape(
            *(kernel.shape[2:] if depthwise else kernel.shape[:1:-1]), *kernel.shape[:2]
        )
        answers.append(shaped.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)))
    return answers


def assert_equal_to_tensorflow(cases, flat):
    """Compare every answer of every case and name all that differ."""
    wrong = []
    for case, expected in zip(cases, same_padding_cases.split_answers(cases, flat), strict=True):
        if case.tensorflow_gradient_is_wrong:
            expected[1] = case.average_gradient()
        kinds = ("output", "input gradient", "kernel gradient")
        for kind, theirs, ours in zip(kinds, expected, torch_answers(case), strict=False):
            same = theirs.shape == ours.shape and np.abs(theirs - ours).max() <= ATOL
            if not same:
                wrong.append((case, kind))
    assert not wrong, f"{len(wrong)} differ, first: {wrong[:3]}"


def recorded():
    """Return TensorFlow's committed answers, stored end to end."""
    with safe_open(RECORDED, "numpy") as file:
        return file.get_tensor("answers")


@pytest.fixture(params=[(0, 0), (0, np.inf), (4, 0)], ids=["padded-copy", "cut-off-edge", "grown-kernel"])
def every_way(request, monkeypatch):
    """Send convolutions through each eager way of padding in turn, wherever it can be taken."""
    few, products = request.param
    monkeypatch.setattr("porter.same_padding.modules._FEW_CHANNELS", few)
    monkeypatch.setattr("porter.same_padding.modules._PRODUCTS_PER_COPY", products)


@pytest.mark.usefixtures("every_way")
def test_recorded_grid():
    """Values and gradients of all 140 windows equal what TensorFlow answered, at two small sizes each."""
    assert_equal_to_tensorflow(same_padding_cases.recorded_grid(), recorded())


def test_only_tensorflows_wrong_gradients_are_excepted():
    """Spreading each output over its window is TensorFlow's gradient in every pool but the excepted."""
    cases = same_padding_cases.recorded_grid()
    answers = zip(cases, same_padding_cases.split_answers(cases, recorded()), strict=True)
    pools = [(case, answer) for case, answer in answers if case.operation == "avg_pool2d"]

    assert {case.tensorflow_gradient_is_wrong for case, _ in pools} == {False, True}
    for case, answer in pools:
        same = np.abs(answer[1] - case.average_gradient()).max() <= ATOL
        assert same != case.tensorflow_gradient_is_wrong, case


@pytest.fixture(scope="module")
def live(module_folder):
    """Return TensorFlow's answers for the live grid, computed once in a process of its own."""
    if find_spec("tensorflow") is None:
        pytest.skip("needs tensorflow")
    path = module_folder("grid") / "answers.npy"
    run_with_tensorflow(HERE / "record_tensorflow.py", "live", path)
    return np.load(path)


@pytest.mark.tensorflow
@pytest.mark.usefixtures("every_way")
def test_live_grid(live):
    """Values and gradients of all 140 windows equal TensorFlow's at every height and width up to 33."""
    assert_equal_to_tensorflow(same_padding_cases.live_grid(), live)


def test_the_grid_holds_what_it_says():
    """Every window meets all 33 squares and, off the diagonal, every height and every width once."""
    sizes = {}
    for case in same_padding_cases.live_grid():
        sizes.setdefault(case[:4], []).append((case.height, case.width))
    whole = set(same_padding_cases.SIZES)

    assert len(sizes) == 2 * 42 + 2 * 28
    for found in sizes.values():
        oblong = [size for size in found if size[0] != size[1]]
        assert (
            Counter(height for height, _ in oblong) == Counter(width for _, width in oblong) == Counter(whole)
        )
        assert {height for height, width in found if height == width} == whole
