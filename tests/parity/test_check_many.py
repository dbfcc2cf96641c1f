"""Many checkpoints in one pair of processes: each finding is that of a check alone, whatever went before."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from cli.command_line import run
from warm_frameworks import run_with_tensorflow

import porter
from porter.checks.framework_pair import FrameworkPair
from porter.errors import ParityError
from porter.runners.process import missing_packages

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

ASKED = {"sizes": [64], "dtypes": ["float64"]}


@pytest.fixture(scope="module")
def folder(module_folder):
    """Checkpoints of one network, and files that are none."""
    if missing_packages("tensorflow") or missing_packages("torch"):
        pytest.skip("needs both frameworks")
    made = module_folder("sweep")
    program = Path(__file__).with_name("write_sweep.py")
    run_with_tensorflow(program, made)
    (made / "junk.h5").write_bytes(b"junk")
    return made


@pytest.fixture(scope="module")
def found(folder):
    """What a sweep finds, by name of the file, in an order in which each follows another kind."""
    names = ["a.weights.h5", "junk.h5", "b.weights.h5", "whole.h5", "epsilon.h5", "bare.weights.h5"]
    names += ["nothing", "c.weights.h5", "whole.h5", "a.weights.h5"]
    return names, porter.check_many([folder / name for name in names], **ASKED)


def test_every_good_checkpoint_passes_whatever_went_before(found):
    """Weights, an epsilon or a classifier that stayed from the one before would be a difference."""
    names, findings = found

    bad = {name: f for name, f in zip(names, findings, strict=True) if not f.passed}

    assert bad.keys() == {"junk.h5", "nothing"}, {name: str(f.error) for name, f in bad.items()}
    assert all(finding.error is not None for finding in findings if not finding.passed)


def test_the_same_checkpoint_gives_the_same_figures_again(found):
    """To the last bit: nothing of what ran in between is left."""
    names, findings = found
    by_name = {}
    for name, finding in zip(names, findings, strict=True):
        if finding.outcome is not None:
            by_name.setdefault(name, []).append(finding.outcome.cases)

    repeated = {name: cases for name, cases in by_name.items() if len(cases) == 2}
    assert set(repeated) == {"a.weights.h5", "whole.h5"}
    for first, again in repeated.values():
        assert [stage.propagated for stage in first[0].stages] == [s.propagated for s in again[0].stages]


def test_figures_are_those_of_a_check_alone(found, folder):
    """A sweep computes what `porter.check` computes."""
    names, findings = found
    alone = porter.check(None, folder / "b.weights.h5", **ASKED)

    case = findings[names.index("b.weights.h5")].outcome.cases[0]

    assert [s.propagated for s in case.stages] == [s.propagated for s in alone.cases[0].stages]


def test_epsilon_that_one_checkpoint_alone_needs_is_seen(folder):
    """A wrong epsilon in the middle fails, with its stage; those around it pass."""
    wrong, right = folder / "epsilon.h5", folder / "whole.h5"

    findings = porter.check_many([right, wrong, right], **ASKED, bn_eps=0.001)

    assert [finding.passed for finding in findings] == [True, False, True]
    assert findings[1].first_bad_stage or findings[1].error


def test_dead_process_fails_one_check_and_is_started_again(folder, monkeypatch):
    """As when memory runs out: the pair is new for the next."""
    from porter.checks import check_many as module

    pairs = []

    class Dying(FrameworkPair):
        def run(self, *jobs):
            pairs.append(self)
            if len(pairs) == 2:
                self._pair[1]._process.kill()
                self._pair[1]._process.wait()
            super().run(*jobs)

    monkeypatch.setattr(module, "FrameworkPair", Dying)
    findings = porter.check_many([folder / f"{name}.weights.h5" for name in "abc"], **ASKED)

    assert [finding.passed for finding in findings] == [True, False, True]
    assert findings[1].error.code == "runner/torch-failed"


def test_sweep_on_the_command_line(folder, tmp_path):
    """A line for each, in the reports too, and exit code 1 for the one that is none."""
    words = ["parity-check", "--size", "64", "--dtype", "float64"]
    for name in ("a.weights.h5", "junk.h5", "b.weights.h5"):
        words += ["--checkpoint", folder / name]

    junit, html = tmp_path / "sweep.xml", tmp_path / "sweep.html"

    told = run(*words, "--junit", junit, "--html", html)
    *lines, summary = map(json.loads, run(*words, "--json").stdout.splitlines())

    assert told.exit_code == 1
    assert [line.split()[0] for line in told.stdout.splitlines()[:-1]] == ["parity", "failed", "parity"]
    assert [line["passed"] for line in lines] == [True, False, True]
    assert summary["passed"] == 2
    assert "2 of 3 have parity" in html.read_text()
    suites = [suite.get("name") for suite in ET.parse(junit).getroot()]  # noqa: S314 - we wrote it ourselves
    assert suites[0] == f"{folder / 'a.weights.h5'}: float64@64x64"
    assert suites[1] == f"{folder / 'junk.h5'}: check"


def test_what_is_about_one_checkpoint_is_refused_for_many(folder):
    """A ported file belongs to one of them."""
    with pytest.raises(ParityError) as refused:
        porter.check_many([folder / "a.weights.h5"], ported="x.safetensors")
    words = ["--checkpoint", "a", "--checkpoint", "b"]

    assert refused.value.code == "check/of-one-alone"
    for extra in (["--ported", "x.safetensors"], ["--against", "onnx"]):
        assert run("parity-check", *words, *extra).exit_code == 2
