from __future__ import annotations

import hashlib

import numpy as np
import pooch
import pytest
import torch

from tests.data.conftest import CLOSED_PORT, as_idx
from tsnn_uq.checks import InputError
from tsnn_uq.coding import unpack_spikes
from tsnn_uq.data import SOURCES, EventDataset, File, Source, event_camera, load, load_all, load_test, splits
from tsnn_uq.data.simulated_nmnist import NAME, _settings, cached, simulated_recordings

IMAGES = {"train": 8, "t10k": 4}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data folder with an MNIST of a few images, and a user's cache folder beside it."""
    rng = np.random.default_rng(0)
    files = []
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    for part, count in IMAGES.items():
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 8:20, 8:20] = rng.integers(0, 256, (count, 12, 12)) * (rng.random((count, 12, 12)) < 0.2)
        arrays = {"images-idx3-ubyte": images, "labels-idx1-ubyte": rng.integers(0, 10, count, dtype=np.uint8)}
        for kind, values in arrays.items():
            content = as_idx(values)
            (tmp_path / "data" / "mnist" / f"{part}-{kind}").write_bytes(content)
            files.append(File(f"{part}-{kind}", len(content), hashlib.sha256(content).hexdigest()))
    source = Source("mnist", 10, ("mnist",), CLOSED_PORT, "us", "MIT", (files[0], files[1]), (files[2], files[3]))
    monkeypatch.setitem(SOURCES, "mnist", source)
    monkeypatch.setitem(splits.LEFT_OUT, NAME, 2)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "user")
    return tmp_path / "data"


def test_recordings_are_made_once_and_kept(home, monkeypatch):
    assert cached("train", home) is None
    made = simulated_recordings("train", home)
    path = cached("train", home)
    assert path.parent == home / "cache"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    for file in (home / "mnist").iterdir():
        file.unlink()
    monkeypatch.setattr(event_camera, "record", None)
    again = simulated_recordings("train", home)
    assert len(again) == len(made) == 8
    assert torch.equal(again.words, made.words)
    assert torch.equal(again.labels, made.labels)


def test_blocks_tell_progress_and_change_nothing(home, monkeypatch):
    whole, told = simulated_recordings("train", home), []
    cached("train", home).unlink()
    monkeypatch.setattr("tsnn_uq.data.simulated_nmnist.BLOCK", 3)
    blocks = simulated_recordings("train", home, progress=lambda *call: told.append(call))
    assert torch.equal(blocks.words, whole.words)
    assert told == [("nmnist-simulated train", done, 8) for done in (3, 6, 8)]


def test_a_change_of_the_simulation_is_another_file(home, monkeypatch):
    simulated_recordings("test", home)
    old = cached("test", home)
    for change in ({"contrast": 0.7}, {"jitter": 0.2}):
        monkeypatch.setattr(event_camera.Camera, "__init__", _with(event_camera.Camera.__init__, change))
        assert cached("test", home) is None
    monkeypatch.undo()
    assert old.exists()


def _with(init, change):
    return lambda self, **arguments: init(self, **{**change, **arguments})


def test_a_set_is_split_without_overlap_and_its_first_images_are_left_out(home):
    parts = load(NAME, home, seed=1, validation=2, bin_ms=5.0)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [4, 2, 4]
    assert {parts.name, parts.train.name, parts.validation.name, parts.test.name} == {NAME}
    assert parts.train.images.shape == (4, 62, 289)
    everything = load_all(NAME, home, bin_ms=5.0)
    assert len(everything) == 12
    rows = [image.numpy().tobytes() for image in everything.images]
    used = [rows.index(i.numpy().tobytes()) for p in (parts.train, parts.validation, parts.test) for i in p.images]
    assert sorted(used) == list(range(2, 12))
    assert torch.equal(load_test(NAME, home, bin_ms=5.0).images, everything.images[8:])
    with pytest.raises(InputError, match=r"^validation: expected fewer than the 6 inputs"):
        load(NAME, home, validation=6)


def test_packed_spikes_are_the_simulated_events(home):
    recordings = simulated_recordings("test", home)
    dataset = recordings.select(torch.tensor([3, 0]))
    assert isinstance(dataset, EventDataset)
    assert dataset.labels.tolist() == recordings.labels[[3, 0]].tolist()
    starts = [0, *recordings.ends.tolist()]
    spikes = unpack_spikes(dataset.images, 2312, torch.bool)
    for index, recording in zip((3, 0), spikes, strict=True):
        words = recordings.words[starts[index] : starts[index + 1]].tolist()
        expected = {(word // 4096 // 1000, word % 4096) for word in words if word // 4096 < 306_000}
        assert set(map(tuple, recording.nonzero().tolist())) == expected
        assert len(expected) > 100


def test_where_the_data_folder_must_not_be_written_the_users_cache_is_used(home, tmp_path):
    home.chmod(0o555)
    try:
        simulated_recordings("test", home)
        assert cached("test", home).parent == tmp_path / "user" / "cache"
        assert not (home / "cache").exists()
    finally:
        home.chmod(0o755)


def test_nowhere_to_write_is_told_before_anything_is_made(home, tmp_path, monkeypatch):
    monkeypatch.setattr(event_camera, "record", None)
    for blocked in (home / "cache", tmp_path / "user"):
        blocked.write_text("a file in the way")
    with pytest.raises(InputError, match=rf"^{tmp_path}/user/cache: cannot write here"):
        simulated_recordings("test", home)


def test_no_mnist_to_simulate_from_is_told(home):
    for file in (home / "mnist").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"^mnist: train-images-idx3-ubyte is not in .*fetching .* failed"):
        simulated_recordings("train", home)
    assert cached("train", home) is None


def test_a_damaged_cache_is_told(home):
    simulated_recordings("test", home)
    path = cached("test", home)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=f"^{path}: expected a simulated recordings file"):
        load_test(NAME, home)


def test_files_of_recordings_alone_can_be_skipped(home):
    with pytest.raises(InputError, match=r"^skip_bad: expected only with nmnist"):
        load_test(NAME, home, skip_bad=True)


def test_the_settings_are_all_in_the_name():
    """Every field of the camera, the path and the pixels' noise decide, and so do MNIST's hashes and the seed."""
    settings = _settings("train")
    assert settings["camera"] == vars(event_camera.Camera())
    assert {"version", "seed", "images", "labels", "path", "hot", "step_pixels"} <= set(settings)
    assert _settings("test")["images"] != settings["images"]
