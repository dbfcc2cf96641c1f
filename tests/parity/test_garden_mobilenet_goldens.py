"""A table that is wrong in one word fails the goldens of the Garden's MobileNets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porter.golden_files import golden_path
from porter.goldens import verify_goldens
from porter.parity_report import Verdict
from porter.recording import Recording
from porter.table_file import load_tables, mappings_folder

pytestmark = pytest.mark.torch

FAULTS = {
    "gate constant": ("mobilenet_v3", "garden_mobilenetv3_small_100", "scale = 1.00002, ", "", "blocks.0.0"),
    "epsilon": ("mobilenet_v1", "garden_mobilenetv1_050", "default = 1e-3", "default = 1e-5", "stem"),
    "linear block": (
        "mobilenet_edgetpu",
        "garden_mobilenetv3_edgetpu",
        'adjust = ["linear_first_block"]',
        "adjust = []",
        "blocks.0.0",
    ),
    "activation": (
        "mobilenet_multi",
        "garden_mobilenet_multi_max",
        '"ir_r1_k5_s2_e6_c64"',
        '"ir_r1_k5_s2_e6_c64_nhs"',
        "blocks.1.0",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_word_is_found_at_its_stage(tmp_path, fault):
    """The check fails, and the first stage that it names is the one that the word is about."""
    pytest.importorskip("timm", reason="needs timm")
    table, name, old, new, stage = FAULTS[fault]
    text = (mappings_folder() / "model_garden" / f"{table}.toml").read_text()
    assert old in text
    (tmp_path / "t.toml").write_text(text.replace(old, new))
    tables = load_tables(tmp_path / "t.toml")
    golden = Recording.load(golden_path(tables.variants[name]))
    provenance = replace(golden.provenance, table_digest=tables.variants[name].digest)
    Recording(provenance, golden.runs).save(tmp_path / "golden.safetensors")

    report = verify_goldens([tmp_path / "golden.safetensors"], tables)[0].report

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == stage
