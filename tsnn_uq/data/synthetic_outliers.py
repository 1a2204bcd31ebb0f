"""Synthetic outliers made from training images, for outlier exposure.

They are made from the training images alone, so that no evaluation set is used in training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, describe

__all__ = ["OUTLIERS", "blended", "blobs", "outliers", "shuffled", "smooth_noise"]

PATCHES = 4  # along each side
WAVES = (4, 8, 32)  # grid points of the smooth noise along the longer side, coarse to fine


def shuffled(images: Tensor, generator: Generator) -> Tensor:
    """Images cut into 4 x 4 patches in a random order per image.

    Args:
        images: [N, C, H, W]; sides not divisible by 4 are padded with the darkest value and cropped afterwards.
        generator: source of the orders, on the images' device.

    Returns:
        [N, C, H, W].
    """
    _check(images)
    count, channels, height, width = images.shape
    tall, wide = -(-height // PATCHES), -(-width // PATCHES)
    rim = (0, wide * PATCHES - width, 0, tall * PATCHES - height)
    padded = functional.pad(images, rim, value=images.min().item())
    patches = padded.unfold(2, tall, tall).unfold(3, wide, wide).flatten(2, 3)  # [N, C, 16, tall, wide]
    order = _uniform((count, PATCHES**2), images, generator).argsort(1)
    patches = patches.gather(2, order[:, None, :, None, None].expand_as(patches))
    rows = patches.unflatten(2, (PATCHES, PATCHES)).transpose(3, 4)  # [N, C, 4, tall, 4, wide]
    return rows.reshape(count, channels, tall * PATCHES, wide * PATCHES)[..., :height, :width].contiguous()


def smooth_noise(images: Tensor, generator: Generator) -> Tensor:
    """Noise of three wavelengths in random proportions, stretched over the images' range of values.

    Args:
        images: [N, C, H, W], which set the shape, dtype and range of values.
        generator: source of the noise, on the images' device.

    Returns:
        [N, C, H, W]; each image reaches both ends of the range.
    """
    _check(images)
    shares = -_uniform((len(WAVES), len(images), 1, 1, 1), images, generator).clamp_min_(1e-6).log_()
    waves = [share * _wave(images, knots, generator) for share, knots in zip(shares, WAVES, strict=True)]
    return _stretched(torch.stack(waves).sum(0), *images.aminmax())


def blobs(images: Tensor, generator: Generator) -> Tensor:
    """Bright spots on a dark background: coarse noise above a random level.

    Args:
        images: [N, C, H, W], which set the shape, dtype and range of values.
        generator: source of the noise and the levels, on the images' device.

    Returns:
        [N, C, H, W].
    """
    _check(images)
    level = 0.4 + 0.4 * _uniform((len(images), 1, 1, 1), images, generator)
    low, high = images.aminmax()
    noise = _stretched(_wave(images, 2 * WAVES[0], generator), torch.zeros_like(low), torch.ones_like(high))
    return torch.where(noise > level, torch.lerp(low, high, noise), low)


def blended(images: Tensor, generator: Generator) -> Tensor:
    """Means of three different images, scaled to the maximum of the three.

    Two images would too often be of the same class.

    Args:
        images: [N, C, H, W] with N >= 3.
        generator: source of the choice, on the images' device.

    Returns:
        [N, C, H, W].

    Raises:
        InputError: fewer than three images.
    """
    _check(images)
    if len(images) < 3:
        raise InputError(f"images: expected at least three to blend; got {len(images)}")
    order = torch.randperm(len(images), generator=generator, device=images.device)
    three = torch.stack([images[order.roll(shift)] for shift in range(3)]) - images.min()
    mean, brightest = three.mean(0), three.amax((0, 2, 3, 4))
    peak = mean.amax((1, 2, 3)).clamp_min(torch.finfo(images.dtype).tiny)
    scale, most = (value.view(-1, 1, 1, 1) for value in (brightest / peak, brightest))
    return torch.minimum(mean * scale, most) + images.min()  # rounding must not exceed the maximum


OUTLIERS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "shuffled": shuffled,
    "smooth-noise": smooth_noise,
    "blobs": blobs,
    "blended": blended,
}
"""By kind, a function (images, generator) -> outliers."""


def outliers(images: Tensor, generator: Generator) -> Tensor:
    """Make outliers of all kinds in equal numbers, in total as many as there are images.

    Args:
        images: [N, C, H, W] of the training set, floats.
        generator: source of all choices, on the images' device.

    Returns:
        [N, C, H, W], in the range of the values of `images`. Blended outliers need at least 12 images.

    Raises:
        InputError: `images` are not images; there are no outliers for events.

    Example:
        >>> outliers(torch.rand(8, 1, 28, 28), torch.Generator().manual_seed(0)).shape
        torch.Size([8, 1, 28, 28])
    """
    _check(images)
    kinds = [make for make in OUTLIERS.values() if make is not blended or len(images) >= 3 * len(OUTLIERS)]
    parts = images.tensor_split(len(kinds))
    return torch.cat([make(part, generator) if len(part) else part for make, part in zip(kinds, parts, strict=True)])


def _check(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point():
        wanted = "floating-point images of shape [N, C, H, W]"
        raise InputError(f"images: expected {wanted}; got {describe(images)} (there are no outliers for events)")


def _uniform(shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)


def _wave(images: Tensor, knots: int, generator: Generator) -> Tensor:
    """Random values on a grid with `knots` points along the longer side, interpolated to [N, C, H, W]."""
    count, channels, *sides = images.shape
    places = [max(1, -(-side * knots // max(sides))) for side in sides]
    values = _uniform((count, channels, *places), images, generator)
    return functional.interpolate(values, sides, mode="bilinear", align_corners=False)


def _stretched(noise: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Scale each image of `noise` to the range from `low` to `high`; a constant image becomes `low`."""
    least, most = noise.amin((1, 2, 3), keepdim=True), noise.amax((1, 2, 3), keepdim=True)
    share = (noise - least) / (most - least).clamp_min(torch.finfo(noise.dtype).tiny)
    return torch.lerp(low, high, share)
