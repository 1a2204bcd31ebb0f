"""Letters look as MNIST's digits do, in every respect that is not the shape itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass

from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.data.foreign import noise
from tsnn_uq.data.letters import LETTERS, STROKE, letters, stroke_width


@pytest.fixture(scope="module")
def drawn():
    return letters(500)


def extents(images):
    """Rows and columns [2, N] that hold ink."""
    ink = images[:, 0] > 0.02
    return torch.stack([ink.any(2).sum(1), ink.any(1).sum(1)]).double()


def test_the_longer_side_is_twenty_pixels(drawn):
    longest = extents(drawn.images).amax(0)
    assert longest.mean() == pytest.approx(20, abs=0.5)
    assert longest.std() < 1


def test_the_centre_of_mass_is_where_mnist_has_it(drawn):
    centres = np.array([center_of_mass(image[0].numpy()) for image in drawn.images])
    assert centres.mean(0) == pytest.approx([14, 14], abs=0.05)
    assert centres.std(0).max() < 0.3


def test_strokes_are_as_wide_as_those_of_mnist(drawn):
    widths = stroke_width(drawn.images)
    assert widths.mean() == pytest.approx(STROKE, rel=0.08)
    assert 0.3 < widths.std() < 0.7


@pytest.mark.parametrize("width", [2, 3, 6])
def test_the_stroke_width_of_a_long_bar_is_its_width(width):
    bar = torch.zeros(1, 1, 400, 20)
    bar[..., 1:-1, 5 : 5 + width] = 1
    assert stroke_width(bar).item() == pytest.approx(width, rel=0.03)


def test_mnist_itself_has_the_stroke_that_letters_take():
    try:
        images = data.load_test("mnist").images
    except InputError as error:
        pytest.skip(str(error))
    assert stroke_width(images).mean().item() == pytest.approx(STROKE, abs=0.05)
    assert images.mean().item() == pytest.approx(letters(500).images.mean().item(), abs=0.01)


def test_one_seed_gives_one_set_and_few_are_the_first_of_many(drawn):
    again = letters(20)
    assert torch.equal(again.images, drawn.images[:20])
    assert torch.equal(again.labels, drawn.labels[:20])
    assert not torch.equal(letters(20, seed=1).images, again.images)


def test_every_letter_is_drawn_and_is_like_its_kind(drawn):
    assert drawn.labels.unique().tolist() == list(range(len(LETTERS)))
    flat = drawn.images.flatten(1)
    means = torch.stack([flat[drawn.labels == label].mean(0) for label in range(len(LETTERS))])
    nearest = torch.cdist(flat, means).argmin(1)
    assert (nearest == drawn.labels).double().mean() > 0.5  # by chance one in 39


def test_no_letter_can_be_taken_for_a_digit():
    assert not set(LETTERS) & set("IlOoSsZzbgq")
    assert len(set(LETTERS)) == len(LETTERS)


def test_noise_is_uniform():
    images = noise(200).images
    assert images.mean() == pytest.approx(0.5, abs=0.005)
    assert images.var() == pytest.approx(1 / 12, abs=0.002)
    assert torch.equal(images, noise(200).images)


@pytest.mark.parametrize("name", ["letters", "noise"])
def test_they_are_test_sets_by_name_and_nothing_to_train_on(name):
    assert data.load_test(name).shape == (1, 28, 28)
    assert len(data.load_test(f"{name}:rotate=30")) == len(data.load_test(name))
    with pytest.raises(InputError, match="data set: expected"):
        data.load(name)


@pytest.mark.parametrize("make", [letters, noise])
def test_a_count_of_none_is_refused(make):
    with pytest.raises(InputError, match="count: expected"):
        make(0)
