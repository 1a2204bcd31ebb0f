"""Cross-validation: each input of a data set is in the test part of exactly one fold."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.data.images import Dataset
from tsnn_uq.data.splits import AUGMENTATIONS, Splits, load_all
from tsnn_uq.seeds import generator_for

__all__ = ["fold_of", "load_fold"]


def load_fold(
    name: str,
    data_dir: str | Path | None = None,
    *,
    folds: int,
    seed: int,
    bin_ms: float | None = None,
    steps: int | None = None,
    skip_bad: bool = False,
) -> Splits:
    """Load a whole data set, split for one fold of a repeated cross-validation.

    Seeds 0 to folds - 1 are the folds of one stratified division of the data. Their test parts are disjoint and cover
    all inputs. The next `folds` seeds are the folds of another division. The validation part is drawn from the
    remaining inputs and is as large as the test part.

    Args:
        name: as for `tsnn_uq.data.load`.
        data_dir: as for `tsnn_uq.data.load`.
        folds: number of parts, at least 3: one to test, one to validate, the rest to train.
        seed: selects fold ``seed % folds`` of division ``seed // folds``.
        bin_ms: as for `tsnn_uq.data.load`.
        steps: as for `tsnn_uq.data.load`.
        skip_bad: as for `tsnn_uq.data.load`.

    Raises:
        InputError: `folds` or `seed` is out of range, or `load` raises.

    Example:
        >>> parts = [load_fold("digits", folds=5, seed=seed).test for seed in range(5)]
        >>> [len(part) for part in parts], sum(map(len, parts))
        ([360, 360, 359, 359, 359], 1797)
    """
    everything = load_all(name, data_dir, bin_ms=bin_ms, steps=steps, skip_bad=skip_bad)
    return fold_of(everything, name, folds=folds, seed=seed)


def fold_of(everything: Dataset, name: str, *, folds: int, seed: int) -> Splits:
    """Split a whole data set for one fold; see `load_fold`.

    Args:
        everything: all inputs.
        name: name of the data set; the division depends on it.
        folds: number of parts, at least 3.
        seed: selects fold ``seed % folds`` of division ``seed // folds``.

    Raises:
        InputError: `folds` or `seed` is out of range.
    """
    check_positive("folds", folds, integer=True)
    if folds < 3:
        raise InputError(f"folds: expected at least 3 (test, validation and training); got {folds}")
    if seed < 0:
        raise InputError(f"seed: expected a whole number of at least 0; got {seed}")
    division, fold = divmod(seed, folds)
    part = _parts(everything.labels, folds, generator_for(division, "folds", name))
    test, validation = part == fold, part == (fold + 1) % folds
    return Splits(
        everything.select((~test & ~validation).nonzero()[:, 0]),
        everything.select(validation.nonzero()[:, 0]),
        everything.select(test.nonzero()[:, 0]),
        everything.name,
        AUGMENTATIONS.get(name),
    )


def _parts(labels: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """The part [N] of each input: inputs in random order are dealt out class by class."""
    order = torch.randperm(len(labels), generator=generator)
    dealt = order[labels[order].argsort(stable=True)]
    part = torch.empty_like(labels)
    part[dealt] = torch.arange(len(labels)) % folds
    return part
