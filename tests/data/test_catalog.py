from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers.events import write_nmnist
from tsnn_uq.checks import InputError
from tsnn_uq.data import extent, load, overview, prepare
from tsnn_uq.data.simulated_nmnist import NAME


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
def test_simulated_events(need_files, monkeypatch, tmp_path):
    need_files("mnist")
    # What each recording shows takes a minute and does not change how many there are.
    monkeypatch.setattr("tsnn_uq.data.event_camera.record", lambda images, *_: [np.zeros(1, np.int32)] * len(images))
    monkeypatch.setattr("tsnn_uq.data.simulated_nmnist._cache_paths", lambda part, _: [tmp_path / "cache" / part])
    monkeypatch.setattr("tsnn_uq.data.simulated_nmnist.Packer.pack", lambda *_: torch.zeros((), dtype=torch.uint8))
    splits = load("nmnist-simulated", bin_ms=100.0)
    assert extent("nmnist-simulated") == extent_of(splits, splits.train.shape)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="data set: expected one of"):
        extent("mnits")
    with pytest.raises(InputError, match="nmnist: expected a folder"):
        extent("nmnist", tmp_path)


@pytest.fixture
def small(tmp_path, tiny, monkeypatch):
    """A data folder with one small N-MNIST, one small set of images and nothing else, no cache among it."""
    monkeypatch.setattr("pooch.os_cache", lambda _: tmp_path / "user")
    write_nmnist(tmp_path / "N-MNIST")
    tiny.write(tmp_path)
    return tmp_path


def states(folder):
    return {(entry.name, entry.what): (entry.state, entry.where) for entry in overview(folder)}


def test_every_set_is_listed_with_its_state(small):
    found = states(small)
    assert found["digits", ""] == ("built in", "scikit-learn")
    path = small / "t10k-labels-idx1-ubyte"
    assert found["tiny", "t10k-labels-idx1-ubyte"] == ("verified", str(path))
    assert found["mnist", "train-images-idx3-ubyte"][1] == "fetch with: tsnn-uq data mnist"
    assert found["nmnist-small", "train: 30 recordings"] == ("found", str(small / "N-MNIST" / "Train"))
    assert found["nmnist-small", "test: 20 recordings"] == ("found", str(small / "N-MNIST" / "Test"))
    assert found["nmnist-simulated", "test"][0] == "not yet simulated"


def test_what_is_missing_is_listed_with_where_to_have_it(small):
    (small / "N-MNIST").rename(small / "elsewhere")
    for part in ("train", "test"):
        state, where = states(small)["nmnist", part]
        assert state == "missing"
        assert "https://www.garrickorchard.com/datasets/n-mnist" in where


def test_a_set_of_files_is_fetched_and_verified(small, tiny):
    assert prepare("digits", small) == []
    assert prepare("tiny", small) == [small / file.name for file in tiny.source.files]


def test_all_recordings_are_read(small):
    assert prepare("nmnist", small) == [small / "N-MNIST" / "Train", small / "N-MNIST" / "Test"]
    path = next((small / "N-MNIST" / "Test" / "9").iterdir())
    path.write_bytes(path.read_bytes() + b"?")
    with pytest.raises(InputError, match=rf"^{path}: expected events of five bytes each"):
        prepare("nmnist", small)


def test_what_is_not_simulated_yet_is_made(small, monkeypatch):
    made = []

    def simulate(part, data_dir, progress):
        path = data_dir / f"{part}.safetensors"
        path.write_text("")
        made.append(path)

    monkeypatch.setattr("tsnn_uq.data.catalog.simulated_recordings", simulate)
    monkeypatch.setattr("tsnn_uq.data.catalog.cached", lambda part, data_dir: data_dir / f"{part}.safetensors")
    assert prepare("nmnist-simulated", small) == made
    assert [path.name for path in made] == ["train.safetensors", "test.safetensors"]
    assert NAME == "nmnist-simulated"


def test_an_unknown_name_gets_a_suggestion(small):
    with pytest.raises(InputError, match=r"^data set: expected one of"):
        prepare("nmnits", small)
