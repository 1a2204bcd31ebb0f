"""Images as they might have been written: turned, scaled, sheared and moved a little, each in its own way."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, describe

__all__ = ["mapped", "warped"]


def warped(
    images: Tensor,
    generator: Generator,
    *,
    degrees: float = 25.0,
    scale: float = 0.2,
    shear: float = 0.25,
    shift: float = 0.1,
) -> Tensor:
    """Random affine maps of images, bilinear; what comes in from outside is 0.

    Each of the numbers is uniform between the bound and its negative, another for each image.

    Args:
        images: [N, C, H, W].
        generator: source of the maps, on the images' device.
        degrees: bound of the angle.
        scale: bound of how much larger or smaller, as a share of the size, at most 0.9.
        shear: bound of the shear: rows move by that share of their distance from the middle.
        shift: bound of the moves, as a share of the sides.

    Returns:
        [N, C, H, W].

    Raises:
        InputError: no images, or a bound out of range.

    Example:
        >>> image = torch.zeros(1, 1, 5, 5)
        >>> image[..., 2] = 1
        >>> still = warped(image, torch.Generator().manual_seed(0), degrees=0, scale=0, shear=0, shift=0)
        >>> torch.equal(still, image)
        True
    """
    if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point():
        raise InputError(f"images: expected floats of shape [N, C, H, W]; got {describe(images)}")
    bounds = {"degrees": (degrees, 180.0), "scale": (scale, 0.9), "shear": (shear, 10.0), "shift": (shift, 1.0)}
    for name, (bound, most) in bounds.items():
        if not 0 <= bound <= most:
            raise InputError(f"{name}: expected 0 to {most:g}; got {describe(bound)}")
    draws = 2 * torch.rand(5, len(images), generator=generator, dtype=images.dtype, device=images.device) - 1
    angle, larger, slant = math.radians(degrees) * draws[0], scale * draws[1], shear * draws[2]
    right, down = 2 * shift * draws[3:]  # for affine_grid, sides are 2 long
    cos, sin, size = angle.cos(), angle.sin(), 1 + larger
    rows = torch.stack([size * cos, slant - size * sin, right], -1), torch.stack([size * sin, size * cos, down], -1)
    return mapped(images, torch.stack(rows, dim=1))


def mapped(images: Tensor, matrices: Tensor) -> Tensor:
    """Images under affine maps about their centres, bilinearly; what comes in from outside is 0.

    Args:
        images: [N, C, H, W].
        matrices: [N or 1, 2, 3], from output to input: x to the right, then y down, and moves in halves of a side.

    Returns:
        [N, C, H, W].
    """
    height, width = images.shape[2:]
    matrices = matrices.clone()  # for affine_grid both axes end at 1, whatever the image's sides are
    matrices[:, 0, 1].mul_(height).div_(width)
    matrices[:, 1, 0].mul_(width).div_(height)
    size = [len(matrices), *images.shape[1:]]
    grid = functional.affine_grid(matrices.to(images), size, align_corners=False)
    return functional.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=False)
