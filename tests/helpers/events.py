"""Recordings of events, written as the files of N-MNIST are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

Row = tuple[int, int, int, int]  # x, y, polarity, time in microseconds


def as_bytes(rows: Iterable[Row]) -> bytes:
    """The file's layout as its authors tell it: a number of 40 bits an event, the most significant byte first."""
    return b"".join((x << 32 | y << 24 | p << 23 | t).to_bytes(5, "big") for x, y, p, t in rows)


def write_nmnist(folder: Path, train: int = 3, test: int = 2) -> dict[str, tuple[int, list[Row]]]:
    """A small N-MNIST, `train` and `test` recordings a digit: the digit and the events of each file."""
    rng = np.random.default_rng(0)
    written = {}
    for part, count in (("Train", train), ("Test", test)):
        for number, digit in enumerate(rng.permutation(np.repeat(np.arange(10), count)).tolist(), start=1):
            places, times = rng.integers(0, [34, 34, 2], (20, 3)), np.sort(rng.integers(0, 310_000, 20))
            rows = [(*place, time) for place, time in zip(places.tolist(), times.tolist(), strict=True)]
            path = folder / part / str(digit) / f"{number:05d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(as_bytes(rows))
            written[f"{part}/{digit}/{number:05d}.bin"] = digit, rows
    return written
