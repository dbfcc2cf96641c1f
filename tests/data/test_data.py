"""A data set gives the same images, labels and parts however it is stored."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest

from porter.data.items import Part
from porter.data.opening import open_data, read_items, read_part, stated_class_names
from porter.errors import PorterError

COUNT = 11
CLASSES = ("cat", "dog", "owl")


def encoded(number):
    """Return bytes that stand for an image: opening a data set does not look into them."""
    return np.random.default_rng(number).bytes(100 + number)


def as_folder(folder):
    """Store the images as a folder with a subfolder per class; return its path."""
    for number in range(COUNT):
        place = folder / "images" / CLASSES[number % 3] / "below"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:02}.JPG").write_bytes(encoded(number))
    (folder / "images" / "cat" / "notes.txt").write_text("no image")
    (folder / "images" / "cat" / ".hidden.jpg").write_text("no image")
    return folder / "images"


def as_list(folder):
    """Store the images as a text file with paths and labels; return its path."""
    lines = []
    for number in range(COUNT):
        (folder / f"photo {number:02}.png").write_bytes(encoded(number))
        lines.append(f"photo {number:02}.png{' ' if number % 2 else chr(9)}{CLASSES[number % 3]}")
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    return folder / "list.txt"


def as_parquet(folder, *, hugging_face=False):
    """Store the images as a Parquet file of three row groups; return its path."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images = [encoded(number) for number in range(COUNT)]
    column = [{"bytes": image, "path": None} for image in images] if hugging_face else images
    labels = [CLASSES[number % 3] for number in range(COUNT)]
    parquet.write_table(
        pa.table({"image": column, "label": labels}), folder / "images.parquet", row_group_size=4
    )
    return folder / "images.parquet"


def as_hugging_face(folder):
    """Store the images as a Parquet file as Hugging Face writes it; return its path."""
    return as_parquet(folder, hugging_face=True)


def as_tar(folder):
    """Store the images as a WebDataset tar; return its path."""
    with tarfile.open(folder / "images.tar", "w") as tar:
        for number in range(COUNT):
            name = f"{'long/' * 60 if number == 3 else ''}{number:04}"
            for ending, content in (
                ("json", b"{}"),
                ("jpg", encoded(number)),
                ("cls", CLASSES[number % 3].encode()),
            ):
                member = tarfile.TarInfo(f"{name}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return folder / "images.tar"


STORED = [as_folder, as_list, as_parquet, as_hugging_face, as_tar]


@pytest.mark.parametrize("stored", STORED)
def test_every_image_comes_once_with_its_label(stored, tmp_path):
    """Whatever the container: the bytes, the label, and a key that is the item's alone."""
    items = list(read_items(open_data(stored(tmp_path))))

    assert sorted(item.encoded for item in items) == sorted(encoded(number) for number in range(COUNT))
    assert len({item.key for item in items}) == COUNT
    labels = {encoded(number): CLASSES[number % 3] for number in range(COUNT)}
    assert all(item.label == labels[item.encoded] for item in items)


@pytest.mark.parametrize("size", [1, 3, 4, 100])
@pytest.mark.parametrize("stored", STORED)
def test_parts_divide_a_data_set_and_go_through_json(stored, size, tmp_path):
    """A part alone says how to read its images; together they are the data set, in order."""
    data = open_data(stored(tmp_path))
    parts = [Part.from_json(json.loads(json.dumps(part.to_json()))) for part in data.parts(size)]

    assert parts == list(data.parts(size))
    assert [part.number for part in parts] == list(range(len(parts)))
    assert [part.index for part in parts] == list(np.cumsum([0, *(part.count for part in parts[:-1])]))
    assert all(len(list(read_part(part))) == part.count <= size for part in parts)
    # Backwards, so that no part leans on the one before it.
    backwards = [list(read_part(part)) for part in reversed(parts)]
    assert [item for some in reversed(backwards) for item in some] == list(read_items(data))


def test_images_beside_folders_have_no_labels(tmp_path):
    """One folder, or images at the top, is no ImageFolder: no label is made up."""
    folder = as_folder(tmp_path)
    (folder / "a.png").write_bytes(b"x")

    assert {item.label for item in read_items(open_data(folder))} == {None}
    assert {item.label for item in read_items(open_data(folder / "cat"))} == {None}


def test_a_folder_that_links_to_itself_ends(tmp_path):
    """A link back up is followed once at most."""
    folder = as_folder(tmp_path)
    (folder / "cat" / "up").symlink_to(folder)

    assert len(list(read_items(open_data(folder)))) == COUNT


def test_a_file_that_cannot_be_read_is_an_item_with_a_fault(tmp_path):
    """The rest of the data set goes on."""
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "list").write_text("a.png 5\ngone.png 7\n")
    first, second = read_items(open_data(tmp_path / "list"))

    assert (first.label, first.fault, second.label, second.encoded) == (5, "", 7, b"")
    assert "No such file" in second.fault


