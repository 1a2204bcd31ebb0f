from __future__ import annotations

import pytest

from tests.helpers.events import write_nmnist
from tsnn_uq.checks import InputError
from tsnn_uq.data import overview, prepare, simulated


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

    def simulate(part, data_dir):
        path = data_dir / f"{part}.safetensors"
        path.write_text("")
        made.append(path)

    monkeypatch.setattr("tsnn_uq.data.available.simulated_recordings", simulate)
    monkeypatch.setattr("tsnn_uq.data.available.cached", lambda part, data_dir: data_dir / f"{part}.safetensors")
    assert prepare("nmnist-simulated", small) == made
    assert [path.name for path in made] == ["train.safetensors", "test.safetensors"]
    assert simulated.NAME == "nmnist-simulated"


def test_an_unknown_name_gets_a_suggestion(small):
    with pytest.raises(InputError, match=r"^data set: expected one of .*did you mean 'nmnist'"):
        prepare("nmnits", small)
