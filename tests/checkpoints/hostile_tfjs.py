"""Malformed TensorFlow.js models, and maps of sharded weights."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hostile_registry import cases

Document = dict[str, Any]
Edit = Callable[[Document], None]

_DENSE = {
    "class_name": "Dense",
    "config": {"name": "dense", "units": 3, "use_bias": True, "batch_input_shape": [None, 2]},
}
MODEL: Document = {
    "format": "layers-model",
    "modelTopology": {
        "model_config": {"class_name": "Sequential", "config": {"name": "m", "layers": [_DENSE]}}
    },
    "weightsManifest": [
        {
            "paths": ["group1-shard1of1.bin"],
            "weights": [
                {"name": "dense/kernel", "shape": [2, 3], "dtype": "float32"},
                {"name": "dense/bias", "shape": [3], "dtype": "float32"},
            ],
        }
    ],
}
WEIGHTS = np.arange(9, dtype="<f4").tobytes()


def edited(change: Edit) -> bytes:
    """Return the JSON of the healthy model with one change."""
    document = copy.deepcopy(MODEL)
    change(document)
    return json.dumps(document).encode()


def group(**values: Any) -> Edit:
    """Change the manifest's one group."""
    return lambda document: document["weightsManifest"][0].update(values)


def weight(**values: Any) -> Edit:
    """Change the manifest's first weight."""
    return lambda document: document["weightsManifest"][0]["weights"][0].update(values)


def top(**values: Any) -> Edit:
    """Change the model itself."""
    return lambda document: document.update(values)


def topology(**values: Any) -> Edit:
    """Replace the model's config."""
    return top(modelTopology=values)


def quantised(**values: Any) -> Edit:
    """Say that the first weight is quantised."""
    return weight(quantization=values)


_DEEP: Document = {"class_name": "Sequential", "config": {"name": "x", "layers": []}}
for _ in range(40):
    _DEEP = {"class_name": "Sequential", "config": {"name": "x", "layers": [_DEEP]}}

MODELS: dict[str, dict[str, Edit]] = {
    "tfjs/path-outside": {
        "one folder up": group(paths=["../group1-shard1of1.bin"]),
        "up in the middle": group(paths=["a/../../x.bin"]),
        "absolute": group(paths=["/etc/passwd"]),
        "of Windows": group(paths=["..\\x.bin"]),
        "a drive": group(paths=["C:x.bin"]),
        "nothing": group(paths=[""]),
        "a zero byte": group(paths=["x\0.bin"]),
    },
    "tfjs/remote-weights": {"a server": group(paths=["https://example.org/x.bin"])},
    "tfjs/missing-weights": {
        "not there": group(paths=["other.bin"]),
        "one of two": group(paths=["group1-shard1of1.bin", "group1-shard2of2.bin"]),
    },
    "tfjs/wrong-size": {
        "the file twice": group(paths=["group1-shard1of1.bin"] * 2),
        "no file": group(paths=[]),
        "a larger kernel": weight(shape=[2, 4]),
        "a smaller kernel": weight(shape=[2, 2]),
        "a kernel of terabytes": weight(shape=[1 << 40, 3]),
        "a kernel beyond memory": weight(shape=[1 << 60, 1 << 60]),
        "strings": weight(dtype="string", shape=[1 << 40]),
    },
    "tfjs/bad-manifest": {
        "no list": top(weightsManifest={}),
        "null": top(weightsManifest=None),
        "a group that is none": top(weightsManifest=[3]),
        "weights that are none": group(weights=7),
        "paths that are none": group(paths="group1-shard1of1.bin"),
        "a path that is none": group(paths=[1]),
        "a weight that is none": group(weights=[None]),
        "no name": weight(name=None),
        "an empty name": weight(name=""),
        "a name twice": weight(name="dense/bias"),
        "no shape": weight(shape=None),
        "a negative length": weight(shape=[-2, 3]),
        "half a length": weight(shape=[2.5, 3]),
        "a length that is true": weight(shape=[True, 3]),
        "forty axes": weight(shape=[1] * 40),
    },
    "tfjs/unknown-dtype": {"float8": weight(dtype="float8"), "a list": weight(dtype="float33")},
    "tfjs/unknown-quantisation": {
        "of four bits": quantised(dtype="uint4", scale=1, min=0),
        "without a scale": quantised(dtype="uint8", min=0),
        "with a scale that is text": quantised(dtype="uint8", min=0, scale="1"),
        "with a scale that is infinite": quantised(dtype="uint8", min=0, scale=float("inf")),
        "that is no object": weight(quantization=8),
        "of a truth value": weight(dtype="bool", quantization={"dtype": "uint8", "scale": 1, "min": 0}),
    },
    "tfjs/no-topology": {
        "null": top(modelTopology=None),
        "a list": top(modelTopology=[]),
    },
    "keras/bad-config": {
        "layers that are none": topology(class_name="Sequential", config={"layers": 3}),
        "a layer that is none": topology(class_name="Sequential", config={"layers": [3]}),
        "forty models deep": topology(model_config=_DEEP),
    },
    "keras/foreign-weight": {
        "no model": topology(),
        "of another layer": weight(name="conv/kernel"),
        "no layers": topology(class_name="Sequential", config={"layers": []}),
    },
}


@cases("tfjs", MODELS)
def _(folder: Path, change: Edit) -> Path:
    (folder / "model.json").write_bytes(edited(change))
    (folder / "group1-shard1of1.bin").write_bytes(WEIGHTS)
    return folder / "model.json"


