"""A network that a table adjusts in PyTorch is offered to nothing that builds it without the adjustment."""

from __future__ import annotations

from pathlib import Path

import pytest

import porter
from porter.errors import OutputError
from porter.outputs.forms import chosen_output
from porter.outputs.output_options import OutputOptions
from porter.planning.port_options import DEFAULTS
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import mappings_folder

TABLE = mappings_folder() / "keras" / "mobilenet_v2.toml"


@pytest.fixture
def plan(tmp_path):
    """The plan of a port with a table that pads MobileNetV2 itself."""
    table = tmp_path / "padded.toml"
    section = "[target.adjust]\nsame_padding = true\n\n[bn_eps]"
    table.write_text(TABLE.read_text().replace("[bn_eps]", section, 1))
    tables = porter.load_tables(table)
    return porter.plan(RandomCheckpoint(tables.variant("keras_mobilenetv2_035"), 0), tables)


def test_the_loading_line_is_the_one_that_adjusts(plan):
    """timm.create_model would build the network without its padding."""
    form = OutputOptions()
    output = chosen_output(form)(plan, DEFAULTS, form)
    out = Path("out.safetensors")
    assert output.loading_line(out) == "porter.load_model('out.safetensors')"
    assert list(output.alternatives(out)) == []


@pytest.mark.parametrize("target", ["hub-folder", "transformers"])
def test_a_library_that_builds_the_network_by_itself_is_refused(plan, target):
    """The refusal names what would be lost."""
    form = OutputOptions(target=target)
    with pytest.raises(OutputError) as caught:
        chosen_output(form)(plan, DEFAULTS, form)
    assert caught.value.code == "output/adjusted"
    assert "same_padding" in str(caught.value)
