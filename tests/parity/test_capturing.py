"""Any torch model can be recorded by its modules' names."""

from __future__ import annotations

import numpy as np
import pytest

from porter.errors import ParityError
from porter.parity.compare import compare
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
    """A model and its float64 copy are recorded and compared without any table."""
    narrow, x = network(), torch.randn(1, 3, 6, 6)
    with capture(narrow, ["0", "4"]) as seen:
        narrow(x)
    first = seen.recording()
    wide = narrow.double()
    with capture(wide, ["0", "4"]) as seen:
        wide(x.double())

    report = compare(seen.recording(), first)

    assert report.passed
    assert 0 < report.cases[0].worst < 1e-5


def test_hooks_are_gone_afterwards():
    """The model is left as it was, also after an error."""
    model = network()

    with pytest.raises(ZeroDivisionError), capture(model, ["0"]):
        raise ZeroDivisionError

    assert not model._forward_pre_hooks
    assert not model[0]._forward_hooks


def test_bfloat16_is_recorded_as_float32():
    """There is no bfloat16 in numpy; the values are kept exactly in a wider type."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2)).to(torch.bfloat16)

    with capture(model, ["0"]) as seen:
        y = model(torch.randn(1, 2, dtype=torch.bfloat16))

    found = seen.recording().runs[0].stages["0"].values
    assert found.dtype == np.float32
    assert (found == y.detach().float().numpy()).all()


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
