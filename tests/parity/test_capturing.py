"""Any torch model can be recorded by its modules' names."""

from __future__ import annotations

import numpy as np
import pytest

from porter.errors import ParityError
from porter.parity.compare import compare
from porter.parity.outcome import Verdict
from porter.recordings.capturing import capture
from porter.recordings.recording import Recording

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


def network():
    """Three stages; the activation overwrites its input, as timm's do."""
    torch.manual_seed(0)
    shared = torch.nn.Conv2d(4, 4, 1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True), shared, shared, torch.nn.Flatten()
    )


def test_capture_records_input_and_modules(tmp_path):
    """Values are copied when the module returns, before a later one overwrites them."""
    model, x = network(), torch.randn(2, 3, 6, 5)

    with capture(model, ["0", "1"]) as seen, torch.no_grad():
        model(x)
    recording = seen.recording()
    recording.save(tmp_path / "r.safetensors")

    run = Recording.load(tmp_path / "r.safetensors").runs[0]
    assert (run.input.values == x.numpy()).all()
    assert (run.stages["0"].values == model[0](x).detach().numpy()).all()
    assert run.stages["0"].values.min() < 0 <= run.stages["1"].values.min()


def test_every_call_is_a_run():
    """Several sizes give several runs of one recording."""
    model = network()

    with capture(model, {"stem": "0"}) as seen:
        model(torch.randn(1, 3, 6, 6))
        model(torch.randn(1, 3, 8, 6))

    assert [run.name for run in seen.recording().runs] == ["float32@6x6", "float32@8x6"]
    assert list(seen.recording().runs[0].stages) == ["stem"]


def test_module_called_twice_gives_two_stages():
    """Shared modules do not hide their first result."""
    model = network()

    with capture(model, ["2"]) as seen:
        model(torch.randn(1, 3, 6, 6))

    assert list(seen.recording().runs[0].stages) == ["2", "2#2"]


def test_two_models_can_be_compared():
    """A model and its float64 copy are compared without any table; float32 on one side proves nothing."""
    narrow, x = network(), torch.randn(1, 3, 6, 6)
    with capture(narrow, ["0", "4"]) as seen:
        narrow(x)
    first = seen.recording()
    wide = narrow.double()
    with capture(wide, ["0", "4"]) as seen:
        wide(x.double())

    report = compare(seen.recording(), first)

    assert report.verdict is Verdict.UNDECIDED
    assert 0 < report.cases[0].worst < 1e-5


def test_hooks_are_gone_afterwards():
    """The model is left as it was, also after an error."""
    model = network()

    with pytest.raises(ZeroDivisionError), capture(model, ["0"]):
        raise ZeroDivisionError

    assert not model._forward_pre_hooks
    assert not model[0]._forward_hooks


def recorded(model, x):
    """The recording of the first module."""
    with capture(model, ["0"]) as seen:
        model(x)
    return seen.recording()


def test_bfloat16_is_labelled_as_what_it_is():
    """There is no bfloat16 in numpy; the values are kept exactly in a wider type, under their own name."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2)).to(torch.bfloat16)
    x = torch.randn(1, 2, dtype=torch.bfloat16)

    run = recorded(model, x).runs[0]

    assert run.dtype == "bfloat16"
    assert run.stages["0"].values.dtype == np.float32
    assert (run.stages["0"].values == model(x).detach().float().numpy()).all()


def test_the_input_is_not_blamed_for_a_bfloat16_model():
    """The rounding of the input to bfloat16 is within that type's own bound."""
    model, x = torch.nn.Sequential(torch.nn.Linear(64, 8)), torch.randn(4, 64)
    narrow = torch.nn.Sequential(torch.nn.Linear(64, 8))
    narrow.load_state_dict(model.state_dict())

    report = compare(recorded(model, x), recorded(narrow.to(torch.bfloat16), x.to(torch.bfloat16)))

    assert report.verdict is Verdict.UNDECIDED
    assert report.cases[0].dtype == "bfloat16"
    assert report.cases[0].stages[0].passed
    assert report.cases[0].stages[0].propagated.relative > 1e-3


def test_a_model_under_autocast_is_as_precise_as_what_it_computed():
    """Its parameters are float32, its results are not."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))

    with torch.autocast("cpu", torch.bfloat16):
        assert recorded(model, torch.randn(1, 4)).runs[0].dtype == "bfloat16"


def test_a_float32_parameter_makes_a_float64_model_float32():
    """A result that was cast up is not more precise for it."""

    class Cast(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x.float()).double()

    run = recorded(torch.nn.Sequential(Cast(3, 3)), torch.randn(1, 3).double()).runs[0]

    assert run.stages["0"].values.dtype == np.float64
    assert run.dtype == "float32"


@pytest.mark.parametrize("called_before", [False, True])
def test_a_compiled_model_is_watched_by_the_names_of_the_model(called_before):
    """Compiled code calls no hooks, so inside the block the model runs as it was written."""
    model, x = network(), torch.randn(1, 3, 6, 6)
    compiled = torch.compile(model, backend="eager")
    if called_before:
        compiled(x)

    with capture(compiled, ["0", "4"]) as seen:
        compiled(x)
        compiled(x)

    first, second = seen.recording().runs
    assert list(first.stages) == list(second.stages) == ["0", "4"]
    assert (first.stages["4"].values == model(x).detach().numpy()).all()
    assert seen.recording().provenance.source == "Sequential"


def test_wrappers_hide_no_name():
    """Neither data parallelism nor compiling what is in it, or a layer of it, changes a stage's name."""
    x = torch.randn(1, 3, 6, 6)
    layer = network()
    layer[0] = torch.compile(layer[0], backend="eager")

    for model in (
        torch.nn.DataParallel(network()),
        torch.nn.DataParallel(torch.compile(network(), backend="eager")),
        torch.compile(torch.nn.DataParallel(network()), backend="eager"),
        layer,
    ):
        assert list(recorded(model, x).runs[0].stages) == ["0"]


def test_a_module_called_module_keeps_its_name():
    """Only torch's own wrappers are looked through."""
    model = torch.nn.Module()
    model.module = network()

    with pytest.raises(ParityError, match="no module '0'"), capture(model, ["0"]):
        pass


def test_unknown_module_is_refused():
    """A misspelt name is an error before anything runs."""
    with pytest.raises(ParityError, match="no module 'stem'"), capture(network(), ["stem"]):
        pass


def test_model_that_was_not_called_is_refused():
    """An empty recording would compare as nothing."""
    with capture(network(), ["0"]) as seen:
        pass

    with pytest.raises(ParityError, match="not called"):
        seen.recording()


def test_module_without_a_tensor_is_refused():
    """A stage must be one tensor."""
    model = torch.nn.Sequential(torch.nn.LSTM(3, 3))

    with capture(model, ["0"]), pytest.raises(ParityError, match="tuple"):
        model(torch.randn(2, 3))


def test_call_without_positional_input_is_refused():
    """What the network was given must be known."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 3))

    with capture(model, ["0"]), pytest.raises(ParityError, match="positional"):
        model(input=torch.randn(2, 3))
