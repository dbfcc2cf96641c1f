"""Every form of a port is, byte for byte, what earlier releases wrote."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from porter.cli.main import main
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables

TABLES = load_tables()
sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoints"))

FILE = ["out.safetensors"]
# variant, what the command is given beside the source, SHA-256 of what the output says
PORTS = {
    "file": ("mlperf_tiny_vww", FILE, "0c90e9121befea3b0f689b03cbbdb4cc4d21588892e662c9de9b792411707a26"),
    "float16": (
        "mlperf_tiny_vww",
        [*FILE, "--dtype", "float16"],
        "2d7266e6ebde26dc1ee9099f95abf27f7690bdc7a49d2026a6ec574acc1692c4",
    ),
    "epsilon": (
        "mlperf_tiny_vww",
        [*FILE, "--bn-eps", "1e-4"],
        "582f13d118fc7737c2f915f3412f99b264b4a5360e5784ba8879c94d0630d00a",
    ),
    "input size": (
        "garden_mobilenetv1_025",
        [*FILE, "--input-size", "112"],
        "e7dc16a73ac227d6828ebac9d4a17229d2343952608fc0e36e7a6dc89cca3b21",
    ),
    "backbone": (
        "mlperf_tiny_vww",
        [*FILE, "--backbone-only"],
        "b380d0b4f143c38d66c6fb0c7b4c1b0e7f9fee62452bf5823a8114c605ec1f1e",
    ),
    "background": (
        "slim_mobilenetv1_025",
        [*FILE, "--classes", "drop-background"],
        "0c8d9847041bb468b979d41a413744fa99679f83808fc6bf7fc9da36b5402688",
    ),
    "channels": (
        "hf_mobilevit_xxs",
        [*FILE, "--channel-order", "rgb"],
        "42a8911fe66ed1d5bfc03ea897e8adeee143ba0413c6569d43a009eac868991e",
    ),
    "preset": (
        "tpu_efficientnet_b0",
        [*FILE, "--pictures", "advprop"],
        "306a84ac9f214021b0512d9f604386e97c5dc47eb13bc8f93329212be8e215e5",
    ),
    "own network": (
        "garden_mobilenetv1_025",
        FILE,
        "4c071ef69f0bea58fdedf66c41c83170dc8566629cb72883bdde0fe49d226a37",
    ),
    "shards": (
        "garden_mobilenetv1_025",
        ["out", "--max-shard-size", "500KB"],
        "c2bf51972ff87896ff06022ae020bb01d3986d9deaf26b5d157256ca2ea884eb",
    ),
    "one shard": (
        "mlperf_tiny_vww",
        ["out", "--max-shard-size", "1GB"],
        "6b47a6999bf9b31e4d9bcc1c0da242c5e4d628eb96550568403358eccc01b9aa",
    ),
    "transformers": (
        "garden_mobilenetv1_025",
        ["out", "--target", "transformers"],
        "7fe596981326cc6e251a0a44760fa54b8a2708c195fcb780cd043c1795db3770",
    ),
    "transformers in shards": (
        "hf_mobilevit_xxs",
        ["out", "--target", "transformers", "--max-shard-size", "2MB"],
        "244ac4078cffb91d5aa3171fffe780e8d7c75215e01f82290269920ecfe38af7",
    ),
    "netspresso": (
        "mobilenetv4_conv_small",
        [*FILE, "--target", "netspresso"],
        "32983077b970183c718575cc8bde7901e6b1735da454e4b6fbc8f26bbb49a447",
    ),
    "hub folder": (
        "mlperf_tiny_vww",
        ["--hub-folder", "out", "--weights", "raw"],
        "1905906a64d3f37504673fe13b20169fc8f28bbbe2853b267a8dd06289a409bf",
    ),
}
FOLDED = {
    "folded": (
        "mlperf_tiny_vww",
        [*FILE, "--fold-bn"],
        "12ec47d7cae14bb4d74afb8e496ebc8e5119d675d2abf0ab7808042784ae843a",
    ),
    "folded in shards": (
        "mlperf_tiny_vww",
        ["out", "--fold-bn", "--max-shard-size", "200KB"],
        "a6414539e4b16e65c4196afa8604109eab21295438ce93dac1bcee9e6be3212f",
    ),
}


def digest(folder, name, arguments):
    """Port seeded weights in `folder`, and return the digest of everything that was written."""
    import bundle_writer

    checkpoint = RandomCheckpoint(TABLES.variants[name], 0)
    bundle = bundle_writer.Bundle()
    for key in checkpoint.specs:
        bundle.put(
            key, with_background(checkpoint.read(key)) if "--classes" in arguments else checkpoint.read(key)
        )
    source = bundle.store(folder / "source")
    done = CliRunner().invoke(main, ["port-weights", str(source), *arguments, "--variant", name])
    assert done.exit_code == 0, done.output
    made = folder / next(word for word in arguments if word.startswith("out"))
    files = sorted(made.iterdir()) if made.is_dir() else [made]
    together = hashlib.sha256()
    for file in files:
        together.update(file.name.encode() + b"\0" + content(file) + b"\0")
    return together.hexdigest()


def with_background(value):
    """Return a variable of a network of 1000 classes for 1001."""
    return np.pad(value, [(int(length == 1000), 0) for length in value.shape], mode="edge")


def content(file):
    """Return the bytes of a file without what names the release and the text of its tables."""
    data = file.read_bytes()
    if file.suffix == ".safetensors":
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        header["__metadata__"] = told(header["__metadata__"])
        return json.dumps(header).encode() + data[end:]
    text = re.sub(r"by porter \S+", "by porter", data.decode())
    return re.sub(r"\| Mapping table .*", "", text).encode()


def told(metadata):
    """Return metadata without the version of porter and the digests of tables."""
    rest = {key: value for key, value in metadata.items() if key not in ("porter.version", "porter.table")}
    if "porter.target" in rest:
        rest["porter.target"] = {**json.loads(rest["porter.target"]), "table": None}
    return rest


@pytest.mark.parametrize("port", PORTS)
def test_port_is_what_it_was(tmp_path, monkeypatch, port):
    """Tensors, their order, metadata, configurations and cards."""
    name, arguments, expected = PORTS[port]
    monkeypatch.chdir(tmp_path)

    assert digest(tmp_path, name, arguments) == expected


@pytest.mark.torch
@pytest.mark.parametrize("port", FOLDED)
def test_folded_port_is_what_it_was(tmp_path, monkeypatch, port):
    """The same for folded norms, which torch computes."""
    pytest.importorskip("timm", reason="needs the [torch] extra")
    name, arguments, expected = FOLDED[port]
    monkeypatch.chdir(tmp_path)

    assert digest(tmp_path, name, arguments) == expected
