import bundle_writer as w
import numpy as np
import pytest

from porter.checkpoints import open_checkpoint
from porter.errors import CheckpointError

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)
SAVED = b"\x08\x01" + w.data(2, b"")


def _bundle(value=0):
    bundle = w.Bundle(shards=2)
    bundle.put("a/kernel", KERNEL + value, 1)
    return bundle


def _value(path):
    with open_checkpoint(path) as checkpoint:
        return checkpoint.read("a/kernel")[0, 0]


@pytest.mark.parametrize("name", ["ckpt-7", "ckpt-7.index", "ckpt-7.data-00001-of-00002", "", "checkpoint"])
def test_every_name_of_a_bundle_opens_it(tmp_path, name):
    """Prefix, index, data file, folder and state file all lead to the same checkpoint."""
    _bundle(7).store(tmp_path / "ckpt-7")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-7"\n')

    assert _value(tmp_path / name) == 7
    assert _value(str(tmp_path / name)) == 7


@pytest.mark.parametrize(
    "written",
    [
        "ckpt-2",
        "/home/somebody/run/ckpt-2",
        "../elsewhere/ckpt-2",
        r"C:\\run\\ckpt-2",
        r"\143kpt-2",
        "gs://bucket/run/ckpt-2",
        "./ckpt-2",
        "sub/ckpt-2",
    ],
)
def test_state_file_of_another_place_leads_to_the_copy_in_this_folder(tmp_path, written):
    """Of a path from another machine the last part counts, where it exists beside the state file."""
    for step in (1, 2, 3):
        _bundle(step).store(tmp_path / f"ckpt-{step}")
    (tmp_path / "checkpoint").write_text(
        f'all_model_checkpoint_paths: "ckpt-3"\nmodel_checkpoint_path: "{written}"\n'
    )

    assert _value(tmp_path) == 2


def test_state_file_may_name_a_folder_below(tmp_path):
    """A relative path that stays inside the folder is followed."""
    (tmp_path / "best").mkdir()
    _bundle(5).store(tmp_path / "best" / "ckpt-5")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "best/ckpt-5"\n')

    assert _value(tmp_path) == 5


def test_folder_with_one_checkpoint_needs_no_state_file(tmp_path):
    """A folder whose only checkpoint is unambiguous opens."""
    _bundle(3).store(tmp_path / "ckpt-3")

    assert _value(tmp_path) == 3


def test_current_folder_without_a_checkpoint_is_refused(tmp_path, monkeypatch):
    """``.`` has no name of its own, and is a folder like any other."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CheckpointError, match="this directory has no checkpoint"):
        open_checkpoint(".")


@pytest.mark.parametrize("name", ["", "saved_model.pb"])
def test_saved_model_opens_its_variables(tmp_path, name):
    """A SavedModel opens by folder and by description; its files begin with the description."""
    (tmp_path / "saved_model.pb").write_bytes(SAVED)
    (tmp_path / "variables").mkdir()
    _bundle(4).store(tmp_path / "variables" / "variables")

    with open_checkpoint(tmp_path / name) as checkpoint:
        assert checkpoint.read("a/kernel")[0, 0] == 4
        assert checkpoint.format == "SavedModel, TensorBundle (name-based checkpoint)"
        assert [path.name for path in checkpoint.files] == [
            "saved_model.pb",
            "variables.index",
            "variables.data-00001-of-00002",
        ]


@pytest.mark.parametrize("name", ["model", "model-00000-of-00002", "model-00001-of-00002", "checkpoint"])
def test_v1_checkpoint_of_several_files_opens_by_any_name(tmp_path, name):
    """Prefix, any of the files, and a state file with TF1's pattern lead to all files of a V1 checkpoint."""
    for number, key in enumerate(("x", "a/kernel")):
        entries = w.v1_entries({key: KERNEL + number})
        (tmp_path / f"model-{number:05d}-of-00002").write_bytes(w.table(entries, snappy=True))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/tmp/run/model-?????-of-00002"\n')

    with open_checkpoint(tmp_path / name) as checkpoint:
        assert list(checkpoint.specs) == ["a/kernel", "x"]
        assert checkpoint.read("a/kernel")[0, 0] == 1
        assert [path.name for path in checkpoint.files] == ["model-00000-of-00002", "model-00001-of-00002"]


