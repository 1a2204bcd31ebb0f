"""The catalog of data sets: how large each one is, which are at hand, and how to get the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.data.download_sources import SOURCES, trainable
from tsnn_uq.data.events import read_events
from tsnn_uq.data.nmnist import find_recordings
from tsnn_uq.data.simulated_nmnist import cached, simulated_recordings
from tsnn_uq.data.splits import DIGITS_TEST, EVENT_SETS, LEFT_OUT, PARTS, VALIDATION, VALIDATION_ELSE
from tsnn_uq.data.verified_files import Progress, fetch, locate, silent

__all__ = ["Entry", "Extent", "extent", "overview", "prepare"]


class Extent(NamedTuple):
    """Shape of an input without time, and numbers of classes and of training, validation and test inputs."""

    shape: tuple[int, ...]
    classes: int
    train: int
    validation: int
    test: int

    @property
    def inputs(self) -> int:
        """Number of inputs of all parts."""
        return self.train + self.validation + self.test


def extent(name: str, data_dir: str | Path | None = None) -> Extent:
    """The size of a data set as returned by `tsnn_uq.data.load`, without loading it.

    Raises:
        InputError: `name` is unknown, or N-MNIST is not found.

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


class Entry(NamedTuple):
    """One line of the overview: a data set, a file or part of it, its state, and its path or how to get it."""

    name: str
    what: str
    state: str
    where: str


def overview(data_dir: str | Path | None = None) -> Iterator[Entry]:
    """The state of all data sets, by file or part; nothing is downloaded, generated or changed.

    Args:
        data_dir: as for `tsnn_uq.data.data_folder`.
    """
    yield Entry("digits", "", "built in", "scikit-learn")
    yield Entry("noise", "test", "generated on demand", "")
    for name in SOURCES:
        for located in locate(name, data_dir):
            remedy = f"fetch with: tsnn-uq data {name}" if SOURCES[name].fetched else f"see {SOURCES[name].url}"
            yield Entry(name, located.file.name, located.state, str(located.path or remedy))
    for part in PARTS:
        try:
            found = find_recordings(part, data_dir)
            yield Entry(found.name, f"{part}: {len(found):,} recordings", "found", str(found.files[0][0].parents[1]))
        except InputError as error:
            yield Entry("nmnist", part, "missing", str(error).rpartition("; ")[2])
    for part in PARTS:
        path = cached(part, data_dir)
        state = "simulated" if path else "not yet simulated"
        yield Entry("nmnist-simulated", part, state, str(path or "simulate with: tsnn-uq data nmnist-simulated"))


def prepare(name: str, data_dir: str | Path | None = None, *, progress: Progress = silent) -> list[Path]:
    """Prepare a data set for loading: download and verify its files, read all recordings, or simulate them.

    Args:
        name: as for `tsnn_uq.data.load`.
        data_dir: as for `tsnn_uq.data.data_folder`.
        progress: called while files are downloaded, recordings read or simulated.

    Returns:
        Its files, or the folders of its parts for N-MNIST.

    Raises:
        InputError: `name` is unknown, or a file is damaged, or is missing and cannot be downloaded.
    """
    check_choice("data set", name, ("digits", *SOURCES, *EVENT_SETS))
    if name == "nmnist":
        parts = [find_recordings(part, data_dir) for part in PARTS]
        files = [path for part in parts for path, _ in part.files]
        for done, path in enumerate(files, start=1):
            read_events(path)
            progress(name, done, len(files))
        return [part.files[0][0].parents[1] for part in parts]
    if name == "nmnist-simulated":
        for part in PARTS:
            simulated_recordings(part, data_dir, progress=progress)
        return [made for part in PARTS if (made := cached(part, data_dir))]
    return fetch(name, data_dir, progress)
