"""What a found table says of images is what the source's program has, not what float32 left of it."""

from __future__ import annotations

import numpy as np
import pytest

from porter.matching.match import _image


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        pytest.param([0.0] * 3, [1.0] * 3, id="pixels over 255"),
        pytest.param([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], id="ImageNet's"),
        pytest.param([0.5] * 3, [0.5] * 3, id="from -1 to 1"),
    ],
)
def test_scaling_in_float32_gives_the_numbers_that_were_written(mean, std):
    """The graph holds a product and a sum in float32, as one number or one for each channel."""
    scale = 1 / (255 * np.float32(std))
    offset = -np.float32(mean) / np.float32(std)
    attributes = {"scale": scale.astype(np.float32).tolist(), "offset": offset.astype(np.float32).tolist()}
    operation = {"kind": "scale", "attributes": attributes}
    found = _image({"declared": None, "runs": [{"size": (64, 64)}], "operations": [operation], "image": 0})

    assert (found["mean"], found["std"], found["known"]) == (mean, std, True)
    assert not np.signbit(found["mean"]).any()


def test_numbers_of_many_digits_stay():
    """A mean that somebody computed from their images is no shorter number."""
    operation = {
        "kind": "scale",
        "attributes": {"scale": 1 / 255 / 0.22345678, "offset": -0.41234567 / 0.22345678},
    }
    found = _image({"declared": None, "runs": [{"size": (64, 64)}], "operations": [operation], "image": 0})

    assert found["mean"] == pytest.approx([0.41234567], rel=1e-12)
    assert found["std"] == pytest.approx([0.22345678], rel=1e-12)
