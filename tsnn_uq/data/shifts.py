"""Shifted images (rotated, noisy, blurred), to test how uncertainty grows with the shift."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, check_choice, check_dims, describe
from tsnn_uq.data.affine_maps import mapped
from tsnn_uq.data.corruptions import KINDS, check_severity, corrupted
from tsnn_uq.seeds import generator_for

__all__ = ["SHIFTS", "apply_shift", "blurred", "noisy", "parse_shift", "rotated"]


def rotated(images: Tensor, degrees: float) -> Tensor:
    """Images rotated counter-clockwise about their centre, bilinearly, with zeros outside the image.

    Args:
        images: [N, C, H, W] in [0, 1].
        degrees: angle.

    Returns:
        [N, C, H, W] in [0, 1].
    """
    _check("degrees", degrees, -math.inf, images)
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    turned = mapped(images, torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]], dtype=torch.float64))
    return turned.clamp(0, 1)  # rounded weights may sum to slightly more than 1


def noisy(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Images plus Gaussian noise, clipped: clip(x + sigma z, 0, 1) with z ~ N(0, 1) for each pixel.

    Args:
        images: [N, C, H, W] in [0, 1].
        sigma: standard deviation of the noise, in units of the full intensity.
        generator: source of the noise, on the images' device.

    Returns:
        [N, C, H, W] in [0, 1].
    """
    _check("sigma", sigma, 0, images)
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype, device=images.device)
    return (images + sigma * noise).clamp(0, 1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images convolved with a Gaussian, cut off at four sigma and normalized; outside the image is 0.

    Args:
        images: [N, C, H, W] in [0, 1].
        sigma: standard deviation of the Gaussian in pixels, at most the image's longer side.

    Returns:
        [N, C, H, W] in [0, 1].
    """
    _check("sigma", sigma, 0, images)
    if sigma > max(images.shape[2:]):
        raise InputError(
            f"sigma: expected at most the image's longer side, {max(images.shape[2:])}; got {describe(sigma)}"
        )
    if sigma == 0:
        return images.clone()
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.softmax(-0.5 * (offsets / sigma) ** 2, 0).to(images)
    planes = images.flatten(0, 1).unsqueeze(1)
    across = functional.conv2d(planes, weights.view(1, 1, 1, -1), padding=(0, radius))
    down = functional.conv2d(across, weights.view(1, 1, -1, 1), padding=(radius, 0))
    return down.clamp(0, 1).reshape(images.shape)


# By name, a function (images, amount, generator) -> images.
SHIFTS: dict[str, Callable[[Tensor, float, Generator], Tensor]] = {
    "rotate": lambda images, amount, _: rotated(images, amount),
    "noise": noisy,
    "blur": lambda images, amount, _: blurred(images, amount),
}


def parse_shift(text: str) -> tuple[str, float]:
    """Name and amount of a shift of `SHIFTS`, or kind and severity of a corruption.

    Raises:
        InputError: the name is unknown, the amount is not a finite number, or the kind has no such severity.

    Example:
        >>> parse_shift("rotate=30"), parse_shift("fog=3")
        (('rotate', 30.0), ('fog', 3.0))
    """
    name, _, number = text.partition("=")
    check_choice("shift", name, (*SHIFTS, *KINDS))
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount):
        raise InputError(f"shift: expected {name}=NUMBER; got {describe(text)}")
    if name in KINDS:
        check_severity(name, amount)
    return name, amount


def apply_shift(images: Tensor, text: str, *, seed: int = 0) -> Tensor:
    """Apply a shift or corruption such as ``"noise=0.2"`` or ``"fog=3"`` to `images` [N, C, H, W].

    With the same seed, noise of every strength has the same pattern, so that strengths are comparable.
    """
    name, amount = parse_shift(text)
    generator = generator_for(seed, "shift", name)
    if name in KINDS:
        return corrupted(images, name, int(amount), generator)
    return SHIFTS[name](images, amount, generator)


def _check(argument: str, amount: float, least: float, images: Tensor) -> None:
    check_dims("images", images, "[N, C, H, W]")
    if not images.is_floating_point():
        raise InputError(f"images: expected floating-point images of shape [N, C, H, W]; got {describe(images)}")
    if not (math.isfinite(amount) and amount >= least):
        kind = "a finite number" if least < 0 else "a finite number of at least 0"
        raise InputError(f"{argument}: expected {kind}; got {describe(amount)}")
