"""Affine maps of images: given maps, or a small random map for each image."""

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
    """Rotate, scale, shear and shift each image at random, bilinearly, with zeros outside the image.

    Each amount is drawn for each image, uniformly between minus its bound and the bound.

    Args:
        images: [N, C, H, W].
        generator: source of the maps, on the images' device.
        degrees: bound of the angle.
        scale: bound of the relative change of size, at most 0.9.
        shear: bound of the shear, the shift of a row relative to its distance from the middle.
        shift: bound of the shift, relative to the side.

    Returns:
        [N, C, H, W].

    Raises:
        InputError: `images` are not images, or a bound is out of range.

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
    right, down = 2 * shift * draws[3:]  # coordinates of affine_grid span 2
    cos, sin, size = angle.cos(), angle.sin(), 1 + larger
    rows = torch.stack([size * cos, slant - size * sin, right], -1), torch.stack([size * sin, size * cos, down], -1)
    return mapped(images, torch.stack(rows, dim=1))


def mapped(images: Tensor, matrices: Tensor) -> Tensor:
    """Map images affinely about their centres, bilinearly, with zeros outside the image.

    Args:
        images: [N, C, H, W].
        matrices: [N or 1, 2, 3], from output to input coordinates (x to the right, y down); shifts are in half sides.

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
