import bundle_writer as w
import numpy as np
import pytest

from porter.checkpoints import open_checkpoint, opening
from porter.checkpoints.container import Container
from porter.checkpoints.containers import CONTAINERS
from porter.checkpoints.tensorflow.tensor_bundle import TensorBundle
from porter.errors import CheckpointError

START = b"DUMMY\n"


class _Dummy(Container):
    """A file that gives its bytes after a line of its own the name of a checkpoint beside it."""

    title = "a dummy"

    def is_mine(self, file):
        return file.read_bytes().startswith(START)

    def open(self, path, file):
        index = file.with_name(file.read_bytes().removeprefix(START).decode() + ".index")
        return TensorBundle().open(path, index, "dummy")

    def in_directory(self, directory):
        return next(iter(directory.glob("*.dummy")), None)


@pytest.fixture
def dummy(tmp_path):
    """A file of the container that is added, and the checkpoint beside it."""
    bundle = w.Bundle()
    bundle.put("a/kernel", np.ones((2, 3), np.float32), 0)
    bundle.store(tmp_path / "ckpt")
    file = tmp_path / "model.dummy"
    file.write_bytes(START + b"ckpt")
    return file


def test_a_container_is_one_line_of_the_registry(dummy, monkeypatch):
    """A file that nothing knew opens by its content, whatever it is called, and is listed."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(dummy)
    assert caught.value.code == "checkpoint/unknown-format"
    assert "dummy" not in str(caught.value.expected)

    monkeypatch.setattr(opening, "CONTAINERS", (*CONTAINERS, _Dummy()))
    renamed = dummy.rename(dummy.with_name("model.pb"))
    with open_checkpoint(renamed) as checkpoint:
        assert checkpoint.format == "dummy, TensorBundle (name-based checkpoint)"
    other = dummy.with_name("other")
    other.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="frozen graph or a dummy"):
        open_checkpoint(other)


def test_the_first_container_that_takes_a_directory_opens_it(dummy, monkeypatch):
    """The order of the registry decides between two containers in one directory."""
    monkeypatch.setattr(opening, "CONTAINERS", (*CONTAINERS, _Dummy()))
    with open_checkpoint(dummy.parent) as checkpoint:
        assert checkpoint.format == "TensorBundle (name-based checkpoint)"

    monkeypatch.setattr(opening, "CONTAINERS", (_Dummy(), *CONTAINERS))
    with open_checkpoint(dummy.parent) as checkpoint:
        assert checkpoint.format == "dummy, TensorBundle (name-based checkpoint)"
