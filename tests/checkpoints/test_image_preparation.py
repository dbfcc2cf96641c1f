"""What a graph does to images before its first weights: what is read of it, and what is named."""

from __future__ import annotations

import pytest

from porter.core.image_preparation import prepared_by
from porter.core.stored_network import Operation, StoredNetwork
from porter.core.stored_preprocessing import StoredInput

SCALE = ("scale", {"scale": 1 / 255, "offset": 0.0})


def network(shape, *front):
    """Return a network of one convolution behind a front of (kind, attributes)."""
    operations = [Operation("input", "images", (), {"shape": shape}, {})]
    for number, (kind, attributes) in enumerate(front):
        operations.append(Operation(kind, f"front_{number}", (number,), attributes, {}))
    operations.append(Operation("conv", "stem", (len(front),), {}, {"kernel": "stem/kernel"}))
    return StoredNetwork(tuple(operations), (len(operations) - 1,), "the source's graph", is_graph=True)


def reshape(*shape):
    """Return a reshape to a map, with its batch."""
    return "reshape", {"shape": (-1, *shape)}


@pytest.mark.parametrize(
    ("shape", "front"),
    [
        ((None, 96, 64), [reshape(96, 64, 1)]),
        ((None, 96, 64), [SCALE, ("reshape", {"shape": (96, 64, 1)})]),
        ((None, 96 * 64 * 3), [reshape(96, 64, 3), SCALE]),
        ((None, 96 * 64 * 3), [SCALE, reshape(96, 64, 3)]),
        ((None, 96, 64, 3), [reshape(96, 64, 3)]),
    ],
)
def test_reshape_that_moves_no_pixel_tells_a_size(shape, front):
    """The axis of one channel, a vector of pixels, and the shape that images have already."""
    found = prepared_by(StoredInput(), network(shape, *front))

    assert found.size == (96, 64)
    assert found.unread == ()
    assert len(found.steps) == (SCALE in front)


@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((None, 48, 32, 12), (96, 64, 3)),
        ((None, 3, 96, 64), (96, 64, 3)),
        ((None, 64, 96), (96, 64, 1)),
        ((None, None, None, 3), (None, 64, 3)),
    ],
)
def test_reshape_that_gives_pixels_other_places_is_named(shape, target):
    """The port does not do it, and says so; the size is still that of the map."""
    found = prepared_by(StoredInput(), network(shape, reshape(*target)))

    assert found.unread == ("front_0 (reshape)",)
    assert found.size == ((96, 64) if None not in target else None)


def test_scale_behind_other_values_is_not_one_of_pixels():
    """What is added to a spectrum says nothing of mean and std; what is scaled behind a crop does."""
    spectrum = [("other", {"class_name": "RFFT"}), SCALE, reshape(96, 64, 1)]
    cropped = [("other", {"class_name": "StridedSlice"}), SCALE]

    of_spectrum = prepared_by(StoredInput(), network((None, None), *spectrum))
    of_crop = prepared_by(StoredInput(), network((None, 96, 96, 3), *cropped))

    assert of_spectrum.steps == ()
    assert of_spectrum.unread == ("front_0 (RFFT)", "front_1 (scale)", "front_2 (reshape)")
    assert [step.layer for step in of_crop.steps] == ["front_1"]
    assert of_crop.unread == ("front_0 (StridedSlice)",)
