from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from tsnn_uq.checks import InputError
from tsnn_uq.data import Dataset
from tsnn_uq.data.images import digits, read_part


def dataset(count: int = 6) -> Dataset:
    return Dataset(
        torch.rand(count, 1, 3, 2, generator=torch.Generator().manual_seed(0)), torch.arange(count), "six", count
    )


def test_digits_are_sklearns():
    ours, theirs = digits(), load_digits()
    assert ours.images.dtype == torch.float32
    assert ours.images.shape == (1797, 1, 8, 8)
    assert (ours.images[:, 0].numpy() * 16 == theirs.images).all()
    assert (ours.labels.numpy() == theirs.target).all()
    assert (len(ours), ours.name, ours.classes) == (1797, "digits", 10)


def test_a_part_read_from_files_is_the_bytes_over_255(tmp_path, tiny):
    tiny.write(tmp_path, files=tiny.source.test)  # the training files are not needed
    part = read_part(tiny.source, "test", tmp_path)
    pixels = np.frombuffer(tiny.content["t10k-images-idx3-ubyte"][16:], np.uint8).reshape(5, 1, 4, 3)
    assert part.images.dtype == torch.float32
    assert part.labels.dtype == torch.int64
    assert (part.images.numpy() == pixels / np.float32(255)).all()
    assert part.images[0, 0, 0, :2].tolist() == [0, 1]
    assert part.labels.tolist() == list(tiny.content["t10k-labels-idx1-ubyte"][8:])
    assert (part.name, part.classes) == ("tiny", 10)


def test_a_registry_whose_labels_do_not_fit_its_images_is_told(tmp_path, tiny):
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 4]) + bytes(4)
    images, entry = tiny.source.test
    entry = dataclasses.replace(entry, sha256=hashlib.sha256(labels).hexdigest())
    tiny.write(tmp_path)
    (tmp_path / entry.name).write_bytes(labels)
    with pytest.raises(InputError, match=f"{entry.name}: expected one label for each image"):
        read_part(dataclasses.replace(tiny.source, test=(images, entry)), "test", tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": torch.zeros(6, 3, 2)}, r"^images: expected a tensor of shape \[N, C, H, W\]"),
        ({"images": torch.zeros(6, 2, 3, 2)}, r"^images: expected float32 of shape"),
        ({"images": torch.zeros(6, 1, 3, 2, dtype=torch.float64)}, r"^images: expected float32 .*float64"),
        ({"images": torch.full((6, 1, 3, 2), 1.01)}, "^images: expected 0 <= value <= 1"),
        ({"images": torch.full((6, 1, 3, 2), -0.5)}, "^images: expected 0 <= value <= 1"),
        ({"images": torch.full((6, 1, 3, 2), torch.nan)}, "^images: expected 0 <= value <= 1"),
        ({"labels": torch.arange(5)}, r"^labels: expected 6 labels"),
        ({"labels": torch.arange(1, 7)}, "^labels: expected labels from 0 to 5"),
    ],
)
def test_a_data_set_checks_itself(change, match):
    with pytest.raises(InputError, match=match):
        dataclasses.replace(dataset(), **change)


def test_select_keeps_image_and_label_together():
    some = dataset().select(torch.tensor([4, 1]))
    assert some.labels.tolist() == [4, 1]
    assert (some.images == dataset().images[[4, 1]]).all()
    assert len(dataset().select(torch.tensor([], dtype=torch.int64))) == 0


def test_subsets_are_fixed_nested_and_without_repetition():
    whole = dataset()
    assert sorted(whole.subset(6).labels.tolist()) == list(range(6))
    assert whole.subset(6).labels.tolist() != list(range(6))
    assert whole.subset(2).labels.tolist() == whole.subset(5).labels.tolist()[:2]
    assert any(whole.subset(6, seed=seed).labels.tolist() != whole.subset(6).labels.tolist() for seed in (1, 2))


@pytest.mark.parametrize(
    ("count", "match"), [(0, "positive whole"), (2.0, "positive whole"), (7, r"at most 6 .*six.*got 7")]
)
def test_a_subset_needs_a_count_that_fits(count, match):
    with pytest.raises(InputError, match=f"^count: expected .*{match}"):
        dataset().subset(count)
