"""Spoken digits (Free Spoken Digit Dataset, Jakobovski et al.): mel energies over time, as currents or as spikes."""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import tarfile
import wave
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tsnn_uq.checks import InputError, check_choice, check_labels, check_positive
from tsnn_uq.data.images import Dataset
from tsnn_uq.data.splits import Splits
from tsnn_uq.data.verified_files import data_folder
from tsnn_uq.files import visible
from tsnn_uq.seeds import generator_for

__all__ = ["CODES", "SPEAKERS", "SpokenDataset", "level_crossings", "load_spoken_digits", "mel_energies"]

NAME = "fsdd"
WHERE = "https://github.com/Jakobovski/free-spoken-digit-dataset"
FOLDERS = (NAME, "free-spoken-digit-dataset", "free-spoken-digit-dataset-master")
SHA256 = "45a9b976ba3397a2fd5c70a9f2e43c34f442a3a6be47392ecfc41174b678f37e"  # of all files in order of name
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
CLASSES, TAKES, TESTED = 10, 50, 5  # the first takes of each digit and speaker are the official test part
VALIDATION = 300
RATE, WINDOW, HOP, POINTS = 8000, 200, 100, 256  # samples: per second, window, step and transform
RANGE_DB = 60.0  # between the loudest band and frame of a recording and silence
CODES = ("crossings", "current")


@dataclass(frozen=True, eq=False)
class SpokenDataset(Dataset):
    """Labelled recordings over time.

    Args:
        images: [N, T, ...]: currents, float32 [N, T, 1, 1, B]; or spikes packed to bits, uint8 [N, T, bytes], as
            `tsnn_uq.coding.pack_spikes` does with [N, T, 2 L B].
        labels: [N] digits.
        name: name of the data set.
        classes: number of classes.
        one_step: shape of an input in one time step, (1, 1, B) or (2, L, B): directions, levels and bands.
    """

    one_step: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        labels = check_labels("labels", self.labels, self.classes, count=len(self.images))
        object.__setattr__(self, "labels", labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an input in one time step."""
        return self.one_step


def mel_energies(samples: NDArray[Any], *, frames: int = 50, bands: int = 32) -> NDArray[np.float32]:
    """Logarithmic mel energies of a recording over time, from 0 (60 dB below the loudest) to 1.

    The power of the short-time Fourier transform (Hann windows of 25 ms, every 12.5 ms) is summed with triangular
    filters, evenly spaced on the mel scale 2595 log10(1 + f / 700) from 0 to 4 kHz.

    Args:
        samples: [n], 8,000 per second.
        frames: number of windows T; longer recordings are cut off, shorter ones padded with silence.
        bands: number of filters B.

    Returns:
        [T, B] float32.

    Raises:
        InputError: `frames` or `bands` is not a positive whole number.

    Example:
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)
        >>> energies = mel_energies(tone, frames=40, bands=8)
        >>> energies.shape, energies[10].argmax(), round(float(energies.max()), 3)
        ((40, 8), np.int64(3), 1.0)
    """
    check_positive("frames", frames, integer=True)
    check_positive("bands", bands, integer=True)
    heard = np.zeros((frames - 1) * HOP + WINDOW)
    heard[: len(samples)] = samples[: len(heard)]
    windows = np.lib.stride_tricks.sliding_window_view(heard, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(windows * hann, POINTS)) ** 2
    energy = power @ _triangles(bands)
    loudest = energy.max()
    if loudest == 0:
        return np.zeros((frames, bands), np.float32)
    decibels = 10 * np.log10(np.maximum(energy / loudest, 10 ** (-RANGE_DB / 10)))
    return (1 + decibels / RANGE_DB).astype(np.float32)


@cache
def _triangles(bands: int) -> NDArray[np.float64]:
    """Weights [frequencies, bands] of the triangular filters."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = np.arange(POINTS // 2 + 1)[:, None] * RATE / POINTS
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def level_crossings(energies: NDArray[Any], levels: int = 4) -> NDArray[np.bool_]:
    """Spikes where an energy crosses a level: one neuron for each direction, level and band.

    The levels are (l + 1/2) / L. The first frame is compared with silence.

    Args:
        energies: [T, B], from 0 to 1.
        levels: number of levels L.

    Returns:
        [T, 2, L, B]: falling, then rising.

    Example:
        >>> level_crossings(np.array([[0.3], [0.9], [0.9], [0.0]]), levels=2)[..., 0].astype(int).tolist()
        [[[0, 0], [1, 0]], [[0, 0], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [0, 0]]]
    """
    check_positive("levels", levels, integer=True)
    above = energies[:, None, :] >= ((np.arange(levels) + 0.5) / levels)[:, None]
    before = np.concatenate([np.zeros_like(above[:1]), above[:-1]])
    return np.stack([before & ~above, above & ~before], axis=1)


