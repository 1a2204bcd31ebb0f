"""What is told of a data set without loading it is what loading gives."""

from __future__ import annotations

import pytest

from tests.helpers.events import write_nmnist
from tsnn_uq.checks import InputError
from tsnn_uq.data import extent, load


def extent_of(splits, shape):
    test = splits.test
    return shape, test.classes, len(splits.train), len(splits.validation), len(test)


def test_digits():
    splits = load("digits")
    assert extent("digits") == extent_of(splits, tuple(splits.train.images.shape[1:]))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_images_in_files(name, need_files):
    need_files(name)
    splits = load(name)
    assert extent(name) == extent_of(splits, tuple(splits.train.images.shape[1:]))


def test_events_in_files(tmp_path):
    write_nmnist(tmp_path / "nmnist-small", train=12, test=2)
    splits = load("nmnist", tmp_path, bin_ms=20.0)
    assert extent("nmnist", tmp_path) == extent_of(splits, (2, 34, 34)) == ((2, 34, 34), 10, 20, 100, 20)
    assert splits.train.shape == (2, 34, 34)


@pytest.mark.slow
def test_simulated_events(need_files):
    need_files("mnist")
    splits = load("nmnist-simulated", bin_ms=100.0)
    assert extent("nmnist-simulated") == extent_of(splits, splits.train.shape)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"data set: expected one of .*; got 'mnits' \(did you mean 'mnist'\?\)"):
        extent("mnits")
    with pytest.raises(InputError, match="nmnist: expected a folder"):
        extent("nmnist", tmp_path)
