"""The README's support table against what the repository can prove."""

from __future__ import annotations

import re
from pathlib import Path

from porter.table_file import load_tables

ROOT = Path(__file__).parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "README.md").read_text().splitlines()
    if line.startswith("| ") and line.rstrip("| ").endswith(("works", "no table"))
]


def working():
    """Return the full names of the variants in rows that say works."""
    names = set()
    for network, _, _, status in ROWS:
        if status == "works":
            family, _, variants = network.partition(" ")
            names |= {f"{family.lower()}_{name}" for name in re.split(r",\s*", variants)}
    return names


def test_works_means_a_table_and_a_golden():
    """Every network that works has a mapping table and a recording that CI repeats."""
    assert working() == set(load_tables().variants)
    assert all((ROOT / "golden" / f"{name}.safetensors").is_file() for name in working())


def test_every_system_of_the_field_has_a_row():
    """Families that people ask for are listed, whether they work or not."""
    text = " ".join(row[0] for row in ROWS)

    for family in (
        "MobileNetV1",
        "MobileNetV2",
        "MobileNetV3",
        "MobileNetV4",
        "EfficientNet",
        "ResNet",
        "MobileViT",
    ):
        assert family in text
