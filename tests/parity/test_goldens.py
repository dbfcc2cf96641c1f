"""Committed recordings keep the port proved without TensorFlow."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import porter
from porter.checks import goldens
from porter.checks.goldens import golden_sizes, record_goldens, verify_goldens
from porter.cli.golden import golden as golden_command
from porter.errors import OutputError, ParityError
from porter.parity.compare import compare
from porter.parity.golden_files import golden_path
from porter.parity.outcome import Status, Verdict
from porter.recordings.recording import Provenance, Recording, Run
from porter.tables.shipped import load_tables

VARIANTS = list(load_tables().variants)


@pytest.fixture(scope="session")
def verified(tables):
    """The outcome of every committed golden, from one torch process."""
    pytest.importorskip("timm", reason="needs timm")
    paths = [golden_path(tables.variant(name)) for name in VARIANTS]
    return dict(zip(VARIANTS, verify_goldens(paths, tables), strict=True))


@pytest.mark.torch
@pytest.mark.parametrize("name", VARIANTS)
def test_port_agrees_with_the_golden(verified, tables, name):
    """Every variant reproduces what TensorFlow computed, at an even and an odd size, to 1e-11."""
    report = verified[name].report

    assert report.verdict is Verdict.PARITY
    assert [case.size for case in report.cases] == list(golden_sizes(tables.variant(name)))
    assert all(case.worst < 1e-11 for case in report.cases)


@pytest.mark.parametrize("name", VARIANTS)
def test_golden_is_small_and_says_where_it_comes_from(tables, name):
    """A golden is at most 300 KB and states versions, seed, table digest and date."""
    variant = tables.variant(name)
    path = golden_path(variant)
    provenance = Recording.load(path).provenance

    assert path.stat().st_size <= 300_000
    assert provenance.table_digest == variant.digest
    assert provenance.framework == "tensorflow"
    assert {"tensorflow", "numpy"} <= set(provenance.versions)
    assert provenance.created
    assert provenance.seed == 0


@pytest.mark.parametrize("name", VARIANTS)
def test_golden_holds_enough_of_every_stage(tables, name):
    """At the first size at least 128 elements of each stage are kept, or all, the corners among them."""
    variant = tables.variant(name)
    run = Recording.load(golden_path(variant)).runs[0]

    assert list(run.stages) == [stage.name for stage in variant.stages]
    for activation in run.stages.values():
        shape = activation.canonical_shape
        positions = activation.positions()
        assert positions.size >= min(128, int(np.prod(shape)))
        if len(shape) == 4:
            rows, columns = np.unravel_index(positions, shape)[2:]
            seen = set(zip(rows.tolist(), columns.tolist(), strict=True))
            assert {(0, 0), (shape[2] - 1, shape[3] - 1)} <= seen


def test_fault_in_one_channel_is_found(verified):
    """One channel of one stage that is off by a millionth fails the golden at that stage."""
    checked = verified["mobilenetv4_conv_small"]
    run = checked.actual.runs[0]
    stage = run.stages["blocks.2.3"]
    values = stage.values.copy()
    values[:, 17] *= 1 + 1e-6
    stages = {**run.stages, "blocks.2.3": replace(stage, values=values)}
    actual = Recording(checked.actual.provenance, (replace(run, stages=stages), checked.actual.runs[1]))

    report = compare(checked.expected, actual)

    assert report.first_bad_stage == "blocks.2.3"
    assert [s.name for s in report.cases[0].stages if not s.passed] == ["blocks.2.3"]


@pytest.mark.torch
def test_missing_padding_is_found(tables, edited_table, tmp_path):
    """A port without SAME padding fails the golden at the even size and not at the odd one."""
    pytest.importorskip("timm", reason="needs timm")
    variant = edited_table(('arguments = { pad_type = "same" }', "arguments = {}"))
    golden = Recording.load(golden_path(variant))
    provenance = replace(golden.provenance, table_digest=variant.digest)
    Recording(provenance, golden.runs).save(tmp_path / "golden.safetensors")

    report = verify_goldens([tmp_path / "golden.safetensors"], load_tables(variant.table))[0].report

    assert report.verdict is Verdict.NO_PARITY
    assert report.first_bad_stage == "stem"
    assert report.cases[1].stages[1].propagated.status is Status.PASSED


def test_changed_table_makes_a_golden_stale(tables, edited_table):
    """A golden of another state of its table is stale, not failed, and says how to renew it."""
    variant = edited_table(("default = 1e-3", "default = 1e-5"))

    report = verify_goldens([golden_path(variant)], load_tables(variant.table))[0].report

    assert report.verdict is Verdict.STALE
    words = shlex.split(report.stale.partition("record it again: ")[2])
    assert words[:4] == ["porter", "golden", "record", "mobilenetv4_conv_small"]
    assert words[4:6] == ["--table", str(variant.table)]
    folder = golden_path(variant).parent
    # An installed package is not written into.
    writable = not folder.is_relative_to(Path(porter.__file__).parent)
    assert words[6:] == ["--folder", str(folder) if writable else "golden"]
    assert report.actual.framework == "torch"
    assert report.actual.table_digest == variant.digest
    assert not report.passed


def test_the_installed_package_is_not_written_into(tables):
    """What the next installation would replace is refused before TensorFlow is started."""
    folder = Path(porter.__file__).parent / "golden"
    before = [(path, path.stat().st_mtime_ns) for path in folder.glob("*")]  # none in a checkout

    with pytest.raises(OutputError, match="--folder") as refused:
        record_goldens([tables.variant("conv_small")], folder)

    assert refused.value.code == "golden/installed-package"
    assert [(path, path.stat().st_mtime_ns) for path in folder.glob("*")] == before


def test_goldens_are_recorded_where_the_person_is(tmp_path, monkeypatch):
    """Without --folder they go to ./golden, wherever porter itself is."""
    monkeypatch.chdir(tmp_path)
    folders = []

    def recorded(_variants, folder, **_seed):
        folders.append(folder.absolute())
        return []

    monkeypatch.setattr(goldens, "record_goldens", recorded)

    result = CliRunner().invoke(golden_command, ["record", "conv_small"])

    assert result.exit_code == 0, result.output
    assert folders == [tmp_path / "golden"]


def test_recording_without_a_seed_is_no_golden(tables, tmp_path):
    """A recording of somebody's own weights cannot be made again, so it is refused."""
    run = Recording.load(golden_path(tables.variant("conv_small"))).runs[0]
    other = Recording(Provenance("tensorflow", "x"), (Run("float64", run.input, run.stages),))
    other.save(tmp_path / "g.safetensors")

    with pytest.raises(ParityError, match="no variant or seed"):
        verify_goldens([tmp_path / "g.safetensors"], tables)


@pytest.mark.tensorflow
def test_recording_again_gives_the_committed_golden(tables, tmp_path):
    """TensorFlow computes today what the committed golden of ConvSmall says, bit by bit or nearly so."""
    pytest.importorskip("official", reason="needs tf-models-official")
    variant = tables.variant("conv_small")

    (path,) = record_goldens([variant], tmp_path)

    committed, again = Recording.load(golden_path(variant)), Recording.load(path)
    assert committed.runs
    assert all(run.stages for run in committed.runs)
    for one, other in zip(committed.runs, again.runs, strict=True):
        for name, activation in one.stages.items():
            assert other.stages[name].rule == activation.rule
            scale = activation.statistics.largest
            assert np.abs(other.stages[name].values - activation.values).max() < 1e-13 * scale
