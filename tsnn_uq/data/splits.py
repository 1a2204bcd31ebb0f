"""Fixed splits of data sets into training, validation and test parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Generator, Tensor

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.data.augmentation import crop_and_flip
from tsnn_uq.data.download_sources import SOURCES, trainable
from tsnn_uq.data.events import Windows
from tsnn_uq.data.images import Dataset, digits, read_part
from tsnn_uq.data.nmnist import find_recordings
from tsnn_uq.data.ood_sets import fitted, noise
from tsnn_uq.data.shifts import apply_shift, parse_shift
from tsnn_uq.data.simulated_nmnist import simulated_recordings
from tsnn_uq.seeds import generator_for

__all__ = ["EVENT_SETS", "Splits", "is_foreign", "is_kindred", "load", "load_all", "load_test", "split_shift"]

EVENT_SETS = ("nmnist", "nmnist-simulated")
PARTS: tuple[Literal["train", "test"], ...] = ("train", "test")
DIGITS_TEST = 360
VALIDATION = {"digits": 180, "nmnist-small": 100}
VALIDATION_ELSE = 5000
# The images of N-MNIST's first recordings, which may test networks that were trained on simulated recordings.
LEFT_OUT = {"nmnist-simulated": 1000}
AUGMENTATIONS = {"cifar10": crop_and_flip}


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three disjoint parts.

    Args:
        train: the training part.
        validation: the part on which choices are made, such as temperatures.
        test: the test part.
        name: name of the data set.
        augment: the usual augmentation of its training images, for `tsnn_uq.training.fit`; None for none.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    name: str
    augment: Callable[[Tensor, Generator], Tensor] | None = None


class Part(Protocol):
    """Data that can be split: images, or recordings that are read only after the split."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    def __len__(self) -> int:
        """Number of inputs."""

    def select(self, indices: Tensor) -> Dataset:
        """The inputs at `indices` [M], in this order."""


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    validation: int | None = None,
    bin_ms: float | None = None,
    steps: int | None = None,
    skip_bad: bool = False,
) -> Splits:
    """Load a data set with its fixed splits.

    The test part is the official one (digits has none: 360 images are drawn once). It is the same for every seed, so
    no seed trains on an input that another seed, or `load_test`, tests on. The validation part is drawn by `seed` from
    the rest.

    Args:
        name: ``"digits"`` (8 x 8 pixels, no files), ``"mnist"`` or ``"fashion-mnist"`` (28 x 28), or ``"cifar10"``
            (32 x 32, coloured, with random crops and flips as ``augment``). Events, as `tsnn_uq.data.EventDataset`:
            ``"nmnist"`` (34 x 34), or ``"nmnist-simulated"``, simulated from MNIST without its first 1,000 training
            images, which N-MNIST's first 1,000 recordings show.
        data_dir: where files are looked for and downloaded to; see `data_folder`. N-MNIST is not downloaded.
        seed: seed of the choice of validation inputs.
        validation: number of validation inputs. By default 5,000; for digits 180; for an incomplete N-MNIST, whose
            parts are named ``"nmnist-small"``, 100.
        bin_ms: for events only: width of a time step in milliseconds, by default 1.
        steps: for events only: number of time steps from the recording's start, by default enough for 306 ms.
        skip_bad: for N-MNIST only: skip damaged recordings and list them in ``skipped``, instead of raising.

    Raises:
        InputError: the name is unknown, a file is damaged, or missing and cannot be downloaded, `validation` leaves
            nothing to train on, or an argument for events was given with images.

    Example:
        >>> splits = load("digits")
        >>> len(splits.train), len(splits.validation), len(splits.test), list(splits.test.images.shape)
        (1257, 180, 360, [360, 1, 8, 8])
    """
    windows = _checked_windows(name, bin_ms, steps, skip_bad)
    rest, test = (_part(name, part, data_dir, windows, skip_bad) for part in PARTS)
    if validation is None:
        validation = VALIDATION.get(rest.name, VALIDATION_ELSE)
    check_positive("validation", validation, integer=True)
    left_out = LEFT_OUT.get(name, 0)
    count = len(rest) - left_out
    if validation >= count:
        raise InputError(f"validation: expected fewer than the {count} inputs of {rest.name}; got {validation}")
    order = left_out + torch.randperm(count, generator=generator_for(seed, "validation", name))
    train, held_out = rest.select(order[validation:]), rest.select(order[:validation])
    return Splits(train, held_out, _whole(test), rest.name, AUGMENTATIONS.get(name))


