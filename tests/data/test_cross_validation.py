from __future__ import annotations

import pytest
import torch

from tsnn_uq.checks import InputError
from tsnn_uq.data import load_all, load_fold


def rows(dataset):
    return sorted(map(tuple, dataset.images.flatten(1).tolist()))


def test_every_input_is_tested_on_once_and_never_trained_on_in_the_same_fold():
    everything = rows(load_all("digits"))
    tested = []
    for seed in range(4):
        splits = load_fold("digits", folds=4, seed=seed)
        parts = [rows(part) for part in (splits.train, splits.validation, splits.test)]
        assert sorted(parts[0] + parts[1] + parts[2]) == everything
        tested += parts[2]
    assert sorted(tested) == everything


@pytest.mark.parametrize("folds", [3, 7])
def test_every_part_has_as_much_of_each_class(folds):
    counts = load_all("digits").labels.bincount()
    for seed in range(folds):
        part = load_fold("digits", folds=folds, seed=seed).test.labels.bincount(minlength=10)
        assert ((part - counts / folds).abs() <= 1).all()


def test_seeds_beyond_are_another_division_and_a_seed_is_always_the_same():
    first, again, other = (load_fold("digits", folds=5, seed=seed).test.images for seed in (1, 1, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(folds=2, seed=0), "folds: expected at least 3"),
        (dict(folds=0, seed=0), "folds: expected a positive whole number"),
        (dict(folds=3, seed=-1), "seed: expected a whole number of at least 0"),
        (dict(folds=3, seed=0, bin_ms=2.0), "bin_ms: expected only with nmnist"),
    ],
)
def test_bad_arguments_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        load_fold("digits", **options)
