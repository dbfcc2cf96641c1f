"""The exported file: valid, small, named, right at every size it takes, and there whole or not at all."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from porter.errors import OutputError
from porter.loading.ported_file import read_metadata
from porter.recordings.random_weights import image_input
from porter.recordings.recording import Provenance

pytestmark = [pytest.mark.onnx, pytest.mark.torch]

DTYPES = ("float32", "float64")
DYNAMIC = ((64, 64), (65, 65), (40, 40), (48, 33), (31, 2))


def assert_parity(model, record, name, sizes, batch=1):
    """Every stage of the export agrees with PyTorch: in float64, and in float32 within the measured noise."""
    from porter.parity.compare import compare
    from porter.runners.onnx import record_model

    inputs = [image_input(0, size, batch) for size in sizes]
    expected = record(name, inputs, DTYPES)
    for found in record_model(model, inputs, DTYPES, Provenance("onnx", name)):
        report = compare(expected, found)

        assert report.passed
        assert all(case.passed for case in report.cases)
        assert max(case.worst for case in report.cases if case.dtype == "float64") < 1e-12
        assert {case.name for case in report.cases} == {
            f"{dtype}@{height}x{width}" for dtype in DTYPES for height, width in sizes
        }


def test_dynamic_export_is_right_at_every_size(exported, recorded):
    """Even, odd, oblong and tiny, two images at once: every stage agrees, graph as written and optimised."""
    assert_parity(exported("conv_small")[0], recorded, "conv_small", DYNAMIC, batch=2)


@pytest.mark.parametrize("size", [(224, 224), (225, 225), (200, 200), (256, 192)])
def test_static_export_is_right_at_its_size(exported, recorded, size):
    """At an even, an odd, a mixed and an oblong size every stage agrees."""
    assert_parity(exported("conv_small", size)[0], recorded, "conv_small", [size])


@pytest.mark.parametrize("size", [(64, 64), None])
def test_hybrid_is_right(exported, recorded, size):
    """Attention, layer scale and norms in front of padded convolutions survive the export."""
    sizes = [size] if size else [(64, 64), (65, 65), (48, 33)]

    assert_parity(exported("hybrid_medium", size)[0], recorded, "hybrid_medium", sizes)


def test_folded_export_is_right(exported, recorded):
    """With every norm folded the stages agree too, up to the rounding of the folded kernels to float32."""
    from porter.parity.compare import compare
    from porter.runners.onnx import record_model

    model, report = exported("conv_small", (65, 65), fold_bn=True)
    inputs = [image_input(0, (65, 65), 1)]
    plain, _ = record_model(model, inputs, ("float64",), Provenance("onnx", "folded"))
    case = compare(recorded("conv_small", inputs, ("float64",)), plain).cases[0]

    assert len(report.folding.folded) == 46
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert 1e-9 < case.worst < 46 * 2**-24


def test_static_graph_computes_nothing_from_sizes(exported):
    """No padding, no shape, no control flow is left: convolutions pad by attributes."""
    kinds = Counter(node.op_type for node in exported("conv_small", (224, 224))[0].graph.node)

    assert kinds == {
        "Conv": 46, "BatchNormalization": 46, "Relu": 30, "Add": 10, "ReduceMean": 1, "Reshape": 1, "Gemm": 1,
    }  # fmt: skip


def test_dynamic_graph_has_no_control_flow(exported):
    """Padding that follows the size is arithmetic, not branches."""
    kinds = {node.op_type for node in exported("conv_small")[0].graph.node}

    assert kinds.isdisjoint({"If", "Loop", "Scan"})


@pytest.mark.parametrize("kind", ["Shape", "Pad"])
def test_graph_that_computes_padding_is_refused_as_static(exported, kind):
    """The check that guards a static export sees run-time padding."""
    from porter.onnx.graph import require_static

    model, _ = exported("conv_small")

    with pytest.raises(OutputError, match="computes from sizes") as refused:
        require_static(only(model, kind))

    assert refused.value.code == "onnx/not-static"


def only(model, kind):
    """Return a model with one node: a Shape, or a Pad whose amounts are computed."""
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))
    if kind == "Shape":
        nodes = [helper.make_node("Shape", ["x"], ["y"], name="shape")]
        y = helper.make_tensor_value_info("y", TensorProto.INT64, (4,))
    else:
        ones = helper.make_tensor("ones", TensorProto.FLOAT, (8,), [1.0] * 8)
        constant = helper.make_node("Constant", [], ["ones"], value=ones)
        nodes = [
            constant,
            helper.make_node("Cast", ["ones"], ["pads"], to=TensorProto.INT64),
            helper.make_node("Pad", ["x", "pads"], ["y"], name="pad"),
        ]
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(nodes, kind, [x], [y]), opset_imports=model.opset_import)


def test_names_and_metadata(exported, ported):
    """Input, output, weights and stages have names that people know; the file says how to prepare images."""
    model, report = exported("conv_small", (224, 224))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    stated = json.loads(metadata["porter.onnx_input"])
    values = {name for node in model.graph.node for name in node.output}

    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["logits"] == [report.output]
    assert {"conv_stem.weight", "classifier.bias"} <= {tensor.name for tensor in model.graph.initializer}
    assert set(json.loads(metadata["porter.stages"])) <= values
    assert metadata["porter.variant"] == read_metadata(ported("conv_small")).variant
    assert stated["layout"] == "NCHW"
    assert stated["mean"] == list(read_metadata(ported("conv_small")).input["mean"])
    assert stated["size"] == [224, 224]


def test_bgr_network_says_so(exported, ported):
    """Mean and std stand in the order of the channels that the graph takes, blue first."""
    model, _ = exported("hf_mobilevit_xxs", (64, 64))
    stated = json.loads({entry.key: entry.value for entry in model.metadata_props}["porter.onnx_input"])
    stored = read_metadata(ported("hf_mobilevit_xxs"))

    assert stated["channels"] == stored.channels == "BGR"
    assert stated["mean"] == list(stored.input["mean"])[::-1]


def test_file_holds_no_paths(exported):
    """The exporter's notes on each node name folders of this machine: they are gone."""
    content = exported("conv_small", (224, 224))[0].SerializeToString()

    assert b".py" not in content
    assert b"site-packages" not in content
