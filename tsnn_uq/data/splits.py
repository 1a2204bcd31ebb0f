"""Train, validation and test: which image is in which, once and for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.data.images import Dataset, digits, read_part
from tsnn_uq.data.registry import SOURCES
from tsnn_uq.data.shifts import apply_shift, parse_shift
from tsnn_uq.seeds import generator_for

__all__ = ["Splits", "load", "load_test"]

DIGITS_TEST = 360
VALIDATION = {"digits": 180}
VALIDATION_ELSE = 5000


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three parts without a common image."""

    train: Dataset
    validation: Dataset
    test: Dataset
    name: str


def load(name: str, data_dir: str | Path | None = None, *, seed: int = 0, validation: int | None = None) -> Splits:
    """Load a data set, split for good.

    The test part is the official one and the same for every seed (of digits, which has none, 360 images drawn once),
    so no seed can train on what another seed, or `load_test`, tests on. `seed` draws the validation part from the rest.

    Args:
        name: ``"digits"`` (8 x 8 pixels, no files), ``"mnist"`` or ``"fashion-mnist"`` (28 x 28).
        data_dir: where files are looked for and fetched to; see `data_folder`.
        seed: of the choice of the validation images.
        validation: their number; by default 5,000, and 180 of digits.

    Raises:
        InputError: the name is unknown, a file is damaged or missing and cannot be fetched, or `validation` leaves
            nothing to train on.

    Example:
        >>> splits = load("digits")
        >>> len(splits.train), len(splits.validation), len(splits.test), list(splits.test.images.shape)
        (1257, 180, 360, [360, 1, 8, 8])
    """
    check_choice("data set", name, ("digits", *SOURCES))
    rest, test = (
        _digits() if name == "digits" else tuple(read_part(SOURCES[name], p, data_dir) for p in ("train", "test"))
    )
    if validation is None:
        validation = VALIDATION.get(name, VALIDATION_ELSE)
    check_positive("validation", validation, integer=True)
    if validation >= len(rest):
        raise InputError(f"validation: expected fewer than the {len(rest)} images of {name}; got {validation}")
    order = torch.randperm(len(rest), generator=generator_for(seed, "validation", name))
    return Splits(rest.select(order[validation:]), rest.select(order[:validation]), test, name)


def load_test(name: str, data_dir: str | Path | None = None, *, seed: int = 0) -> Dataset:
    """Load a test part alone, as it is or shifted; the training files need not be there.

    Args:
        name: as for `load`, and with ``:shift=amount`` after it for a shift of `SHIFTS`, e.g. ``"mnist:rotate=30"``.
        data_dir: as for `load`.
        seed: of a random shift; it does not choose the images.

    Raises:
        InputError: the name or shift is unknown, the amount is bad, or a file is damaged or cannot be had.

    Example:
        >>> load_test("digits:noise=0.5").name
        'digits:noise=0.5'
    """
    base, colon, shift = name.partition(":")
    check_choice("data set", base, ("digits", *SOURCES))
    if colon:
        parse_shift(shift)  # before anything is read or fetched
    test = _digits()[1] if base == "digits" else read_part(SOURCES[base], "test", data_dir)
    return replace(test, images=apply_shift(test.images, shift, seed=seed), name=name) if colon else test


def _digits() -> tuple[Dataset, Dataset]:
    everything = digits()
    order = torch.randperm(len(everything), generator=generator_for(0, "test", "digits"))
    return everything.select(order[DIGITS_TEST:]), everything.select(order[:DIGITS_TEST])
