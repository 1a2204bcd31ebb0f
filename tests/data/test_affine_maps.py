"""Random affine maps of images: scipy is the oracle of one, and bounds hold for all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tsnn_uq.checks import InputError
from tsnn_uq.data.affine_maps import warped

STILL = {"degrees": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ramp(height, width):
    return torch.arange(height * width, dtype=torch.float64).reshape(1, 1, height, width)


@given(st.integers(0, 99), st.integers(3, 12), st.integers(3, 12))
def test_a_map_is_what_scipy_makes_of_it(seed, height, width):
    images = torch.rand(1, 1, height, width, dtype=torch.float64, generator=seeded(seed))
    ours = warped(images, seeded(seed))[0, 0].numpy()
    turn, larger, slant, right, down = (2 * torch.rand(5, 1, generator=seeded(seed), dtype=torch.float64) - 1).flatten()
    angle, size = math.radians(25) * turn, 1 + 0.2 * larger
    sin, cos = math.sin(angle), math.cos(angle)
    # Rows first, and from output to input, about the middle.
    matrix = np.array([[size * cos, size * sin], [0.25 * slant - size * sin, size * cos]])
    middle = np.array([height - 1, width - 1]) / 2
    move = np.array([0.1 * down * height, 0.1 * right * width])
    # What is outside counts as 0, so scipy gets a rim of zeros to interpolate with.
    padded = np.pad(images[0, 0].numpy(), 1)
    offset = middle + 1 - matrix @ (middle + 1) + move
    theirs = ndimage.affine_transform(padded, matrix, offset, order=1, mode="constant")[1:-1, 1:-1]
    assert np.abs(ours - theirs).max() < 1e-9


def test_without_bounds_nothing_moves_and_with_them_each_image_does_in_its_own_way():
    images = ramp(6, 5).repeat(4, 1, 1, 1) / 30
    torch.testing.assert_close(warped(images, seeded(), **STILL), images)
    moved = warped(images, seeded())
    assert moved.shape == images.shape
    assert all(not torch.allclose(moved[0], other) for other in (images[0], *moved[1:]))
    assert torch.equal(moved, warped(images, seeded()))
    assert not torch.equal(moved, warped(images, seeded(1)))


def test_moves_are_at_most_as_far_as_allowed():
    images = torch.zeros(200, 1, 21, 21)
    images[:, :, 10, 10] = 1
    moved = warped(images, seeded(), **(STILL | {"shift": 0.1}))
    rows, columns = (moved.sum((1, 3)) @ torch.arange(21.0), moved.sum((1, 2)) @ torch.arange(21.0))
    for centre in (rows, columns):
        assert ((centre - 10).abs() <= 2.1 + 1e-5).all()
        assert (centre - 10).abs().max() > 1.9


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"degrees": -1.0}, "degrees: expected 0 to 180"),
        ({"scale": 1.0}, "scale: expected 0 to 0.9"),
        ({"shear": math.nan}, "shear: expected 0 to 10"),
        ({"shift": 2.0}, "shift: expected 0 to 1"),
    ],
)
def test_bad_bounds_are_refused(change, match):
    with pytest.raises(InputError, match=match):
        warped(ramp(4, 4), seeded(), **change)


@pytest.mark.parametrize("images", [torch.zeros(2, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.uint8), None])
def test_what_is_no_image_is_refused(images):
    with pytest.raises(InputError, match=r"images: expected floats of shape \[N, C, H, W\]"):
        warped(images, seeded())
