"""Out-of-distribution test sets: noise, and images of other sets fitted to a network's input shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.data.images import Dataset
from tsnn_uq.seeds import generator_for

__all__ = ["fitted", "noise"]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's mode "L"


def noise(count: int = 5000, *, shape: Sequence[int] = (1, 28, 28), seed: int = 0) -> Dataset:
    """Images with independent pixels, uniform in [0, 1]; they have one class.

    Args:
        count: number of images N.
        shape: channels, height and width of an image.
        seed: seed of all pixels.

    Raises:
        InputError: `count` is not a positive whole number.

    Example:
        >>> noise(2).shape
        (1, 28, 28)
    """
    check_positive("count", count, integer=True)
    images = torch.rand(count, *shape, generator=generator_for(seed, "noise"))
    return Dataset(images, torch.zeros(count, dtype=torch.int64), "noise", classes=1)


def fitted(dataset: Dataset, shape: Sequence[int]) -> Dataset:
    """Convert images to the input `shape` of a network.

    Coloured images are converted to grey by luma, grey ones are repeated in three channels. Larger images are resized
    (bilinearly with antialiasing, each side separately), smaller ones are padded with zeros on all sides.

    Args:
        dataset: images [N, C, H, W].
        shape: channels, height and width.

    Raises:
        InputError: the inputs are not images, or `shape` is not that of an image.

    Example:
        >>> fitted(noise(2), (3, 32, 32)).shape
        (3, 32, 32)
    """
    shape = tuple(shape)
    if dataset.shape == shape:
        return dataset
    if len(dataset.shape) != 3 or len(shape) != 3 or {dataset.shape[0], shape[0]} - {1, 3}:
        wanted = f"images, to be fitted to shape {list(shape)}"
        raise InputError(f"dataset: expected {wanted}; got {dataset.name} of shape {list(dataset.shape)}")
    images = _coloured(dataset.images, shape[0])
    height, width = (min(own, side) for own, side in zip(images.shape[2:], shape[1:], strict=True))
    if images.shape[2:] != (height, width):
        images = functional.interpolate(images, (height, width), mode="bilinear", antialias=True).clamp(0, 1)
    tall, wide = shape[1] - height, shape[2] - width
    images = functional.pad(images, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
    return replace(dataset, images=images)


def _coloured(images: Tensor, channels: int) -> Tensor:
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    return torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA)).clamp(0, 1).unsqueeze(1)