def damaged(path, content):
    """Write a file that is not what its name says; return its path."""
    path.write_bytes(content)
    return path


def mixed(folder):
    """Return a folder with images and a tar."""
    as_folder(folder)
    return as_tar(folder).parent


def without_images(folder):
    """Return a folder with a text file."""
    return damaged(folder / "notes.txt", b"x").parent


BAD = {
    "data/no-images": without_images,
    "data/mixed": mixed,
    "data/compressed": lambda folder: damaged(folder / "a.tar.gz", b"x"),
    "data/unreadable tar": lambda folder: damaged(folder / "a.tar", b"no tar at all" * 100),
    "data/unreadable parquet": lambda folder: damaged(folder / "a.parquet", b"PAR1" + bytes(100)),
    "data/unreadable list": lambda folder: damaged(folder / "list", b"\xff\xfe\x00\x80"),
    "data/not-found": lambda folder: folder / "nothing",
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_data_set_is_refused_by_name(case, tmp_path):
    """One error, with the file."""
    if "parquet" in case:
        pytest.importorskip("pyarrow")
    path = BAD[case](tmp_path)

    with pytest.raises(PorterError) as refused:
        list(open_data(path).parts(4))

    assert (refused.value.code, refused.value.file) == (case.split()[0], str(path))


def test_parquet_without_one_column_of_images_is_refused(tmp_path):
    """No column is chosen by chance."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"left": [b"x"], "right": [b"y"]}), tmp_path / "a.parquet")

    with pytest.raises(PorterError, match="left, right") as refused:
        open_data(tmp_path / "a.parquet")
    assert refused.value.code == "data/columns"


def parquet_labels(folder, column, **metadata):
    """Return the labels of images with this column of labels, and the opened data."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"image": [b"x"] * len(column), "label": column})
    described = {key: json.dumps(value) for key, value in metadata.items()}
    parquet.write_table(table.replace_schema_metadata(described), folder / "a.parquet")
    data = open_data(folder / "a.parquet")
    return [item.label for item in read_items(data)], data


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([True, False], [1, 0]),
        ([3.0, None, float("nan"), 2.5], [3, None, None, None]),
        (["cat", None], ["cat", None]),
    ],
)
def test_labels_of_parquet_are_numbers_or_names(column, expected, tmp_path):
    """A column with gaps is one of floating-point numbers; its labels are not lost for that."""
    found, _ = parquet_labels(tmp_path, column)

    assert found == expected
    assert not any(isinstance(label, bool) for label in found)


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ({"names": ["cat", "dog"], "_type": "ClassLabel"}, ("cat", "dog")),
        ({"dtype": "int64", "_type": "Value"}, ()),
        (None, ()),
    ],
)
def test_names_of_hugging_faces_labels_are_known(feature, expected, tmp_path):
    """They stand in the file's metadata, the numbers in its rows."""
    found, data = parquet_labels(tmp_path, [1, 0], huggingface={"info": {"features": {"label": feature}}})

    assert found == [1, 0]
    assert stated_class_names(data) == expected
    assert stated_class_names(open_data(as_folder(tmp_path))) == ()


def test_a_link_to_itself_and_a_path_that_is_none_are_items_with_a_fault(tmp_path):
    """Neither ends the data set."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "self.png").symlink_to("self.png")
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    (tmp_path / "list").write_bytes(b"images/a.png\nnul\0.png\n")

    assert [bool(item.fault) for item in read_items(open_data(tmp_path / "images"))] == [False, True]
    assert [bool(item.fault) for item in read_items(open_data(tmp_path / "list"))] == [False, True]


def test_hidden_members_of_a_tar_are_no_images(tmp_path):
    """Those that macOS puts beside each file have the same ending."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("._0.jpg", "0.jpg", "below/._1.jpg", "below/1.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))

    assert [item.key for item in read_items(open_data(tmp_path / "a.tar"))] == ["a.tar#0", "a.tar#below/1"]
