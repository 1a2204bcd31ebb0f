"""N-MNIST: MNIST digits recorded by an event camera that moves in three saccades (Orchard et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.data.events import PLACES, EventDataset, Packer, Windows, read_events
from tsnn_uq.data.verified_files import data_folder
from tsnn_uq.files import visible

__all__ = ["FOLDERS", "Recordings", "find_recordings"]

CLASSES = 10
FOLDERS = ("nmnist", "N-MNIST", "NMNIST", "nmnist-small")  # in the data folder, the full set first
FULL = {"train": 60_000, "test": 10_000}
WHERE = "https://www.garrickorchard.com/datasets/n-mnist"


@dataclass(frozen=True)
class Recordings:
    """Recordings on disk, which are read when they are selected.

    Args:
        files: path and digit of each recording.
        name: name of the data set.
        windows: the time windows.
        skip_bad: skip damaged recordings and list them in the data set's ``skipped``, instead of raising.
    """

    files: Sequence[tuple[Path, int]]
    name: str
    windows: Windows
    skip_bad: bool = False

    def __len__(self) -> int:
        """Number of recordings, including damaged ones."""
        return len(self.files)

    def select(self, indices: Tensor) -> EventDataset:
        """Read the recordings at `indices` [M], in this order.

        Raises:
            InputError: a recording is damaged; with `skip_bad`, if all of them are.
        """
        packer, labels, skipped = Packer(self.windows), list[int](), list[str]()
        images = torch.empty(len(indices), self.windows.steps, PLACES // 8, dtype=torch.uint8)
        for path, label in (self.files[index] for index in indices.tolist()):
            try:
                events = read_events(path)
            except InputError as error:
                if not self.skip_bad:
                    raise InputError(f"{error}; replace it, or leave such files out with skip_bad=True") from error
                skipped.append(str(error))
                continue
            images[len(labels)] = packer.pack(events.place, events.time_us)
            labels.append(label)
        if skipped and not labels:
            raise InputError(f"{skipped[0]}; and so are all {len(skipped)} recordings of this part of {self.name}")
        good = torch.tensor(labels, dtype=torch.int64)
        return EventDataset(images[: len(labels)], good, self.name, CLASSES, self.windows.bin_ms, tuple(skipped))


def find_recordings(
    part: Literal["train", "test"],
    data_dir: str | Path | None = None,
    windows: Windows | None = None,
    *,
    skip_bad: bool = False,
) -> Recordings:
    """Find the recordings of a part by their names, in the order of MNIST, without reading them.

    The data set is named ``"nmnist"`` if the part is complete, else ``"nmnist-small"``.

    Args:
        part: ``"train"`` (``Train/<digit>/<number>.bin``) or ``"test"`` (``Test/...``).
        data_dir: as for `data_folder`; the first of `FOLDERS` in it is used.
        windows: the time windows; by default 1 ms each.
        skip_bad: as for `Recordings`.

    Raises:
        InputError: the folder, the part or a digit is missing; there is no automatic download.
    """
    folder = data_folder(data_dir)
    home = next((folder / name for name in FOLDERS if (folder / name).is_dir()), None)
    if home is None:
        remedy = f"it is not fetched automatically: get Train.zip and Test.zip from {WHERE} and unpack both there"
        raise InputError(f"nmnist: expected a folder {folder / FOLDERS[0]} (or {', '.join(FOLDERS[1:])}); {remedy}")
    place = home / part.title()
    files: list[tuple[Path, int]] = []
    for digit in range(CLASSES):
        paths = visible(place / str(digit), "*.bin")
        if not paths:
            remedy = f"unpack {part.title()}.zip from {WHERE} there"
            raise InputError(f"nmnist: expected recordings {place}/0/*.bin to 9; got none of {digit}; {remedy}")
        files += [(path, digit) for path in paths]
    files.sort(key=lambda one: (one[0].stem, one[1]))
    return Recordings(files, "nmnist" if len(files) == FULL[part] else "nmnist-small", windows or Windows(), skip_bad)
