"""Sets that a network was not trained on, as it takes them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.conftest import as_idx
from tsnn_uq.checks import InputError
from tsnn_uq.data import SOURCES, Dataset, File, Source, fitted, load, load_test, noise


def coloured(height=32, width=32, count=3):
    pixels = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))
    return Dataset(pixels, torch.arange(count), "colours", count)


def test_coloured_images_become_grey_and_small():
    images = coloured()
    got = fitted(images, (1, 28, 28))
    assert got.shape == (1, 28, 28)
    assert torch.equal(got.labels, images.labels)
    for ours, pixels in zip(got.images, images.images, strict=True):
        grey = Image.fromarray((pixels.movedim(0, 2).numpy() * 255).round().astype(np.uint8)).convert("L")
        theirs = np.asarray(grey.resize((28, 28), Image.Resampling.BILINEAR))
        assert np.abs(ours[0].numpy() * 255 - theirs).max() < 1.6  # Pillow rounds three times


def test_grey_images_become_coloured_and_are_padded_on_all_sides():
    grey = noise(4)
    got = fitted(grey, (3, 33, 32)).images
    assert got.shape == (4, 3, 33, 32)
    assert torch.equal(got[:, :, 2:30, 2:30], grey.images.expand(-1, 3, -1, -1))
    assert got.sum() == pytest.approx(3 * grey.images.sum().item(), rel=1e-5)


def test_each_side_is_shrunk_or_padded_by_itself():
    got = fitted(coloured(6, 4), (3, 5, 8)).images
    assert got.shape == (3, 3, 5, 8)
    assert not got[..., :2].any()
    assert not got[..., 6:].any()
    assert fitted(coloured(6, 4), (3, 6, 4)).images is not None
    flat = Dataset(torch.full((1, 3, 9, 9), 0.3), torch.tensor([0]), "flat", 1)
    torch.testing.assert_close(fitted(flat, (1, 5, 5)).images, torch.full((1, 1, 5, 5), 0.3))


@pytest.mark.parametrize("shape", [(2, 28, 28), (28, 28), (784,)])
def test_what_is_no_image_is_told(shape):
    with pytest.raises(InputError, match="dataset: expected images, to be fitted to shape"):
        fitted(noise(1), shape)


def test_noise_is_uniform():
    images = noise(200).images
    assert images.mean() == pytest.approx(0.5, abs=0.005)
    assert images.var() == pytest.approx(1 / 12, abs=0.002)
    assert torch.equal(images, noise(200).images)
    with pytest.raises(InputError, match="count: expected"):
        noise(0)


def test_noise_is_a_test_set_by_name_and_nothing_to_train_on():
    assert len(load_test("noise:rotate=30")) == len(load_test("noise"))
    with pytest.raises(InputError, match="data set: expected"):
        load("noise")


def test_noise_has_the_shape_that_is_asked_for():
    assert load_test("noise", shape=(3, 32, 32)).images.std() == pytest.approx(12**-0.5, abs=1e-3)
    assert torch.equal(load_test("noise").images, noise().images)
    assert load_test("digits", shape=(1, 28, 28)).shape == (1, 28, 28)


def test_emnists_images_are_turned_and_its_classes_counted_from_0(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    contents = [as_idx(pixels), as_idx(np.array([1, 26, 5], np.uint8))]
    files = tuple(File(f"x{k}", len(one), hashlib.sha256(one).hexdigest()) for k, one in enumerate(contents))
    source = Source("e", 26, ("e",), "https://elsewhere/page", "us", "MIT", (), files, "emnist", (1, 4, 4))
    monkeypatch.setitem(SOURCES, "e", source)
    with pytest.raises(InputError, match=r"e: expected x0 in .*download it yourself"):
        load_test("e", tmp_path)
    for file, content in zip(files, contents, strict=True):
        (tmp_path / file.name).write_bytes(content)
    test = load_test("e", tmp_path)
    assert (test.images[:, 0].numpy() == pixels.transpose(0, 2, 1) / np.float32(255)).all()
    assert test.labels.tolist() == [0, 25, 4]
    with pytest.raises(InputError, match="data set: expected one of"):
        load("e", tmp_path)


@pytest.mark.parametrize(("name", "classes"), [("emnist-letters", 26), ("notmnist", 10)])
def test_the_files_themselves(need_files, name, classes):
    need_files(name, ("test",))
    test = load_test(name)
    assert test.labels.bincount().tolist() == [len(test) // classes] * classes


def test_letters_stand_upright(need_files):
    """An I, at the left edge of a mean image of it, is as dark from top to bottom; an L has its foot below."""
    need_files("emnist-letters", ("test",))
    test = load_test("emnist-letters")
    tall = test.images[test.labels == "abcdefghijklmnopqrstuvwxyz".index("t"), 0].mean(0)
    top, bottom = tall[:14].sum(0), tall[14:].sum(0)
    wide = [(rows > 0.25 * rows.max()).sum().item() for rows in (top, bottom)]
    assert wide[0] > wide[1]  # the bar of a T is above