def test_data_files_that_hold_nothing_are_not_needed(tmp_path):
    """A missing data file without tensors loses nothing, so it is not asked for."""
    prefix = _bundle(1).store(tmp_path / "ckpt")
    (tmp_path / "ckpt.data-00000-of-00002").unlink()

    assert _value(prefix) == 1


def test_v1_tensor_content_and_slices_are_read(tmp_path):
    """A TensorProto with raw content, and a tensor in two slices, give their values."""
    meta = w.v1_meta(b"raw", 1, (2, 3), [w.slice_proto(((0, None), (0, None)))])
    rows = [((0, 1), (0, None)), ((1, 1), (0, None))]
    meta += w.v1_meta(b"rows", 1, (2, 3), [w.slice_proto(extents) for extents in rows])
    entries = [w.v1_data(b"raw", ((0, None), (0, None)), w.data(4, KERNEL.tobytes()))]
    entries += [w.v1_data(b"rows", extents, w.data(5, KERNEL[n].tobytes())) for n, extents in enumerate(rows)]
    (tmp_path / "model.ckpt").write_bytes(w.table([(b"", w.data(1, meta)), *sorted(entries)]))

    with open_checkpoint(tmp_path / "model.ckpt") as checkpoint:
        for key in ("raw", "rows"):
            np.testing.assert_array_equal(KERNEL, checkpoint.read(key), strict=True)
            np.testing.assert_array_equal(
                KERNEL[1:, :2], checkpoint.read_block(key, (slice(1, 2), slice(0, 2)))
            )


def test_error_names_file_and_tensor(tmp_path):
    """A damaged tensor's error carries the data file, the tensor and a stable code."""
    bundle = _bundle()
    bundle.files[1][3] ^= 4
    prefix = bundle.store(tmp_path / "ckpt")

    with open_checkpoint(prefix) as checkpoint, pytest.raises(CheckpointError) as caught:
        checkpoint.verify("a/kernel")

    assert caught.value.code == "bundle/bad-checksum"
    assert caught.value.file == str(tmp_path / "ckpt.data-00001-of-00002")
    assert caught.value.tensor == "a/kernel"


def test_names_in_an_error_cannot_break_its_line(tmp_path):
    """Control characters of a stored name or path are escaped, and long names are shortened."""
    _bundle().store(tmp_path / "ckpt-1")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "gone\\n\\033[31m"\n')
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    assert r"expected gone\n\x1b[31m" in str(caught.value)

    bundle = w.Bundle()
    bundle.put("n" * 100_000 + "\n", KERNEL, dtype=99)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(bundle.store(tmp_path / "long"))
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["checkpoint", "saved_model.pb", ""])
def test_v1_checkpoint_in_one_file_opens_by_what_names_it(tmp_path, name):
    """A V1 checkpoint without suffix is found through a state file and in a SavedModel."""
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables").write_bytes(w.table(w.v1_entries({"a/kernel": KERNEL + 8})))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "variables/variables"\n')
    (tmp_path / "saved_model.pb").write_bytes(SAVED)

    assert _value(tmp_path / name) == 8


def test_a_foreign_file_is_refused_with_what_to_do(tmp_path):
    """The format is named, what porter reads, and what to give instead."""
    model = tmp_path / "model.pth"
    model.write_bytes(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9" + b"\0" * 40)

    with pytest.raises(CheckpointError, match="PyTorch file") as caught:
        open_checkpoint(model)

    assert "Keras file" in str(caught.value)
    assert "Name the one that it was made from" in str(caught.value)