def load_spoken_digits(
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    folds: int = 0,
    code: str = "crossings",
    steps: int = 50,
    bands: int = 32,
    levels: int = 4,
) -> Splits:
    """Load the 3,000 recordings of ten digits by six speakers.

    The official test part has takes 0 to 4 of each digit and speaker. With ``folds=6`` the test part has all takes of
    one speaker, and the other parts have none of them.

    Args:
        data_dir: folder that has the recordings or their archive in one of `FOLDERS`; see
            `tsnn_uq.data.data_folder`.
        seed: seed of the choice of 300 validation recordings; with folds, also selects the speaker left out.
        folds: 0, or 6 to leave one speaker out.
        code: ``"crossings"`` for spikes, see `level_crossings`; or ``"current"`` for `mel_energies` themselves.
        steps: number of time steps T of 12.5 ms.
        bands: number of mel bands B.
        levels: number of levels of the crossings.

    Raises:
        InputError: recordings are missing, damaged or not those of the data set, or a value is out of range.
    """
    check_choice("code", code, CODES)
    if folds not in (0, len(SPEAKERS)):
        raise InputError(f"folds: expected 0, or {len(SPEAKERS)} to leave one speaker out; got {folds}")
    recordings = _read(data_folder(data_dir))
    names = sorted(recordings)
    digits, speakers, takes = (np.array(column) for column in zip(*map(_parsed, names), strict=True))
    energies = np.stack([mel_energies(recordings[name], frames=steps, bands=bands) for name in names])
    if code == "current":
        images, one_step = torch.from_numpy(energies)[:, :, None, None], (1, 1, bands)
    else:
        spikes = np.stack([level_crossings(one, levels) for one in energies]).reshape(len(names), steps, -1)
        images, one_step = torch.from_numpy(np.packbits(spikes, -1, bitorder="little")), (2, levels, bands)
    everything = SpokenDataset(images, torch.from_numpy(digits), NAME, CLASSES, one_step)
    tested = torch.from_numpy(speakers == seed % folds if folds else takes < TESTED)
    rest = (~tested).nonzero()[:, 0]
    order = rest[torch.randperm(len(rest), generator=generator_for(seed, "validation", NAME))]
    parts = order[VALIDATION:], order[:VALIDATION], tested.nonzero()[:, 0]
    train, validation, test = map(everything.select, parts)
    return Splits(train, validation, test, NAME)


def _parsed(name: str) -> tuple[int, int, int]:
    """Digit, speaker's index and take from a file name."""
    digit, speaker, take = name.removesuffix(".wav").split("_")
    return int(digit), SPEAKERS.index(speaker), int(take)


def _read(folder: Path) -> Mapping[str, NDArray[np.int16]]:
    """Verify the recordings and return the samples of each by name."""
    wanted = {f"{digit}_{who}_{take}.wav" for digit in range(CLASSES) for who in SPEAKERS for take in range(TAKES)}
    remedy = f"download it yourself from {WHERE}"
    for home in (folder / name for name in FOLDERS):
        found = {name: content for name, content in _files(home) if name in wanted}
        if not found:
            continue
        if missing := sorted(wanted - found.keys()):
            raise InputError(f"{home}: expected {len(wanted)} recordings; {missing[0]} is missing; {remedy}")
        digest = hashlib.sha256()
        for name in sorted(found):
            digest.update(name.encode() + found[name])
        if digest.hexdigest() != SHA256:
            got = digest.hexdigest()[:12]
            raise InputError(f"{home}: expected recordings with SHA-256 {SHA256[:12]}...; got {got}...; {remedy}")
        return {name: _samples(content) for name, content in found.items()}
    raise InputError(f"{NAME}: expected recordings or their archive in {folder / NAME}; found none; {remedy}")


def _files(home: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the sound files in a folder, or in the first archive in it."""
    sounds: Sequence[Path] = [*visible(home / "recordings", "*.wav"), *visible(home, "*.wav")]
    if sounds:
        yield from ((path.name, path.read_bytes()) for path in sounds)
        return
    for path in visible(home, "*.tar.*"):
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    if re.search(r"\.wav$", member.name) and (stream := archive.extractfile(member)):
                        yield Path(member.name).name, stream.read()
        except (EOFError, OSError, lzma.LZMAError, tarfile.TarError, zlib.error) as error:
            raise InputError(f"{path}: expected an archive of recordings; {error}; replace it") from error
        return


def _samples(content: bytes) -> NDArray[np.int16]:
    """The samples of a verified sound file: 16 bits, one channel, 8,000 per second."""
    with wave.open(io.BytesIO(content)) as sound:
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
