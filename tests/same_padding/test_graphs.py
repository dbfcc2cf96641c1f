"""The layers under compilers, exporters, autocast, memory formats and element types."""

import contextlib
import warnings

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.torch,
    # torch's own: jit.trace and the first ONNX exporter are deprecated, inductor looks for a GPU.
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Constant folding:UserWarning"),
]

from torch import nn  # noqa: E402  after the check that torch is there

from porter.same_padding import (  # noqa: E402
    AvgPool2dSame,
    Conv2dSame,
    MaxPool2dSame,
    SamePaddingError,
    fold_same_padding,
    same_padding,
)

TRACED = (128, 128)
SIZES = [TRACED, (129, 127), (98, 133), (224, 99), (97, 256)]
# A few float32 sums of at most 75 products: far above rounding, far below a shifted window.
ATOL = 1e-6


def network(dtype=torch.float32):
    """Return every kind of SAME layer in a row; its first four halve the image."""
    torch.manual_seed(0)
    return nn.Sequential(
        Conv2dSame(3, 8, 3, 2, dtype=dtype),
        nn.ReLU(),
        Conv2dSame(8, 8, 5, 2, groups=8, dtype=dtype),
        MaxPool2dSame(3, 2),
        AvgPool2dSame(2, 1),
        AvgPool2dSame(3, 2),
        Conv2dSame(8, 4, 2, 3, dtype=dtype),
        nn.Conv2d(4, 4, 3, padding=1, dtype=dtype),
    ).eval()


def images(size, dtype=torch.float32):
    """Return two seeded images."""
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).to(dtype)


def assert_right_at_every_size(run, sizes=SIZES):
    """Compare a captured network with the eager one, which the grid has compared with TensorFlow."""
    eager = network()
    with torch.no_grad():
        for size in sizes:
            expected, actual = eager(images(size)), torch.as_tensor(run(images(size)))
            assert actual.shape == expected.shape, size
            assert (actual - expected).abs().max() <= ATOL, size


def dynamic_axes():
    """Return height and width from 97 pixels on: torch.export lets no size reach 1 inside."""
    return {2: torch.export.Dim("height", min=97, max=4096), 3: torch.export.Dim("width", min=97, max=4096)}


def test_compiled_with_dynamic_sizes():
    """One compiled graph without breaks is right at every size."""
    torch.compiler.reset()
    compiled = torch.compile(network(), dynamic=True, fullgraph=True, backend="aot_eager")

    assert_right_at_every_size(compiled)


def test_compiled_by_inductor():
    """The default compiler gives the eager values, at first for one size and then for all."""
    torch.compiler.reset()

    assert_right_at_every_size(torch.compile(network()), SIZES[:3])


@pytest.mark.parametrize("strict", [False, True])
def test_exported_with_dynamic_height_and_width(strict):
    """An exported program is right at sizes it was not exported at."""
    exported = torch.export.export(
        network(), (images(TRACED),), dynamic_shapes=(dynamic_axes(),), strict=strict
    )

    assert_right_at_every_size(exported.module())


def test_traced():
    """A trace keeps the arithmetic of the padding, so it is right at other sizes too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(network(), images(TRACED))

    assert_right_at_every_size(traced)


def test_fx_traced():
    """Symbolic tracing records the arithmetic too."""
    assert_right_at_every_size(torch.fx.symbolic_trace(network()))


def folded():
    """Return the network folded for the traced size."""
    model = network()
    fold_same_padding(model, TRACED)
    return model


@pytest.mark.parametrize(
    ("capture", "error"),
    [
        (lambda model: torch.compile(model, backend="aot_eager"), SamePaddingError),
        (lambda model: torch.export.export(model, (images(TRACED),)).module(), AssertionError),
        (lambda model: torch.jit.trace(model, images(TRACED)), RuntimeError),
    ],
    ids=["compile", "export", "trace"],
)
def test_a_captured_fold_still_refuses_other_sizes(capture, error):
    """The guard survives capturing: the traced size is right, another one is an error and never a number."""
    torch.compiler.reset()
    run = capture(folded())

    assert_right_at_every_size(run, [TRACED])
    with pytest.raises(error):
        run(images((129, 127)))


def session(model, path, **options):
    """Export to ONNX, check the file, and return (graph, function from images to the output)."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.onnx.export(
        model, (images(TRACED),), path, input_names=["x"], output_names=["y"], verbose=False, **options
    )
    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    running = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return graph.graph, lambda x: running.run(None, {"x": x.numpy()})[0]


@pytest.mark.onnx
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_onnx_with_dynamic_sizes(exporter, tmp_path):
    """Both exporters write one file that is right at every size, odd and even."""
    options = (
        {"dynamo": True, "dynamic_shapes": (dynamic_axes(),)}
        if exporter == "dynamo"
        else {"dynamo": False, "dynamic_axes": {"x": {2: "height", 3: "width"}}}
    )
    _, run = session(network(), tmp_path / "net.onnx", **options)

    assert_right_at_every_size(run)


