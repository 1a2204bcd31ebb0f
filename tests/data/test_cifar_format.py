"""CIFAR-10 in the binary form and as pickles of Python 2, which is what CIFAR's authors and torchvision give out."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from itertools import islice

import numpy as np
import pytest
import torch

from tsnn_uq.checks import InputError
from tsnn_uq.data import SOURCES, File, Source, crop_and_flip, extent, fetch, load, load_fold, load_test, locate
from tsnn_uq.data.cifar_format import records_of_pickle

COUNTS = {"data_batch_1": 7, "data_batch_2": 5, "test_batch": 4}


class _Python2(pickle._Pickler):
    """Writes byte strings as Python 2 did, and names numpy as it was called then."""

    def save_bytes(self, content):
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_bytes}  # noqa: RUF012

    def save_global(self, thing, name=None):
        module = "numpy.core.multiarray" if "multiarray" in thing.__module__ else thing.__module__
        self.write(pickle.GLOBAL + f"{module}\n{thing.__name__}\n".encode())

    dispatch[type(lambda: 0)] = dispatch[type(np.array)] = dispatch[type] = save_global


def python2_pickle(labels, data):
    batch = {b"batch_label": b"training batch 1 of 5", b"labels": labels, b"data": data, b"filenames": [b"a_s_1.png"]}
    file = io.BytesIO()
    _Python2(file, protocol=2).dump(batch)
    return file.getvalue()


@pytest.fixture
def small(monkeypatch):
    """A CIFAR-10 of 2 x 3 pixels: its pixels and labels by file, and its registered source."""
    rng = np.random.default_rng(0)
    arrays = {
        name: (rng.integers(0, 256, (count, 18), dtype=np.uint8), rng.integers(0, 10, count).tolist())
        for name, count in COUNTS.items()
    }
    content = {
        f"{name}.bin": b"".join(bytes([label, *row]) for row, label in zip(pixels.tolist(), labels, strict=True))
        for name, (pixels, labels) in arrays.items()
    }
    files = [File(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in content.items()]
    place = ("cifar-10-batches-bin",), "http://127.0.0.1:1/all.tar.gz"
    source = Source("cifar10", 10, *place, "us", "MIT", tuple(files[:2]), (files[2],), "cifar", (3, 2, 3))
    monkeypatch.setitem(SOURCES, "cifar10", source)
    return arrays, content


def check(arrays, splits):
    """The splits have each image with its label, channel by channel and row by row, and the official test part."""
    for part, names in ((splits.test, ["test_batch"]), (None, ["data_batch_1", "data_batch_2"])):
        images = part.images if part else torch.cat([splits.train.images, splits.validation.images])
        labels = part.labels if part else torch.cat([splits.train.labels, splits.validation.labels])
        ours = sorted((label, *image.flatten().tolist()) for image, label in zip(images, labels.tolist(), strict=True))
        theirs = sorted(
            (label, *(row / np.float32(255)).tolist())
            for name in names
            for row, label in zip(*arrays[name], strict=True)
        )
        assert images.shape[1:] == (3, 2, 3)
        assert ours == theirs


def test_the_binary_form_is_read(tmp_path, small):
    arrays, content = small
    (tmp_path / "cifar-10-batches-bin").mkdir()
    for name, data in content.items():
        (tmp_path / "cifar-10-batches-bin" / name).write_bytes(data)
    splits = load("cifar10", tmp_path, validation=3)
    check(arrays, splits)
    assert splits.augment is crop_and_flip
    assert load_fold("cifar10", tmp_path, folds=3, seed=0).augment is crop_and_flip
    assert load("digits").augment is None
    assert load_test("cifar10", tmp_path).images[0].flatten().tolist() == splits.test.images[0].flatten().tolist()
    assert load_test("cifar10:blur=1", tmp_path).shape == (3, 2, 3)


def test_torchvisions_pickles_are_the_same_images(tmp_path, small):
    arrays, _ = small
    (tmp_path / "cifar-10-batches-py").mkdir()
    for name, (data, labels) in arrays.items():
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(python2_pickle(labels, data))
    assert [found.state for found in locate("cifar10", tmp_path)] == ["verified"] * 3
    check(arrays, load("cifar10", tmp_path, validation=3))
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(python2_pickle(labels, data ^ 1))
    with pytest.raises(InputError, match="SHA-256"):
        load_test("cifar10", tmp_path)


def test_the_pickles_of_the_test_are_what_numpy_reads():
    data = np.arange(18, dtype=np.uint8).reshape(2, 9)
    batch = pickle.loads(python2_pickle([3, 4], data), encoding="bytes")
    assert batch[b"labels"] == [3, 4]
    assert (batch[b"data"] == data).all()
    today = pickle.dumps({"labels": [3, 4], "data": data}, protocol=4)
    for content in (today, python2_pickle([3, 4], data)):
        assert records_of_pickle(content, "here") == bytes([3, *range(9), 4, *range(9, 18)])


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("made by a pickle",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Harmful()),
        pickle.dumps({"labels": [1], "data": Harmful()}),
        pickle.dumps({"labels": [1], "data": np.zeros((1, 3))}),
        pickle.dumps({"labels": [1], "data": np.asfortranarray(np.zeros((2, 3), np.uint8))}),
        pickle.dumps({"labels": [1, 2], "data": np.zeros((1, 3), np.uint8)}),
        pickle.dumps({"labels": [1], "data": [0, 0, 0]}),
        pickle.dumps([1, 2]),
        pickle.dumps({"labels": [1]})[:-3],
        b"\x80",
    ],
)
def test_other_pickles_are_refused_and_nothing_of_them_runs(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="here: expected a pickled batch of CIFAR-10"):
        records_of_pickle(content, "here")
    assert not list(tmp_path.iterdir())


def archive(content):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@pytest.mark.parametrize("damage", ["", "short", "another", "lacking", "no archive"])
def test_an_archive_is_fetched_once_and_verified_whole(tmp_path, small, monkeypatch, damage):
    _, content = small
    sent = dict(content)
    if damage == "another":
        sent["test_batch.bin"] = b"?" + sent["test_batch.bin"][1:]
    elif damage == "lacking":
        del sent["data_batch_2.bin"]
    packed = archive(sent)
    packed = {"short": packed[: len(packed) // 2], "no archive": b"<html>"}.get(damage, packed)
    calls = []

    def download(url, file, _):
        calls.append(url)
        file.write(packed)

    monkeypatch.setattr("pooch.HTTPDownloader", lambda **_: download)
    if damage:
        with pytest.raises(InputError, match="the mirror sent a damaged file"):
            fetch("cifar10", tmp_path)
        assert not list(tmp_path.iterdir())
        return
    paths = fetch("cifar10", tmp_path)
    assert calls == ["http://127.0.0.1:1/all.tar.gz"]
    assert [path.read_bytes() for path in paths] == list(content.values())
    assert {path.parent.name for path in paths} == {"cifar-10-batches-bin"}


def test_crops_and_flips_are_those_that_a_loop_makes():
    images = torch.rand(6, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    changed = crop_and_flip(images, torch.Generator().manual_seed(1), padding=2)
    seen = []
    for image, ours in zip(images, changed, strict=True):
        padded = torch.zeros(3, 9, 8)
        padded[:, 2:7, 2:6] = image
        candidates = (
            (down, right, flip, cropped.flip(2) if flip else cropped)
            for down in range(5)
            for right in range(5)
            for flip in (False, True)
            for cropped in [padded[:, down : down + 5, right : right + 4]]
        )
        seen += list(islice(((d, r, f) for d, r, f, crop in candidates if torch.equal(crop, ours)), 1))
    assert len(seen) == 6
    assert len(set(seen)) > 3
    assert torch.equal(crop_and_flip(images, torch.Generator().manual_seed(1), padding=2), changed)


def test_all_moves_and_both_sides_are_as_likely():
    images = torch.zeros(9000, 1, 7, 7)
    images[:, :, 3, 2] = 1  # of 7 columns, so that its mirror image is another place
    _, _, rows, columns = crop_and_flip(images, torch.Generator().manual_seed(0), padding=1).nonzero(as_tuple=True)
    found = torch.bincount(rows * 7 + columns, minlength=49).reshape(7, 7)
    expected = torch.zeros(7, 7)
    expected[2:5, 1:4] += 500  # as it is: row 3, column 2, and a pixel around
    expected[2:5, 3:6] += 500  # mirrored: column 4
    assert (found[expected == 0] == 0).all()
    assert (found - expected).abs().max() < 5 * 1000**0.5  # 5 standard deviations


@pytest.mark.parametrize(
    ("images", "padding", "match"), [(torch.zeros(2, 3, 4), 4, "images"), (torch.zeros(1, 1, 2, 2), -1, "padding")]
)
def test_what_cannot_be_cropped_is_told(images, padding, match):
    with pytest.raises(InputError, match=f"^{match}: expected"):
        crop_and_flip(images, torch.Generator(), padding=padding)


def test_cifar10_itself(need_files):
    need_files("cifar10")
    splits = load("cifar10")
    assert extent("cifar10") == ((3, 32, 32), 10, 45_000, 5_000, 10_000)
    assert splits.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]  # as every tutorial shows them
    assert splits.test.labels.bincount().tolist() == [1000] * 10
    images = torch.cat([splits.train.images, splits.validation.images])
    # Means and standard deviations of the 50,000 images, widely used to standardize them.
    assert images.mean((0, 2, 3), dtype=torch.float64).tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)
    deviations = images.movedim(1, 0).flatten(1).std(1).tolist()
    assert deviations == pytest.approx([0.2470, 0.2435, 0.2616], abs=5e-5)
