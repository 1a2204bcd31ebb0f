"""Events of a vision sensor: read N-MNIST's files, and pack recordings into spikes over time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsnn_uq.checks import InputError, check_dims, check_labels, check_positive, describe
from tsnn_uq.data.images import Dataset
from tsnn_uq.files import as_path

__all__ = ["PLACES", "SIDE", "EventDataset", "Events", "Packer", "Windows", "parse_events", "read_events"]

SIDE = 34  # pixels
PLACES = 2 * SIDE * SIDE  # (polarity, y, x), in this order
DURATION_MS = 306.0
LONGEST_US = 1_000_000  # three times the longest recording; a file with a later event is damaged
EVENT_BYTES = 5


class Events(NamedTuple):
    """The events of one recording in the order of time, four arrays [E].

    Args:
        x: column, 0 to 33 from the left.
        y: row, 0 to 33 from the top.
        polarity: 1 (ON) where the sensor saw more light, 0 (OFF) where less; N-MNIST has OFF where a digit arrives.
        time_us: microseconds since the recording's start.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    polarity: NDArray[np.int64]
    time_us: NDArray[np.int64]

    @property
    def place(self) -> NDArray[np.int64]:
        """Index [E] into (polarity, y, x) flattened, 0 to 2,311."""
        return (self.polarity * SIDE + self.y) * SIDE + self.x


def parse_events(content: bytes, origin: str) -> Events:
    """Parse the events in a file of N-MNIST.

    Each event has five bytes, the most significant bit first: x in 8 bits, y in 8, polarity in 1 and the time in
    microseconds in 23 (Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using
    saccades", https://doi.org/10.3389/fnins.2015.00437).

    Args:
        content: the file's bytes.
        origin: its path, for error messages.

    Raises:
        InputError: there is no event, the length is not a multiple of five bytes, a pixel is outside 34 x 34, or times
            are not in order or beyond a second.

    Example:
        >>> events = parse_events(bytes([12, 4, 0b10000000, 0x0A, 0xE6]), "00001.bin")
        >>> [int(field[0]) for field in events]
        [12, 4, 1, 2790]
    """
    if not content or len(content) % EVENT_BYTES:
        raise InputError(
            f"{origin}: expected events of five bytes each; got {len(content)} bytes; it is empty, cut off or foreign"
        )
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, EVENT_BYTES).astype(np.int64)
    x, y, high, middle, low = rows.T
    events = Events(x, y, high >> 7, (high & 0x7F) << 16 | middle << 8 | low)
    _check("a pixel of 34 x 34", (x >= SIDE) | (y >= SIDE), events, origin)
    _check("a time below a second", events.time_us >= LONGEST_US, events, origin)
    _check("times in order", np.diff(events.time_us, prepend=0) < 0, events, origin)
    return events


def read_events(path: str | Path) -> Events:
    """Read one recording of N-MNIST, e.g. ``Test/7/00001.bin``, as `parse_events` does.

    Raises:
        InputError: the file cannot be read, or is not a recording of N-MNIST.
    """
    try:
        content = as_path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a recording of N-MNIST; {error.strerror}") from error
    return parse_events(content, str(path))


def _check(wanted: str, bad: NDArray[np.bool_], events: Events, origin: str) -> None:
    if bad.any():
        place = int(bad.argmax())
        x, y, _, time = (int(field[place]) for field in events)
        raise InputError(
            f"{origin}: expected {wanted}; got x = {x}, y = {y} at {time} us in event {place}; the file is damaged"
        )


class Windows:
    """Time windows in which events become spikes: window t covers the times from t to t + 1 times `bin_ms`.

    Args:
        bin_ms: the windows' width in milliseconds.
        steps: number of windows T; later events are dropped. By default the windows cover 306 ms, the usual length of a
            recording; the longest of N-MNIST have about 315 ms.

    Raises:
        InputError: either is not positive, or `bin_ms` is less than a microsecond.

    Example:
        >>> Windows(bin_ms=5.0).steps
        62
    """

    def __init__(self, bin_ms: float = 1.0, steps: int | None = None) -> None:
        check_positive("bin_ms", bin_ms)
        if bin_ms < 1e-3:
            raise InputError(f"bin_ms: expected at least 0.001, the clock's microsecond; got {bin_ms}")
        self.bin_ms = bin_ms
        self.bin_us = round(1000 * bin_ms, 6)  # without the rounding error of 1000 times 16.1
        self.steps = math.ceil(1000 * DURATION_MS / self.bin_us) if steps is None else steps
        check_positive("steps", self.steps, integer=True)


class Packer:
    """Packs recordings into bits, reusing one buffer.

    Args:
        windows: the time windows.
    """

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self._bits = np.zeros((windows.steps, PLACES), dtype=np.bool_)

    def pack(self, place: NDArray[Any], time_us: NDArray[Any]) -> Tensor:
        """Pack events into spikes, uint8 [T, 289]; a bit is 1 if its pixel has at least one event in the window."""
        step = (time_us / self.windows.bin_us).astype(np.int64)
        inside = step < self.windows.steps
        where = step[inside] * PLACES + place[inside]
        flat = self._bits.reshape(-1)
        flat[where] = True
        packed = torch.from_numpy(np.packbits(self._bits, axis=-1, bitorder="little"))
        flat[where] = False
        return packed


@dataclass(frozen=True, eq=False)
class EventDataset(Dataset):
    """Labelled recordings of events, as spikes in discrete time packed to bits.

    ``tsnn_uq.coding.unpack_spikes(images, 2312)`` gives [N, T, 2312], that is [N, T, 2, 34, 34]: polarity (0 OFF,
    1 ON), row and column. A set of 60,000 takes 5.3 GB at 1 ms a window and 1.1 GB at 5 ms.

    Args:
        images: [N, T, 289] uint8, laid out as `tsnn_uq.coding.pack_spikes` does with [N, T, 2312].
        labels: [N] class numbers of any integer dtype, kept as int64.
        name: name of the data set.
        classes: number of classes.
        bin_ms: width of a time step in milliseconds.
        skipped: an error message for each recording that was left out.

    Raises:
        InputError: shapes, dtypes or counts do not fit.
    """

    bin_ms: float = 1.0
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_dims("images", self.images, "[N, T, 289]")
        if self.images.dtype != torch.uint8 or self.images.shape[2] != PLACES // 8:
            raise InputError(f"images: expected packed spikes, uint8 [N, T, 289]; got {describe(self.images)}")
        labels = check_labels("labels", self.labels, self.classes, count=len(self.images))
        object.__setattr__(self, "labels", labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an input in one time step, (polarities, height, width)."""
        return (2, SIDE, SIDE)

    @property
    def steps(self) -> int:
        """Number of time steps T."""
        return self.images.shape[1]

    def events(self, index: int) -> Events:
        """The events of recording `index`, each at the start of its window."""
        bits = np.unpackbits(self.images[index].cpu().numpy(), axis=-1, bitorder="little")
        step, place = bits.nonzero()
        polarity, y, x = np.unravel_index(place, self.shape)
        start = np.ceil(Windows(self.bin_ms, self.steps).bin_us * step)
        return Events(x, y, polarity, start.astype(np.int64))

    def joined(self, other: Self) -> Self:
        """These recordings followed by those of `other`."""
        return replace(super().joined(other), skipped=self.skipped + other.skipped)
