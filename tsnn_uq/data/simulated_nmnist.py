"""Recordings like those of N-MNIST, simulated from MNIST once and cached in the data folder.

They are always named ``nmnist-simulated`` and never mixed with real ones. The simulation (`tsnn_uq.data.event_camera`)
was fitted to N-MNIST's training recordings 1 to 1,000, which show MNIST's first 1,000 training images, so that each
can be compared with the simulation of its image. All 1,000, real and simulated:

    events a recording, mean and standard deviation     4,133 +- 1,154     4,125 +- 1,107    (correlation 0.996)
    share of ON events                                  0.500 +- 0.007     0.501 +- 0.004
    events OFF, by saccade (0-90, 90-225, 225 ms on)    737, 715, 621      767, 709, 585
    events ON, by saccade                               729, 716, 615      732, 714, 618
    time between two events of a pixel, median          4.2 ms (same sign), 27.6 (other sign)    4.6, 27.0

The rates of OFF and ON events over time, in 5 ms, correlate with 0.991; the mean pictures of the six (polarity,
saccade) with 0.981 to 0.985, and those of single recordings, pixel by pixel, with 0.94. The simulation does not have
the real sensor's pattern of thresholds, nor other causes of differences between real recordings of the same image.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from stat import S_IWUSR
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.data.download_sources import SOURCES
from tsnn_uq.data.events import PLACES, EventDataset, Packer, Windows
from tsnn_uq.data.images import read_part
from tsnn_uq.data.verified_files import Progress, data_folder, silent
from tsnn_uq.files import read_tensors, require_writable, write_tensors
from tsnn_uq.seeds import derive_seed

__all__ = ["NAME", "SimulatedRecordings", "cached", "simulated_recordings"]

NAME = "nmnist-simulated"
SEED = 0  # the same for all runs, since the simulation is part of the data
VERSION = 1  # increase when the simulation changes in more than its settings
KIND = "simulated recordings"
BLOCK = 500  # simulated between two calls of `progress`


@dataclass(frozen=True, eq=False)
class SimulatedRecordings:
    """Simulated recordings, which are binned when they are selected.

    Args:
        words: int32 [E], the events of all recordings, each ``time_us << 12 | place`` as returned by `record`.
        ends: int64 [N], the number of events up to the end of each recording.
        labels: int64 [N].
        windows: the time windows.
    """

    words: Tensor
    ends: Tensor
    labels: Tensor
    windows: Windows
    name: str = NAME

    def __len__(self) -> int:
        """Number of recordings."""
        return len(self.labels)

    def select(self, indices: Tensor) -> EventDataset:
        """The recordings at `indices` [M], in this order, as spikes in discrete time."""
        from tsnn_uq.data.event_camera import TIME_BIT

        packer, words = Packer(self.windows), self.words.numpy()
        images = torch.empty(len(indices), self.windows.steps, PLACES // 8, dtype=torch.uint8)
        for image, index in zip(images, indices.tolist(), strict=True):
            events = words[int(self.ends[index - 1]) if index else 0 : int(self.ends[index])]
            image.copy_(packer.pack(events & (1 << TIME_BIT) - 1, events >> TIME_BIT))
        return EventDataset(images, self.labels[indices], NAME, SOURCES["mnist"].classes, self.windows.bin_ms)


def simulated_recordings(
    part: Literal["train", "test"],
    data_dir: str | Path | None = None,
    windows: Windows | None = None,
    progress: Progress = silent,
) -> SimulatedRecordings:
    """Load the simulated recordings of a part of MNIST from the cache; on the first call, simulate and cache them.

    Simulating 60,000 recordings takes some minutes. The cache is the folder ``cache`` of the data folder, or of the
    user's cache folder if the data folder is not writable.

    Args:
        part: ``"train"`` or ``"test"``.
        data_dir: as for `data_folder`; MNIST is read from it, or downloaded to it.
        windows: the time windows; by default 1 ms each.
        progress: called while recordings are simulated.

    Raises:
        InputError: MNIST is missing and cannot be downloaded, no cache folder is writable, or the cached file is
            damaged.
    """
    path = cached(part, data_dir)
    if path is None:
        path = _simulate(part, data_dir, progress)
    tensors, _ = read_tensors(path, KIND)
    words, ends, labels = (tensors.get(name, torch.empty(0)) for name in ("words", "ends", "labels"))
    if len(labels) != len(ends) or not len(ends) or int(ends[-1]) != len(words):
        raise InputError(f"{path}: expected words, ends and labels of {KIND}; it is damaged (delete it)")
    return SimulatedRecordings(words, ends, labels, windows or Windows())


def cached(part: Literal["train", "test"], data_dir: str | Path | None = None) -> Path | None:
    """The path of the cached recordings of a part, or None."""
    return next((path for path in _cache_paths(part, data_dir) if path.is_file()), None)


def _settings(part: Literal["train", "test"]) -> dict[str, Any]:
    """All settings that determine the simulated recordings of a part."""
    from tsnn_uq.data.event_camera import HOT, PATH, STEP_PIXELS, Camera

    images, labels = getattr(SOURCES["mnist"], part)
    simulation = {"camera": vars(Camera()), "path": PATH, "hot": HOT, "step_pixels": STEP_PIXELS}
    return {"version": VERSION, "seed": SEED, "images": images.sha256, "labels": labels.sha256, **simulation}


def _cache_paths(part: Literal["train", "test"], data_dir: str | Path | None) -> list[Path]:
    import pooch

    # The settings are too many for a file name, so it has their hash; the file's header has all of them.
    digest = hashlib.sha256(repr(_settings(part)).encode()).hexdigest()[:16]
    folders = dict.fromkeys((data_folder(data_dir), Path(pooch.os_cache("tsnn-uq"))))
    return [folder / "cache" / f"{NAME}-{part}-{digest}.safetensors" for folder in folders]


def _writable_path(places: list[Path]) -> Path:
    for path in places[:-1]:
        data = path.parent.parent
        if data.is_dir() and not data.stat().st_mode & S_IWUSR:
            continue  # marked read-only; a superuser could write there all the same
        try:
            require_writable(path.parent)
        except InputError:
            continue
        return path
    require_writable(places[-1].parent)
    return places[-1]


def _simulate(part: Literal["train", "test"], data_dir: str | Path | None, progress: Progress) -> Path:
    import pooch

    from tsnn_uq.data.event_camera import Camera, Sensor, record

    path = _writable_path(_cache_paths(part, data_dir))
    mnist = read_part(SOURCES["mnist"], part, data_dir)
    pooch.get_logger().info("simulating %d recordings, once, into %s", len(mnist), path)
    images = (255 * mnist.images[:, 0]).round().to(torch.uint8).numpy()
    made, noise = (np.random.default_rng(derive_seed(SEED, NAME, purpose)) for purpose in ("sensor", part))
    camera, recordings = Camera(), []
    sensor = Sensor(camera, made)
    for block in np.split(images, range(BLOCK, len(images), BLOCK)):
        recordings += record(block, camera, sensor, noise)
        progress(f"{NAME} {part}", len(recordings), len(images))
    ends = torch.tensor([len(words) for words in recordings]).cumsum(0)
    tensors = {"words": torch.from_numpy(np.concatenate(recordings)), "ends": ends, "labels": mnist.labels}
    write_tensors(path, tensors, {"kind": KIND, **_settings(part)})
    return path
