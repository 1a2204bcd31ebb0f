"""Images and their labels as tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from tsnn_uq.checks import InputError, check_dims, check_fraction, check_labels, check_positive, describe
from tsnn_uq.data.cifar_format import parse_records
from tsnn_uq.data.download_sources import File, Source
from tsnn_uq.data.idx_format import parse_idx
from tsnn_uq.data.verified_files import obtain
from tsnn_uq.seeds import generator_for

__all__ = ["Dataset", "digits", "read_part"]


@dataclass(frozen=True, eq=False)
class Dataset(TensorDataset):
    """Labelled images, grey or coloured; also a torch Dataset of pairs (image, label).

    Args:
        images: [N, C, H, W] float32 intensities in [0, 1].
        labels: [N] class numbers of any integer dtype, kept as int64.
        name: name of the data set, for tables and messages.
        classes: number of classes.

    Raises:
        InputError: shapes, dtypes, values or counts do not fit.
    """

    images: Tensor
    labels: Tensor
    name: str
    classes: int

    def __post_init__(self) -> None:
        check_dims("images", self.images, "[N, C, H, W]")
        if self.images.shape[1] not in (1, 3) or self.images.dtype != torch.float32:
            wanted = "float32 of shape [N, 1, H, W] or [N, 3, H, W]"
            raise InputError(f"images: expected {wanted}; got {describe(self.images)}")
        if self.images.numel():
            for bound in torch.aminmax(self.images):
                check_fraction("images", bound.item())
        labels = check_labels("labels", self.labels, self.classes, count=len(self.images))
        object.__setattr__(self, "labels", labels)

    @property
    def tensors(self) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Images and labels, as in torch's ``TensorDataset``."""
        return self.images, self.labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an input without time, (channels, height, width)."""
        return tuple(self.images.shape[1:])

    def select(self, indices: Tensor) -> Self:
        """The images at `indices` [M], in this order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def joined(self, other: Self) -> Self:
        """These images followed by those of `other`."""
        images, labels = torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels])
        return replace(self, images=images, labels=labels)

    def subset(self, count: int, *, seed: int = 0) -> Self:
        """`count` images drawn without replacement. With the same seed, a smaller subset is the start of a larger one.

        Images are drawn at random, since the first half of MNIST's test set is easier than the second.

        Raises:
            InputError: `count` is not a whole number from 1 to N.
        """
        check_positive("count", count, integer=True)
        if count > len(self):
            raise InputError(f"count: expected at most {len(self)} (all of {self.name}); got {count}")
        order = torch.randperm(len(self), generator=generator_for(seed, "subset", self.name))
        return self.select(order[:count])


def digits() -> Dataset:
    """All 1,797 images of 8 x 8 pixels that come with scikit-learn (UCI Optical Recognition of Handwritten Digits)."""
    pixels, labels = _digits()
    images = torch.tensor(pixels, dtype=torch.float32).div(16).unsqueeze(1)
    return Dataset(images, torch.tensor(labels, dtype=torch.int64), "digits", classes=10)


@cache
def _digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels and labels from scikit-learn. They are cached, since parsing its text file takes a tenth of a second."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target


def read_part(source: Source, part: Literal["train", "test"], data_dir: str | Path | None = None) -> Dataset:
    """Read one part of a data set from its verified files, which are downloaded if missing.

    Args:
        source: its entry in the registry.
        part: ``"train"`` or ``"test"``; the files of the other part may be missing.
        data_dir: as for `data_folder`.

    Raises:
        InputError: a file is damaged, or missing and cannot be downloaded; or there are not as many labels as images.
    """
    files: tuple[File, ...] = getattr(source, part)
    found = [obtain(source, file, data_dir) for file in files]
    if source.layout == "cifar":
        parts = [parse_records(content, source.shape) for _, content in found]
        pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    else:
        pixels, labels = _idx_pair(*found)
        if source.layout == "emnist":
            pixels, labels = pixels.swapaxes(2, 3), labels - 1
    images = torch.from_numpy(pixels.astype("float32")).div_(255)
    return Dataset(images, torch.from_numpy(labels.astype("int64")), source.name, source.classes)


def _idx_pair(images: tuple[Path, bytes], labels: tuple[Path, bytes]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels [N, 1, H, W] and labels [N] of two idx files."""
    pixels, classes = (parse_idx(content, str(path)) for path, content in (images, labels))
    if pixels.ndim != 3 or classes.shape != pixels.shape[:1]:
        wanted = f"one label for each image of {images[0]}"
        shapes = f"shapes {list(pixels.shape)} and {list(classes.shape)}"
        raise InputError(f"{labels[0]}: expected {wanted}; got {shapes}; replace both files")
    return pixels[:, None], classes
