"""Data augmentation: random changes of training images that keep their labels."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, describe

__all__ = ["crop_and_flip"]


def crop_and_flip(images: Tensor, generator: Generator, *, padding: int = 4) -> Tensor:
    """Random crops with zero padding and random horizontal flips.

    Each image is padded with zeros, cropped to its size at a random position, and flipped with probability 1/2, as is
    usual for CIFAR-10 (He et al., 2016). Pass it as `augment` to `tsnn_uq.training.fit`.

    Args:
        images: [N, C, H, W].
        generator: source of the crops and flips, on the images' device.
        padding: largest shift, in pixels.

    Returns:
        [N, C, H, W].

    Raises:
        InputError: `images` are not images, or `padding` is negative.

    Example:
        >>> image = torch.arange(4.0).reshape(1, 1, 2, 2)
        >>> seen = crop_and_flip(image, torch.Generator().manual_seed(0), padding=0).flatten().tolist()
        >>> seen in ([0.0, 1.0, 2.0, 3.0], [1.0, 0.0, 3.0, 2.0])
        True
    """
    if images.dim() != 4:
        raise InputError(f"images: expected shape [N, C, H, W]; got {describe(images)}")
    if padding < 0:
        raise InputError(f"padding: expected a whole number of at least 0; got {padding}")
    count, _, height, width = images.shape
    down, right = torch.randint(2 * padding + 1, (2, count, 1), generator=generator, device=images.device)
    flip = torch.randint(2, (count, 1), generator=generator, device=images.device).bool()
    rows = down + torch.arange(height, device=images.device)  # [N, H], in the padded image
    columns = torch.arange(width, device=images.device)
    columns = right + torch.where(flip, width - 1 - columns, columns)  # [N, W]
    padded = functional.pad(images, (padding,) * 4)
    which = torch.arange(count, device=images.device)[:, None, None]
    return padded.movedim(1, 3)[which, rows[:, :, None], columns[:, None, :]].movedim(3, 1).contiguous()