@pytest.mark.onnx
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_onnx_of_a_fold(exporter, tmp_path):
    """A fold exports without control flow; the newer exporter leaves no arithmetic on sizes."""
    graph, run = session(folded(), tmp_path / "net.onnx", dynamo=exporter == "dynamo")
    operations = {node.op_type for node in graph.node}

    assert_right_at_every_size(run, [TRACED])
    assert not operations & {"If", "Loop", "Scan", "Mod"}
    if exporter == "dynamo":
        assert operations <= {"Conv", "Relu", "Pad", "MaxPool", "AveragePool", "Div"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fold", [False, True])
def test_element_types(dtype, fold):
    """Output keeps the element type and is the float64 result within the type's own rounding."""
    model, size = network(dtype), (50, 49)
    exact = network(torch.float64)
    exact.load_state_dict(model.state_dict())
    if fold:
        fold_same_padding(model, size)
    output = model(images(size, dtype))
    error = (output.double() - exact(images(size, dtype).double())).abs().max()

    assert output.dtype == dtype
    assert error <= 4 * torch.finfo(dtype).eps  # outputs are below 1 and every layer rounds once


@pytest.mark.parametrize("fold", [False, True])
def test_autocast(fold):
    """Under autocast convolutions run in bfloat16; parameters and their gradients stay float32."""
    model = network()
    exact = model(images((50, 49))).detach()
    if fold:
        fold_same_padding(model, (50, 49))
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images((50, 49)))
    output.float().sum().backward()

    assert output.dtype == torch.bfloat16
    assert (output - exact).abs().max() <= 4 * torch.finfo(torch.bfloat16).eps
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_channels_last(fold, gradients):
    """Channels-last in, channels-last out, with the same numbers."""
    model = network(torch.float64)
    x = images((50, 49), torch.float64)
    expected = model(x)
    model = model.to(memory_format=torch.channels_last)
    if fold:
        fold_same_padding(model, (50, 49))
    with contextlib.nullcontext() if gradients else torch.no_grad():
        output = model(x.contiguous(memory_format=torch.channels_last))

    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize(
    "window", [(3, 2, 1), (5, 2, 1), (3, 2, 2), (4, 1, 1), (5, 3, 1), (2, 2, 1), (3, 4, 1)]
)
@pytest.mark.parametrize("size", [(10, 12), (11, 12), (13, 9)])
def test_many_channels(size, window, groups):
    """However a layer of many channels is computed, values and gradients are those of a padded copy."""
    torch.manual_seed(0)
    kernel, stride, dilation = window
    conv = Conv2dSame(8, 8, kernel, stride, dilation, groups, dtype=torch.float64)
    x = torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    sides = [side for axis in size[::-1] for side in same_padding(axis, kernel, stride, dilation)]
    padded = nn.functional.pad(x, sides)
    expected = nn.functional.conv2d(padded, conv.weight, conv.bias, stride, 0, dilation, groups)
    actual = conv(x)

    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(y.square().sum(), (x, conv.weight)) for y in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_an_input_of_many_channels_is_not_copied(monkeypatch):
    """Such a layer pads natively and cuts the edge off; the output is whole, so `view` takes it."""
    conv = Conv2dSame(8, 8, 3, 2)
    monkeypatch.setattr(nn.functional, "pad", lambda *_: pytest.fail("the input was padded"))

    assert conv(torch.zeros(1, 8, 10, 10)).view(8, 25).shape == (8, 25)


def pads_in_graphs(model, *sizes, dynamic):
    """Compile and run at each size in turn; return how many pads each graph recorded, and the outputs."""
    pads = []

    def count(graph, _inputs):
        pads.append(sum(getattr(node.target, "__name__", "") == "pad" for node in graph.graph.nodes))
        return graph

    torch.compiler.reset()
    compiled = torch.compile(model, dynamic=dynamic, backend=count)
    outputs = [compiled(torch.ones(1, 8, size, size)) for size in sizes]
    return pads, outputs


def test_a_compiled_constant_size_is_not_padded():
    """A graph for one size copies no input, folded or not; one for every size pads."""
    model = Conv2dSame(8, 8, 3, 2, groups=8)

    assert pads_in_graphs(model, 32, dynamic=False)[0] == [0]
    assert pads_in_graphs(model, 32, dynamic=True)[0] == [1]
    pads, outputs = pads_in_graphs(model, 32, 34, 35, dynamic=None)
    assert pads == [0, 1]
    for size, output in zip((32, 34, 35), outputs, strict=True):
        torch.testing.assert_close(output, model(torch.ones(1, 8, size, size)))
    fold_same_padding(model, (32, 32))
    assert pads_in_graphs(model, 32, dynamic=True)[0] == [0]


def test_gradients_of_gradients():
    """Numerical differentiation agrees with first and second derivatives, also through the grown kernel."""
    conv = Conv2dSame(2, 2, 3, 2, groups=2, dtype=torch.float64)
    x = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(conv, x)
    assert torch.autograd.gradgradcheck(conv, x)


def test_per_sample_gradients():
    """`torch.func` transforms see an ordinary function."""
    conv = Conv2dSame(3, 3, 3, 2, groups=3)
    parameters = dict(conv.named_parameters())

    def loss(values, x):
        return torch.func.functional_call(conv, values, (x[None],)).square().sum()

    batch = torch.randn(4, 3, 8, 8)
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, batch)
    first = torch.func.grad(loss)(parameters, batch[0])

    torch.testing.assert_close(each["weight"][0], first["weight"])


def test_meta_device():
    """Shapes are found without memory."""
    assert network().to("meta")(torch.empty(1, 3, 50, 49, device="meta")).shape == (1, 4, 2, 2)
