from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tsnn_uq.checks import InputError
from tsnn_uq.data import SHIFTS, apply_shift, blurred, noisy, parse_shift, rotated

SIZES = [(8, 8), (7, 7), (5, 8), (6, 3)]


def pictures(size, seed: int = 0, count: int = 3) -> torch.Tensor:
    values = torch.rand(count, 1, *size, generator=torch.Generator().manual_seed(seed))
    values[0], values[1, 0, 0, 0] = 1, 0  # all white; and an exact 0
    return values


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("size", SIZES)
@given(degrees=st.sampled_from([0, 90, 180, -90, 360]) | st.floats(-720, 720))
def test_rotation_is_scipys(size, degrees):
    images = pictures(size)
    # "grid-constant": interpolate between the outermost pixels and the zeros around them.
    expected = ndimage.rotate(
        images.double().numpy(), degrees, axes=(3, 2), reshape=False, order=1, mode="grid-constant"
    )
    ours = rotated(images, degrees)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)
    assert ours.min() >= 0
    assert ours.max() <= 1


def test_rotation_is_counter_clockwise_about_the_centre():
    image = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])[None, None] / 9
    expected = torch.tensor([[3.0, 6, 9], [2, 5, 8], [1, 4, 7]])[None, None] / 9
    torch.testing.assert_close(rotated(image, 90), expected)


@pytest.mark.parametrize("size", SIZES)
@given(sigma=st.sampled_from([0, 0.01, 0.125, 3]) | st.floats(0, 3))
def test_blur_is_scipys(size, sigma):
    images = pictures(size)
    expected = ndimage.gaussian_filter(images.double().numpy(), sigma, mode="constant", truncate=4, axes=(2, 3))
    ours = blurred(images, sigma)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)
    assert ours.min() >= 0
    assert ours.max() <= 1


def test_noise_has_the_given_mean_and_deviation_where_nothing_is_clipped(generator):
    images = torch.full((100, 1, 20, 20), 0.5)
    noise = noisy(images, 0.05, generator) - images
    # 40,000 draws: the mean's standard error is 0.05 / 200, the deviation's 0.05 / sqrt(80,000); five of each.
    assert abs(noise.mean().item()) < 5 * 0.05 / 200
    assert abs(noise.std().item() - 0.05) < 5 * 0.05 / 80_000**0.5


def test_noise_is_clipped_and_repeats_with_its_generator(generator):
    images = pictures((8, 8))
    strong = noisy(images, 5.0, generator)
    assert strong.min() == 0
    assert strong.max() == 1
    assert torch.equal(strong, noisy(images, 5.0, torch.Generator().manual_seed(0)))
    assert not torch.equal(strong, noisy(images, 5.0, generator))


@pytest.mark.parametrize("name", SHIFTS)
def test_an_amount_of_zero_changes_nothing_and_no_shift_changes_its_input(name):
    images = pictures((8, 8))
    before = images.clone()
    torch.testing.assert_close(apply_shift(images, f"{name}=0"), before, atol=1e-6, rtol=0)
    shifted = apply_shift(images, f"{name}=1.5", seed=3)
    assert shifted.shape == images.shape
    assert shifted.dtype == images.dtype
    assert not torch.allclose(shifted, before, atol=1e-3)
    assert torch.equal(images, before)
    assert torch.equal(shifted, apply_shift(images, f"{name}=1.5", seed=3))


def test_noise_of_one_seed_has_one_pattern():
    images = torch.full((2, 1, 4, 4), 0.5)
    weak, strong = (apply_shift(images, f"noise={sigma}", seed=1) - 0.5 for sigma in (0.01, 0.02))
    torch.testing.assert_close(2 * weak, strong, atol=1e-6, rtol=0)


@pytest.mark.parametrize("text", ["rotate=-30", "noise=2e-1", "blur= 1"])
def test_a_shift_is_parsed(text):
    name, _, number = text.partition("=")
    assert parse_shift(text) == (name, float(number))


@pytest.mark.parametrize("text", ["rotate", "rotate=", "rotate=30=40", "rotate=30:noise=1", "rotate=inf", "rotate=3O"])
def test_a_bad_amount_is_told(text):
    with pytest.raises(InputError, match=r"^shift: expected rotate=NUMBER"):
        parse_shift(text)


def test_an_unknown_shift_gets_a_suggestion():
    with pytest.raises(InputError, match=r"^shift: expected one of"):
        parse_shift("blurr=1")


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: rotated(torch.zeros(2, 8, 8), 1), r"^images: expected a tensor of shape \[N, C, H, W\]"),
        (lambda: blurred(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 1), r"^images: expected floating-point .*uint8"),
        (lambda: rotated(torch.zeros(2, 1, 8, 8), float("nan")), "^degrees: expected a finite number"),
        (lambda: blurred(torch.zeros(2, 1, 8, 8), -1), "^sigma: expected a finite number of at least 0"),
        (lambda: blurred(torch.zeros(2, 1, 8, 5), 9), "^sigma: expected at most the image's longer side, 8"),
        (
            lambda: noisy(torch.zeros(2, 1, 8, 8), float("inf"), torch.Generator()),
            "^sigma: expected a finite number of at least 0",
        ),
    ],
)
def test_bad_arguments_are_told(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_colours_are_shifted_one_by_one():
    images = torch.rand(4, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    for shift in (lambda grey: blurred(grey, 0.8), lambda grey: rotated(grey, 20)):
        alone = torch.cat([shift(channel) for channel in images.split(1, dim=1)], dim=1)
        torch.testing.assert_close(shift(images), alone, rtol=0, atol=1e-6)