def load_test(
    name: str,
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    bin_ms: float | None = None,
    steps: int | None = None,
    skip_bad: bool = False,
    shape: Sequence[int] | None = None,
) -> Dataset:
    """Load only a test part, optionally shifted; the training files are not needed.

    Args:
        name: as for `load`; also ``"noise"``, which is generated, and ``"emnist-letters"`` and ``"notmnist"``, which
            only have a test part. Images can be shifted: ``:shift=amount`` after the name for one of `SHIFTS`, e.g.
            ``"mnist:rotate=30"``, or ``:kind=severity`` for one of `CORRUPTIONS`, e.g. ``"mnist:fog=3"``.
        data_dir: as for `load`.
        seed: seed of a random shift; the inputs do not depend on it.
        bin_ms: as for `load`.
        steps: as for `load`.
        skip_bad: as for `load`.
        shape: input shape of a network, to which images are converted; see `tsnn_uq.data.fitted`.

    Raises:
        InputError: the name or shift is unknown, the amount is invalid, or a file is damaged, or missing and cannot be
            downloaded.

    Example:
        >>> load_test("digits:noise=0.5").name
        'digits:noise=0.5'
    """
    base, colon, shift = name.partition(":")
    windows = _checked_windows(base, bin_ms, steps, skip_bad, also=(*SOURCES, "noise"))
    if colon:
        parse_shift(shift)  # raises before anything is read or downloaded
        if base in EVENT_SETS:
            raise InputError(f"shift: expected none, since {base} has events, not images; got {shift!r}")
    if base == "noise":
        test = noise() if shape is None else noise(shape=shape)
    else:
        test = _whole(_part(base, "test", data_dir, windows, skip_bad))
    test = replace(test, images=apply_shift(test.images, shift, seed=seed), name=name) if colon else test
    return test if shape is None else fitted(test, shape)


def load_all(
    name: str,
    data_dir: str | Path | None = None,
    *,
    bin_ms: float | None = None,
    steps: int | None = None,
    skip_bad: bool = False,
) -> Dataset:
    """Load a whole data set, the training part followed by the test part, e.g. for cross-validation.

    Args:
        name: as for `load`.
        data_dir: as for `load`.
        bin_ms: as for `load`.
        steps: as for `load`.
        skip_bad: as for `load`.

    Raises:
        InputError: as for `load`.

    Example:
        >>> len(load_all("digits"))
        1797
    """
    windows = _checked_windows(name, bin_ms, steps, skip_bad)
    train, test = (_part(name, part, data_dir, windows, skip_bad) for part in PARTS)
    return _whole(train).joined(_whole(test))


def _checked_windows(
    name: str, bin_ms: float | None, steps: int | None, skip_bad: bool, *, also: Collection[str] = ()
) -> Windows:
    """Check the name and the arguments given with it, and return the time windows."""
    check_choice("data set", name, dict.fromkeys(("digits", *trainable(), *EVENT_SETS, *also)))
    for argument, value, takers in (
        ("bin_ms", bin_ms, EVENT_SETS),
        ("steps", steps, EVENT_SETS),
        ("skip_bad", skip_bad or None, ("nmnist",)),
    ):
        if value is not None and name not in takers:
            raise InputError(f"{argument}: expected only with {' or '.join(takers)}; got {value} for {name}")
    return Windows(1.0 if bin_ms is None else bin_ms, steps)


def _part(
    name: str, part: Literal["train", "test"], data_dir: str | Path | None, windows: Windows, skip_bad: bool
) -> Part:
    if name == "digits":
        return _digits()[PARTS.index(part)]
    if name == "nmnist":
        return find_recordings(part, data_dir, windows, skip_bad=skip_bad)
    if name == "nmnist-simulated":
        return simulated_recordings(part, data_dir, windows)
    return read_part(SOURCES[name], part, data_dir)


def _whole(part: Part) -> Dataset:
    return part if isinstance(part, Dataset) else part.select(torch.arange(len(part)))


def _digits() -> tuple[Dataset, Dataset]:
    everything = digits()
    order = torch.randperm(len(everything), generator=generator_for(0, "test", "digits"))
    return everything.select(order[DIGITS_TEST:]), everything.select(order[:DIGITS_TEST])


def split_shift(name: str) -> tuple[str, str]:
    """Split a name into the data set and the shift after it, which may be empty.

    Example:
        >>> split_shift("mine.py:load:rotate=30"), split_shift("mine.py:load")
        (('mine.py:load', 'rotate=30'), ('mine.py:load', ''))
    """
    base, _, shift = name.rpartition(":")
    return (base, shift) if base and "=" in shift else (name, "")


def is_foreign(own: str, name: str) -> bool:
    """Whether a data set, shifted or not, has other classes than `own`.

    Example:
        >>> is_foreign("mine.py:load", "mine.py:load:rotate=30"), is_foreign("mnist", "fashion-mnist")
        (False, True)
    """
    return split_shift(name)[0] != own and not is_kindred(own, name)


def is_kindred(one: str, other: str) -> bool:
    """Whether two data sets are different recordings of the same classes."""
    return one != other and one in EVENT_SETS and other in EVENT_SETS