_FUSED = {"fused_ops": {"list": {"s": ["Qmlhc0FkZA==", "UmVsdTY="]}}}
_STRIDES = {"strides": {"list": {"i": ["1", "1", "1", "1"]}}, "padding": {"s": "U0FNRQ=="}}
_NODES = [
    {"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": [{"size": "8"}] * 4}}}},
    {"name": "a/kernel", "op": "Const"},
    {"name": "a/Conv2D_bn_offset", "op": "Const"},
    {"name": "b/kernel", "op": "Const"},
    {"name": "a/Relu6", "op": "_FusedConv2D", "input": ["x", "a/kernel", "a/Conv2D_bn_offset"],
     "attr": {**_FUSED, **_STRIDES}},
    {"name": "b/Conv2D", "op": "Conv2D", "input": ["a/Relu6", "b/kernel"], "attr": _STRIDES},
]  # fmt: skip
GRAPH: Document = {
    "format": "graph-model",
    "modelTopology": {"node": _NODES},
    "weightsManifest": [
        {
            "paths": [],
            "weights": [
                {"name": "a/kernel", "shape": [1, 1, 8, 0], "dtype": "float32"},
                {"name": "a/Conv2D_bn_offset", "shape": [0], "dtype": "float32"},
                {"name": "b/kernel", "shape": [1, 1, 0, 2], "dtype": "float32"},
            ],
        }
    ],
}
GRAPH_FILE = json.dumps(GRAPH).encode()


def node(number: int, **values: Any) -> Edit:
    """Change one node of the graph."""
    return lambda document: document["modelTopology"]["node"][number].update(values)


GRAPH_EDITS: dict[str, dict[str, Edit]] = {
    "tfjs/bad-graph": {
        "no nodes": topology(node=[]),
        "nodes that are none": topology(node=3),
        "a node that is none": topology(node=[3]),
        "no name": node(1, name=None),
        "a name twice": node(1, name="x"),
        "an input that is none": node(4, input=[3]),
        "no fused operations": node(4, attr={}),
        "a fused bias without a place": node(4, input=["x", "a/kernel"]),
        "text that is not base64": node(5, attr={"padding": {"s": "!"}}),
        "a number that is none": node(5, attr={"strides": {"list": {"i": ["one"]}}}),
        "attributes that are none": node(5, attr=[1]),
        "a shape that is none": node(0, attr={"shape": {"shape": 3}}),
    },
    "graphdef/unreadable-network": {
        "a loop": node(4, input=["b/Conv2D", "a/kernel", "a/Conv2D_bn_offset"]),
    },
    "graphdef/missing-node": {
        "an input from nowhere": node(4, input=["y", "a/kernel", "a/Conv2D_bn_offset"]),
    },
}


@cases("tfjs graph", GRAPH_EDITS)
def _(folder: Path, change: Edit) -> Path:
    document = copy.deepcopy(GRAPH)
    change(document)
    (folder / "model.json").write_text(json.dumps(document))
    return folder / "model.json"


RAW = {
    "tfjs/bad-json": {
        "cut off": json.dumps(MODEL).encode()[:-3],
        "nested for ever": b'{"modelTopology": 0, "weightsManifest": ' + b"[" * 200_000,
        "no text": json.dumps(MODEL).encode().replace(b"Dense", b"\xff\xfe"),
    },
}


@cases("tfjs json", RAW)
def _(folder: Path, content: bytes) -> Path:
    (folder / "model.json").write_bytes(content)
    (folder / "group1-shard1of1.bin").write_bytes(WEIGHTS)
    return folder / "model.json"


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return stream.getvalue()


_JSON = json.dumps(MODEL).encode()
WHOLE = archive({"model.json": _JSON, "group1-shard1of1.bin": WEIGHTS})
_BEGIN = WHOLE.index(b"group1-shard1of1.bin") + len("group1-shard1of1.bin")
ARCHIVES = {
    "tfjs/missing-weights": {"without weights": archive({"model.json": _JSON})},
    "tfjs/path-outside": {
        "one folder up": archive({"a/model.json": edited(group(paths=["../x.bin"])), "x.bin": WEIGHTS})
    },
    "tfjs/wrong-size": {
        "half the weights": archive({"model.json": _JSON, "group1-shard1of1.bin": WEIGHTS[:18]})
    },
    "zip/bad-deflate": {
        "damaged": WHOLE[:_BEGIN] + b"\xff" * 8 + WHOLE[_BEGIN + 8 :],
    },
}


@cases("tfjs zip", ARCHIVES)
def _(folder: Path, content: bytes) -> Path:
    (folder / "model.zip").write_bytes(content)
    return folder / "model.zip"


SHARD_MAPS = {
    "keras/path-outside": {
        "one folder up": {"weight_map": {"/layers/dense/vars": "../m_00000.weights.h5"}},
        "absolute": {"weight_map": {"/layers/dense/vars": "/m_00000.weights.h5"}},
        "of Windows": {"weight_map": {"/layers/dense/vars": "..\\m_00000.weights.h5"}},
        "no name": {"weight_map": {"/layers/dense/vars": 3, "/x": ".weights.h5"}},
    },
    "keras/missing-shard": {"not there": {"weight_map": {"/layers/dense/vars": "m_00000.weights.h5"}}},
    "keras/bad-shard-map": {
        "a list": {"weight_map": ["m.weights.h5"]},
        "empty": {"weight_map": {}, "was": "m.weights.h5"},
    },
}


@cases("shards", SHARD_MAPS)
def _(folder: Path, document: Document) -> Path:
    (folder / "m.weights.json").write_text(json.dumps(document))
    return folder / "m.weights.json"
