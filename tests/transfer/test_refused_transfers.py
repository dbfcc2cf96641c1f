"""What a transfer refuses, with a code and with nothing written."""

from __future__ import annotations

import numpy as np
import pytest
from file_checkpoint import FileCheckpoint
from safetensors.numpy import load_file

from porter.core.assignments import Assignment, StoredPart
from porter.core.layouts import parse_layout
from porter.errors import CheckpointError, OutputError, PlanError
from porter.transfer.transfer import Writing, transfer


@pytest.mark.parametrize(
    ("dtype", "tag"), [("complex128", "complex128"), ("qint8", "qint8"), ("int4", "int4")]
)
def test_types_that_safetensors_lacks_are_refused_by_name(sources, folder, dtype, tag):
    """A type without a safetensors name is refused with the tensor and the type, and nothing is written."""
    stored = np.zeros(2, {"complex128": "c16"}.get(dtype, "i1"))
    source = FileCheckpoint(sources, {"v": stored}, {"v": dtype})
    with pytest.raises(OutputError, match=f"'t'.*{tag}") as caught:
        transfer(source, [source.assign("t", ("v", "c -> c"))], folder / "o")

    assert caught.value.code == "output/dtype"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"dtype": "float8"}, "output/unknown-dtype"),
        ({"metadata": {"a": "\udc80"}}, "output/bad-text"),
    ],
)
def test_bad_requests_have_a_code(sources, folder, change, code):
    """A type nobody knows and text that is no Unicode are refused before anything is written."""
    source = FileCheckpoint(sources, {"v": np.zeros(2, np.float32)})
    with pytest.raises(OutputError) as caught:
        transfer(source, [source.assign("t", ("v", "c -> c"))], folder / "o", **change)

    assert caught.value.code == code
    assert list(folder.iterdir()) == []


def test_parts_of_different_types_are_refused(sources, folder):
    """One tensor cannot hold two types; with one output type for both it can be written."""
    source = FileCheckpoint(sources, {"a": np.ones(2, np.float32), "b": np.ones(3, np.float16)})
    items = [source.assign("t", ("a", "c -> c"), ("b", "c -> c"))]
    with pytest.raises(OutputError) as caught:
        transfer(source, items, folder / "o")
    transfer(source, items, folder / "o", dtype="float32")

    assert caught.value.code == "output/mixed-dtypes"
    np.testing.assert_array_equal(load_file(folder / "o")["t"], np.ones(5, np.float32))


def test_parts_that_do_not_make_up_the_target_are_refused(sources, folder):
    """A plan whose shapes do not add up is refused before anything is written."""
    source = FileCheckpoint(sources, {"a": np.ones((2, 3), np.float32), "b": np.ones((2, 4), np.float32)})
    layout = parse_layout("a b -> a b")
    parts = tuple(StoredPart(k, k, source.specs[k], layout) for k in "ab")
    for item in (Assignment("t", (4, 3), parts), Assignment("t", (3, 2), parts[:1]), Assignment("t", (2,))):
        with pytest.raises(PlanError, match="'t'"):
            transfer(source, [item], folder / "o")

    assert list(folder.iterdir()) == []


def test_target_named_twice_is_refused(sources, folder):
    """Two assignments to one target are refused."""
    source = FileCheckpoint(sources, {"v": np.ones(2, np.float32)})
    with pytest.raises(OutputError) as caught:
        transfer(source, [source.assign("t", ("v", "c -> c"))] * 2, folder / "o")

    assert caught.value.code == "output/duplicate-name"


def test_output_onto_the_source_is_refused(sources):
    """A checkpoint file is never replaced by its own port, not even through another name for it."""
    source = FileCheckpoint(sources, {"v": np.ones(2, np.float32)})
    before = source.path.read_bytes()
    (sources / "other").hardlink_to(source.path)
    for out in (source.path, sources / "other"):
        with pytest.raises(OutputError) as caught:
            transfer(source, [source.assign("t", ("v", "c -> c"))], out)
        assert caught.value.code == "output/is-source"

    assert source.path.read_bytes() == before


def test_source_that_changes_meanwhile_is_refused(sources, folder):
    """A checkpoint that a training run rewrites during the port gives an error, not a file."""
    source = FileCheckpoint(sources, {"v": np.ones(2, np.float32)})
    with pytest.raises(CheckpointError) as caught:
        transfer(
            source,
            [source.assign("t", ("v", "c -> c"))],
            folder / "o",
            writing=Writing(lambda *_: source.path.write_bytes(b"new")),
        )

    assert caught.value.code == "source/changed"
    assert list(folder.iterdir()) == []


def test_source_file_that_vanished_is_named(sources, folder):
    """A source file that is gone when its digest is due is an error that names it."""
    source = FileCheckpoint(sources, {"v": np.ones(2, np.float32)})
    source.path.unlink()
    with pytest.raises(CheckpointError, match=r"weights\.bin") as caught:
        transfer(source, [source.assign("t", ("v", "c -> c"))], folder / "o")

    assert caught.value.code == "source/unreadable"
