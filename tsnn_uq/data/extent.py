"""How large a data set is, told without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tsnn_uq.checks import check_choice
from tsnn_uq.data.nmnist import find_recordings
from tsnn_uq.data.registry import SOURCES, trainable
from tsnn_uq.data.splits import DIGITS_TEST, EVENT_SETS, LEFT_OUT, PARTS, VALIDATION, VALIDATION_ELSE

__all__ = ["Extent", "extent"]


class Extent(NamedTuple):
    """Shape of an input without time, number of classes, and of training, validation and test inputs."""

    shape: tuple[int, ...]
    classes: int
    train: int
    validation: int
    test: int

    @property
    def inputs(self) -> int:
        """Those of all parts."""
        return self.train + self.validation + self.test


def extent(name: str, data_dir: str | Path | None = None) -> Extent:
    """The size of what `tsnn_uq.data.load` gives for a name, with the usual validation part left out.

    Raises:
        InputError: `name` is unknown, or N-MNIST is not there to be counted.

    Example:
        >>> extent("digits")
        Extent(shape=(1, 8, 8), classes=10, train=1257, validation=180, test=360)
    """
    check_choice("data set", name, ("digits", *trainable(), *EVENT_SETS))
    if name == "digits":
        held_out = VALIDATION["digits"]
        return Extent((1, 8, 8), 10, 1797 - DIGITS_TEST - held_out, held_out, DIGITS_TEST)
    if name == "nmnist":
        recordings, tested = (find_recordings(part, data_dir) for part in PARTS)
        held_out = VALIDATION.get(recordings.name, VALIDATION_ELSE)
        return Extent((2, 34, 34), 10, len(recordings) - held_out, held_out, len(tested))
    if name == "nmnist-simulated":
        rest, test = map(SOURCES["mnist"].count, PARTS)
        return Extent((2, 34, 34), 10, rest - LEFT_OUT[name] - VALIDATION_ELSE, VALIDATION_ELSE, test)
    source = SOURCES[name]
    rest, test = map(source.count, PARTS)
    return Extent(source.shape, source.classes, rest - VALIDATION_ELSE, VALIDATION_ELSE, test)
