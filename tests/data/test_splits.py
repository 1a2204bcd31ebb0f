from __future__ import annotations

from collections import Counter

import pytest
import torch

from tsnn_uq.checks import InputError
from tsnn_uq.data import SOURCES, load, load_test, rotated
from tsnn_uq.data.images import digits


def rows(*datasets) -> Counter:
    """Each image with its label, as something that can be counted."""
    return Counter(
        (image.numpy().tobytes(), int(label))
        for part in datasets
        for image, label in zip(part.images, part.labels, strict=True)
    )


def identical(one, other) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("seed", [0, 1])
def test_digits_are_split_without_overlap_or_loss(seed):
    splits = load("digits", seed=seed)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1257, 180, 360]
    # No image occurs twice in digits, so equal counts mean that the parts are disjoint and exhaustive.
    assert rows(splits.train, splits.validation, splits.test) == rows(digits())
    assert max(rows(digits()).values()) == 1


def test_one_seed_repeats_and_another_changes_the_validation_part_alone():
    first, again, other = load("digits", seed=3), load("digits", seed=3), load("digits", seed=4)
    for part in ("train", "validation", "test"):
        assert identical(getattr(first, part), getattr(again, part))
    assert not identical(first.validation, other.validation)
    assert identical(first.test, other.test)
    assert identical(first.test, load_test("digits", seed=9))


def test_every_class_is_in_every_part_of_digits():
    splits = load("digits")
    for part in (splits.train, splits.validation, splits.test):
        assert set(part.labels.tolist()) == set(range(10))


def test_files_are_split_into_train_and_validation_with_the_official_test(tmp_path, tiny):
    tiny.write(tmp_path)
    splits = load("tiny", tmp_path, validation=4)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [8, 4, 5]
    pixels = tiny.content["train-images-idx3-ubyte"][16:]
    ours = (torch.cat([splits.train.images, splits.validation.images]) * 255).round().to(torch.uint8)
    assert sorted(bytes(image.flatten().tolist()) for image in ours) == sorted(
        pixels[i : i + 12] for i in range(0, 144, 12)
    )
    assert identical(splits.test, load_test("tiny", tmp_path))


@pytest.mark.parametrize(
    ("validation", "match"), [(0, "positive whole number"), (12, "fewer than the 12 inputs of tiny; got 12")]
)
def test_the_validation_part_must_leave_something(tmp_path, tiny, validation, match):
    tiny.write(tmp_path)
    with pytest.raises(InputError, match=f"^validation: expected .*{match}"):
        load("tiny", tmp_path, validation=validation)


def test_a_test_part_can_be_shifted():
    plain, turned = load_test("digits"), load_test("digits:rotate=30")
    assert turned.name == "digits:rotate=30"
    assert torch.equal(turned.labels, plain.labels)
    assert torch.equal(turned.images, rotated(plain.images, 30))


def test_noise_goes_with_the_seed():
    assert identical(load_test("digits:noise=0.3", seed=1), load_test("digits:noise=0.3", seed=1))
    assert not identical(load_test("digits:noise=0.3", seed=1), load_test("digits:noise=0.3"))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("digit", r"^data set: .*did you mean 'digits'"),
        ("digits:rotat=30", "^shift: expected one of"),
        ("digits:", "^shift: expected one of"),
        ("digits:rotate", "^shift: expected rotate=NUMBER"),
        ("digits:rotate=much", "^shift: expected rotate=NUMBER"),
        ("digits:rotate=nan", "^shift: expected rotate=NUMBER"),
        ("digits:noise=-1", "^sigma: expected a finite number of at least 0"),
    ],
)
def test_a_bad_name_is_told(name, match):
    with pytest.raises(InputError, match=match):
        load_test(name)


def test_mnist_itself(need_files):
    splits = load("mnist", need_files("mnist"))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [55_000, 5_000, 10_000]
    assert splits.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # as every tutorial shows them
    # Mean and standard deviation of the 60,000 images, widely used to standardize MNIST.
    train = torch.cat([splits.train.images, splits.validation.images])
    assert train.mean(dtype=torch.float64).item() == pytest.approx(0.1307, abs=5e-5)
    assert train.flatten().to(torch.float64).std().item() == pytest.approx(0.3081, abs=5e-5)


def test_fashion_mnist_needs_only_its_test_files(need_files):
    test = load_test("fashion-mnist", need_files("fashion-mnist", ("test",)))
    assert test.images.shape == (10_000, 1, 28, 28)
    assert test.labels.bincount().tolist() == [1000] * 10


def test_fashion_mnist_itself(need_files):
    splits = load("fashion-mnist", need_files("fashion-mnist"))
    labels = torch.cat([splits.train.labels, splits.validation.labels])
    assert labels.bincount().tolist() == [6000] * 10
    assert splits.train.classes == SOURCES["fashion-mnist"].classes == 10
