from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.checks import InputError
from tsnn_uq.data import load
from tsnn_uq.data.synthetic_outliers import OUTLIERS, blended, blobs, outliers, shuffled, smooth_noise


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(*shape, seed=0):
    return torch.rand(shape, generator=seeded(seed))


@given(
    st.sampled_from([1, 2, 3, 11, 12, 25]),
    st.sampled_from([(1, 28, 28), (1, 8, 8), (2, 5, 9), (3, 1, 4), (1, 1, 1)]),
    st.sampled_from([(0.0, 1.0), (-2.0, 3.0), (0.5, 0.5)]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_they_are_as_many_and_in_the_range_of_the_images(count, shape, ends, dtype):
    low, high = ends
    images = (low + (high - low) * pictures(count, *shape)).to(dtype)
    made = outliers(images, seeded())
    assert made.shape == images.shape
    assert made.dtype == dtype
    assert made.isfinite().all()
    assert made.min() >= images.min()
    assert made.max() <= images.max()


@pytest.mark.parametrize("make", [*OUTLIERS.values(), outliers])
def test_the_generator_decides_and_the_images_stay(make):
    images = pictures(13, 1, 8, 8)
    before, state = images.clone(), torch.get_rng_state()
    one, again, other = (make(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def patches(image):
    """The 16 patches of an image [8, 8], as a sorted list."""
    return sorted(image[i : i + 2, j : j + 2].flatten().tolist() for i in range(0, 8, 2) for j in range(0, 8, 2))


def test_shuffled_images_have_the_same_patches_in_another_order():
    images = pictures(6, 1, 8, 8)
    made = shuffled(images, seeded())
    for image, outlier in zip(images, made, strict=True):
        assert patches(image[0]) == patches(outlier[0])
        assert not torch.equal(image, outlier)
    orders = shuffled(images[:1].expand(6, -1, -1, -1), seeded())
    assert len({tuple(order.flatten().tolist()) for order in orders}) == 6


def test_channels_are_shuffled_alike():
    image = pictures(2, 1, 8, 8)
    made = shuffled(torch.cat([image, image + 1], 1), seeded())
    torch.testing.assert_close(made[:, 1], made[:, 0] + 1)


def test_blends_are_means_of_three_as_bright_as_the_brightest():
    images = torch.zeros(3, 1, 2, 2)
    images[0, 0, 0, 0], images[1, 0, 0, 1], images[2, 0, 1, 0] = 0.3, 0.6, 0.9
    expected = torch.tensor([[0.3, 0.6], [0.9, 0.0]])
    torch.testing.assert_close(blended(images, seeded()), expected.expand(3, 1, 2, 2))
    one_hot = torch.eye(12).reshape(12, 1, 3, 4)
    made = blended(one_hot, seeded())
    assert ((made > 0).flatten(1).sum(1) == 3).all()  # three different images in each
    assert ((made > 0).sum((0, 1)) == 3).all()  # and each image in three
    assert len({tuple((row > 0).flatten().tolist()) for row in made}) == 12


def test_noise_is_smooth_and_reaches_both_ends():
    """Neighbouring pixels are alike, more so in some images than in others; of white noise they are not."""
    images = pictures(60, 1, 28, 28)
    made = smooth_noise(images, seeded())
    for end, name in ((images.min(), "amin"), (images.max(), "amax")):
        torch.testing.assert_close(getattr(made, name)((1, 2, 3)), end.expand(60))

    def roughness(x):
        return (x.diff(dim=3) ** 2).mean((1, 2, 3)) / (2 * x.var((1, 2, 3)))

    assert roughness(images).mean() == pytest.approx(1, abs=0.05)
    assert roughness(made).max() < 0.9
    assert roughness(made).max() > 3 * roughness(made).min()


def test_blobs_are_bright_on_a_dark_ground():
    made = blobs(pictures(60, 1, 28, 28), seeded())
    lit = (made > made.min()).double().mean((1, 2, 3))
    assert 0.01 < lit.min() < lit.mean() < 0.6
    assert lit.max() < 0.95


def test_all_kinds_are_in_the_mix_in_equal_numbers():
    images = load("digits").train.images[:22]
    made, generator = outliers(images, seeded()), seeded()
    expected = [make(part, generator) for make, part in zip(OUTLIERS.values(), images.tensor_split(4), strict=True)]
    assert [len(part) for part in expected] == [6, 6, 5, 5]
    assert torch.equal(made, torch.cat(expected))
    few, generator = outliers(images[:11], seeded()), seeded()
    kinds = [shuffled, smooth_noise, blobs]
    expected = [make(part, generator) for make, part in zip(kinds, images[:11].tensor_split(3), strict=True)]
    assert torch.equal(few, torch.cat(expected))


@pytest.mark.parametrize("make", [*OUTLIERS.values(), outliers])
@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(8, 30, 289, dtype=torch.uint8),
        torch.zeros(8, 28, 28),
        torch.zeros(8, 1, 28, 28, dtype=torch.uint8),
    ],
)
def test_what_is_no_image_is_refused(make, images):
    with pytest.raises(InputError, match="images: expected floating-point images"):
        make(images, seeded())


def test_two_images_are_too_few_to_blend():
    with pytest.raises(InputError, match="images: expected at least three to blend"):
        blended(pictures(2, 1, 4, 4), seeded())
