"""CIFAR-10H: the labels that people gave to the test images of CIFAR-10."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.data.verified_files import data_folder

__all__ = ["human_answers"]

FILES = ("cifar10h-test-human-counts.npz", "cifar10h-counts.npy")
SHAPE = (10_000, 10)


def human_answers(data_dir: str | Path | None = None) -> Tensor:
    """Counts of the labels that people gave to each test image of CIFAR-10, 47 to 63 per image.

    CIFAR-10H (Peterson et al. 2019, arXiv 1908.07086; CC BY-NC-SA 4.0, so it is neither downloaded nor part of
    this package). It is looked for in the data folder and its sub-folder ``cifar10h``, as the counts that its authors
    publish (``cifar10h-counts.npy``) or an ``.npz`` file with ``counts``.

    Args:
        data_dir: as for `tsnn_uq.data.data_folder`.

    Returns:
        int64 [10000, 10], in the order of the official test set.

    Raises:
        InputError: the file is missing or invalid.
    """
    folder = data_folder(data_dir)
    places = [folder / place / name for place in ("cifar10h", "") for name in FILES]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        remedy = "download it from https://github.com/jcpeterson/cifar-10h yourself: its licence is non-commercial"
        raise InputError(f"cifar10h: expected {FILES[1]} in {folder / 'cifar10h'}; it is missing ({remedy})")
    try:
        loaded = np.load(path, allow_pickle=False)
        counts = np.asarray(loaded["counts"] if path.suffix == ".npz" else loaded)
    except (KeyError, OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected an array of counts; {error}; replace the file") from error
    whole = counts.shape == SHAPE and np.issubdtype(counts.dtype, np.number) and (counts == np.rint(counts)).all()
    if not whole or counts.min() < 0 or counts.sum(1).min() < 1:
        got = f"{counts.dtype} {list(counts.shape)}"
        raise InputError(f"{path}: expected counts {list(SHAPE)}, at least one per image; got {got}")
    return torch.from_numpy(counts.astype(np.int64))
