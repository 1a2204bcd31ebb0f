"""Cross-validation: every input of a data set is tested on once."""

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
    """Load all of a data set, split for one fold of a repeated cross-validation.

    Seeds 0 .. folds - 1 are the folds of one stratified division of the data; their test parts are disjoint and cover
    all inputs. The next `folds` seeds are those of the next division. The validation part is drawn from the remaining
    inputs and has the size of the test part.

    Args:
        name: as for `tsnn_uq.data.load`, like all other arguments.
        data_dir: where files are looked for.
        folds: parts of a division, at least 3 (one to test, one to validate, the rest to train).
        seed: which fold of which division.
        bin_ms: of events alone.
        steps: of events alone.
        skip_bad: of recordings alone.

    Raises:
        InputError: `folds` or `seed` is out of range, or what `load` raises.

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
        name: of the data set, on which the division depends.
        folds: parts of a division.
        seed: which fold of which division.

    Raises:
        InputError: `folds` or `seed` is out of range.
    """
    check_positive("folds", folds, integer=True)
    if folds < 3:
        raise InputError(f"folds: expected at least 3: to test, to validate and to train; got {folds}")
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
    """The part [N] of each input: a random order, dealt out class by class."""
    order = torch.randperm(len(labels), generator=generator)
    dealt = order[labels[order].argsort(stable=True)]
    part = torch.empty_like(labels)
    part[dealt] = torch.arange(len(labels)) % folds
    return part
