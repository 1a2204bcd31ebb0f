"""Common image corruptions: fourteen of the fifteen kinds of CIFAR-10-C in five severities, and those of MNIST-C.

The corruptions are reimplemented from Hendrycks and Dietterich (2019, arXiv 1903.12261), with the constants of
CIFAR-10-C, and from Mu and Gilmer (2019, arXiv 1906.02337). Images look like the published ones but differ in their
pixels: random numbers come from a `torch.Generator`, pixels are floats except where a format needs bytes, and the
elastic transform samples the image once. Glass blur copies neighbouring pixels, as in the published files; in the
paper they are swapped.

Not implemented: frost, which needs photographs of ice, and spatter and Canny edges of MNIST-C. Its rotation is the
shift ``rotate``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, check_choice, check_dims, describe
from tsnn_uq.data.affine_maps import mapped

__all__ = ["CORRUPTIONS", "DIGIT_CORRUPTIONS", "FAMILIES", "KINDS", "Corruption", "check_severity", "corrupted"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    Args:
        function: (images [N, C, H, W], one of the constants, generator) -> images.
        constants: one for each severity, starting at 1.
    """

    function: Callable[[Tensor, Any, Generator], Tensor]
    constants: Sequence[Any]

    @property
    def severities(self) -> range:
        """The severities, starting at 1."""
        return range(1, len(self.constants) + 1)


def corrupted(images: Tensor, kind: str, severity: int, generator: Generator) -> Tensor:
    """Corrupt images.

    Args:
        images: [N, C, H, W] in [0, 1], grey or coloured (C of 1 or 3).
        kind: a name in `CORRUPTIONS` or `DIGIT_CORRUPTIONS`.
        severity: 1 to 5; some kinds only have 1.
        generator: source of randomness, on the CPU.

    Returns:
        [N, C, H, W] in [0, 1], of the dtype of `images`.

    Raises:
        InputError: the images have another shape or dtype, or the kind or its severity is unknown.
    """
    check_severity(kind, severity)
    check_dims("images", images, "[N, C, H, W]")
    if images.shape[1] not in (1, 3) or not images.is_floating_point():
        raise InputError(f"images: expected floating-point images with 1 or 3 channels; got {describe(images)}")
    if not len(images):
        return images.clone()
    changed = KINDS[kind].function(images.float().cpu(), KINDS[kind].constants[severity - 1], generator)
    return changed.clamp(0, 1).to(images)


def check_severity(kind: str, severity: float) -> None:
    """Raise unless the kind of corruption exists and has this severity."""
    check_choice("kind", kind, KINDS)
    if severity not in KINDS[kind].severities:
        raise InputError(f"severity: expected 1 to {len(KINDS[kind].constants)} of {kind}; got {describe(severity)}")


# Noise.


def _gaussian_noise(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    return images + sigma * torch.randn(images.shape, generator=generator)


def _shot_noise(images: Tensor, photons: float, generator: Generator) -> Tensor:
    """Poisson noise of photon counts, with `photons` counts on average at full intensity."""
    return torch.poisson(photons * images, generator=generator) / photons


def _impulse_noise(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Set a share of the values to 0 or 1, each with the same probability."""
    draw = torch.rand(images.shape, generator=generator)
    return images.masked_fill(draw < share / 2, 0).masked_fill((draw >= share / 2) & (draw < share), 1)


# Blur.


def _smoothed(images: Tensor, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    from scipy.ndimage import gaussian_filter

    return torch.from_numpy(gaussian_filter(images.numpy(), sigma, mode=mode, truncate=truncate, axes=(-2, -1)))


def _defocus_blur(images: Tensor, lens: tuple[float, float], _: Generator) -> Tensor:
    """Convolve with a disk whose edge is smoothed by a Gaussian over 3 x 3 pixels; `lens` is (radius, sigma)."""
    from scipy.ndimage import convolve, correlate1d

    radius, sigma = lens
    offsets = np.arange(-8, 9)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float32)
    weights = np.exp(-0.5 * (np.arange(-1, 2) / sigma) ** 2)
    for axis in (0, 1):
        disk = correlate1d(disk, weights / weights.sum(), axis=axis, mode="constant")
    return torch.from_numpy(convolve(images.numpy(), (disk / disk.sum())[None, None], mode="mirror"))


def _glass_blur(images: Tensor, glass: tuple[float, int, int], generator: Generator) -> Tensor:
    """Smooth, copy each pixel from a random position above and to the left `times` times, and smooth again."""
    sigma, distance, times = glass
    count, channels, height, width = images.shape
    blurred = _smoothed(images, sigma)
    for _ in range(times):
        up, left = torch.randint(0, distance + 1, (2, count, height, width), generator=generator)
        rows = (torch.arange(height)[:, None] - up).clamp_min(0)
        columns = (torch.arange(width) - left).clamp_min(0)
        source = (rows * width + columns).flatten(1)[:, None].expand(-1, channels, -1)
        blurred = blurred.flatten(2).gather(2, source).reshape(images.shape)
    return _smoothed(blurred, sigma)


def _motion_blur(images: Tensor, motion: tuple[int, float], generator: Generator) -> Tensor:
    return _directional_blur(images, *motion, _uniform(len(images), -45, 45, generator))


def _directional_blur(images: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    """Blur by half a Gaussian along a direction [N], clockwise from the right, over 2 radius + 1 pixels."""
    count, _, height, width = images.shape
    weights = torch.exp(-0.5 * (torch.arange(2 * radius + 1) / sigma) ** 2)
    angle = torch.deg2rad(degrees)
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    which = torch.arange(count)[:, None, None]
    blurred = torch.zeros_like(images)
    for step, weight in enumerate(weights / weights.sum()):
        down, right = ((step * part).round().long()[:, None, None] for part in (angle.sin(), angle.cos()))
        row, column = (rows + down).clamp(0, height - 1), (columns + right).clamp(0, width - 1)
        blurred += weight * images[which, :, row, column].movedim(-1, 1)
    return blurred


def _zoom_blur(images: Tensor, most: float, _: Generator) -> Tensor:
    """The mean of the image and its magnifications by 1, 1.01, ... up to, but not including, `most`."""
    zooms = [1 + step / 100 for step in range(round(100 * (most - 1)))]
    return (images + sum(_magnified(images, zoom) for zoom in zooms)) / (len(zooms) + 1)


def _magnified(images: Tensor, zoom: float) -> Tensor:
    return mapped(images, torch.tensor([[[1 / zoom, 0, 0], [0, 1 / zoom, 0]]]))


# Weather.


def _snow(images: Tensor, snow: tuple[float, float, float, float, int, float, float], generator: Generator) -> Tensor:
    """Snow flakes falling in two directions over a paler image."""
    mean, sigma, zoom, threshold, radius, blur, share = snow
    count, _, height, width = images.shape
    flakes = _magnified(mean + sigma * torch.randn(count, 1, height, width, generator=generator), zoom)
    flakes = flakes.masked_fill(flakes < threshold, 0).clamp(0, 1)
    flakes = _directional_blur(flakes, radius, blur, _uniform(count, -135, -45, generator))
    pale = torch.maximum(images, 1.5 * _grey(images) + 0.5)
    return (share * images + (1 - share) * pale + flakes + flakes.flip(-2, -1)).clamp(0, 1)


def _fog(images: Tensor, fog: tuple[float, float], generator: Generator) -> Tensor:
    amount, decay = fog
    brightest = images.amax((1, 2, 3), keepdim=True)
    height, width = images.shape[2:]
    side = 2 ** math.ceil(math.log2(max(height, width)))
    cloud = _plasma(len(images), side, decay, generator)[:, None, :height, :width]
    return (images + amount * cloud) * brightest / (brightest + amount)


def _plasma(count: int, side: int, decay: float, generator: Generator) -> Tensor:
    """Clouds [N, side, side] in [0, 1] by the diamond-square algorithm on a torus; `side` is a power of two.

    Each midpoint is the mean of the four points around it plus noise, whose amplitude falls by decay^2 at each level.
    """
    map_ = torch.zeros(count, side, side)
    step, amplitude = side, 1.0

    def noisy(sums: Tensor) -> Tensor:
        return sums / 4 + amplitude * (2 * torch.rand(sums.shape, generator=generator) - 1)

    while step > 1:
        half = step // 2
        corners = map_[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        map_[:, half::step, half::step] = middles = noisy(pairs + pairs.roll(-1, 2))
        map_[:, ::step, half::step] = noisy(middles + middles.roll(1, 1) + corners + corners.roll(-1, 2))
        map_[:, half::step, ::step] = noisy(middles + middles.roll(1, 2) + corners + corners.roll(-1, 1))
        step, amplitude = half, amplitude / decay**2
    low, high = map_.amin((1, 2), keepdim=True), map_.amax((1, 2), keepdim=True)
    return (map_ - low) / (high - low).clamp_min(torch.finfo(map_.dtype).tiny)


def _brightness(images: Tensor, more: float, _: Generator) -> Tensor:
    """Raise the value in HSV and keep hue and saturation; black becomes grey."""
    value = images.amax(1, keepdim=True)
    raised = (value + more).clamp_max(1)
    return torch.where(value > 0, images * raised / value.clamp_min(1e-12), raised)


# Digital.


def _contrast(images: Tensor, factor: float, _: Generator) -> Tensor:
    mean = images.mean((2, 3), keepdim=True)
    return mean + factor * (images - mean)


def _elastic(images: Tensor, elastic: tuple[float, float, float], generator: Generator) -> Tensor:
    """A random affine map and smooth random displacements; constants are relative to the shorter side."""
    count, _, height, width = images.shape
    side = min(height, width)
    strength, sigma, jitter = (side * constant for constant in elastic)
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]) * (side // 3)  # about the centre, (x, y)
    corners = corners + torch.tensor([width // 2, height // 2])
    moved = corners + jitter * (2 * torch.rand(count, 3, 2, generator=generator) - 1)
    noise = 2 * torch.rand(count, 2, height, width, generator=generator) - 1
    displaced = strength * _smoothed(noise, sigma, "reflect", 3.0) if strength else torch.zeros_like(noise)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack([columns, rows], -1) + displaced.movedim(1, -1)  # [N, H, W, (x, y)]
    ones = torch.ones(count, 3, 1)
    maps = torch.linalg.solve(torch.cat([moved, ones], -1), corners.expand(count, 3, 2))  # [N, 3, 2], from new to old
    sources = torch.einsum("nhwi,nij->nhwj", points, maps[:, :2]) + maps[:, None, None, 2]
    grid = 2 * sources / torch.tensor([width - 1, height - 1]) - 1
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=True)


def _pixelated(images: Tensor, share: float, _: Generator) -> Tensor:
    from PIL import Image

    height, width = images.shape[2:]
    small = max(int(width * share), 1), max(int(height * share), 1)
    box = Image.Resampling.BOX
    return _with_pillow(images, lambda picture: picture.resize(small, box).resize((width, height), box))


def _jpeg(images: Tensor, quality: int, _: Generator) -> Tensor:
    from PIL import Image

    def packed(picture: Any) -> Any:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _with_pillow(images, packed)


def _with_pillow(images: Tensor, change: Callable[[Any], Any]) -> Tensor:
    """Apply `change` to each image as a Pillow image of 8 bits a value."""
    from PIL import Image

    pixels = (255 * images).round().to(torch.uint8).movedim(1, -1).numpy()
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    changed = np.stack([np.asarray(change(Image.fromarray(np.ascontiguousarray(one)))) for one in pixels])
    floats = torch.from_numpy(changed).float() / 255
    return floats.unsqueeze(1) if floats.dim() == 3 else floats.movedim(-1, 1)


# Digits.


def _sheared(images: Tensor, slope: float, generator: Generator) -> Tensor:
    signs = _signs(len(images), generator)
    return _affine(images, torch.ones(len(images)), slope * signs, torch.zeros(len(images), 2))


def _scaled(images: Tensor, factor: float, _: Generator) -> Tensor:
    count = len(images)
    return _affine(images, torch.full((count,), factor), torch.zeros(count), torch.zeros(count, 2))


def _translated(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    moves = pixels * torch.stack([_signs(len(images), generator) for _ in range(2)], 1)
    return _affine(images, torch.ones(len(images)), torch.zeros(len(images)), moves)


def _affine(images: Tensor, factor: Tensor, slope: Tensor, moves: Tensor) -> Tensor:
    """Map images about their centre: scaled by `factor`, sheared by `slope` and moved by `moves` pixels."""
    height, width = images.shape[2:]
    none = torch.zeros_like(factor)
    right, down = (2 * moves / torch.tensor([width, height])).unbind(1)
    first, second = torch.stack([factor, slope, right], -1), torch.stack([none, factor, down], -1)
    return mapped(images, torch.stack([first, second], 1))


def _striped(images: Tensor, share: float, _: Generator) -> Tensor:
    """Invert all but a vertical stripe in the middle; `share` is its share of the width."""
    low = round(images.shape[-1] * (1 - share) / 2)
    outside = torch.ones(images.shape[-1], dtype=torch.bool)
    outside[low : images.shape[-1] - low] = False
    return torch.where(outside, 1 - images, images)


def _dotted_line(images: Tensor, gap: int, generator: Generator) -> Tensor:
    """Draw a dotted line from left to right, with gaps as long as the dots."""
    return _draw_line(images, generator, lambda column, slope, start: start + slope * column, gap)


def _zigzag(images: Tensor, amplitude: int, generator: Generator) -> Tensor:
    """Draw a zigzag line from left to right, with a period of four times its amplitude."""

    def height(column: Tensor, slope: Tensor, start: Tensor) -> Tensor:
        phase = column % (4 * amplitude)
        return start + slope * column + (phase - 2 * amplitude).abs() - amplitude

    return _draw_line(images, generator, height, 0)


def _draw_line(
    images: Tensor, generator: Generator, height: Callable[[Tensor, Tensor, Tensor], Tensor], gap: int
) -> Tensor:
    """Draw a white line, a pixel wide and antialiased, between random points on the left and right edges."""
    count, _, rows, width = images.shape
    start, end = (rows - 1) * torch.rand(2, count, 1, generator=generator)
    column = torch.arange(width, dtype=torch.float32)[None]
    level = height(column, (end - start) / max(width - 1, 1), start)  # [N, W]
    cover = (1 - (torch.arange(rows)[None, :, None] - level[:, None]).abs()).clamp_min(0)
    if gap:
        cover = cover * ((column // gap) % 2 == 0)
    return torch.maximum(images, cover[:, None])


def _grey(images: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, [N, 1, H, W]."""
    weights = torch.tensor([0.299, 0.587, 0.114]) if images.shape[1] == 3 else torch.ones(1)
    return (images * weights[:, None, None]).sum(1, keepdim=True)


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _signs(count: int, generator: Generator) -> Tensor:
    return 2.0 * torch.randint(2, (count,), generator=generator) - 1


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian-noise": Corruption(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot-noise": Corruption(_shot_noise, (500, 250, 100, 75, 50)),
    "impulse-noise": Corruption(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus-blur": Corruption(_defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass-blur": Corruption(_glass_blur, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))),
    "motion-blur": Corruption(_motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom-blur": Corruption(_zoom_blur, (1.06, 1.11, 1.16, 1.21, 1.26)),
    "snow": Corruption(
        _snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "fog": Corruption(_fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Corruption(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic": Corruption(
        _elastic, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    ),
    "pixelate": Corruption(_pixelated, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": Corruption(_jpeg, (80, 65, 58, 50, 40)),
}
"""The kinds of CIFAR-10-C except frost, in the order of the paper."""

DIGIT_CORRUPTIONS: dict[str, Corruption] = {
    "shear": Corruption(_sheared, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "scale": Corruption(_scaled, (1 / 0.9, 1 / 0.8, 1 / 0.7, 1 / 0.6, 1 / 0.5)),
    "translate": Corruption(_translated, (1, 2, 3, 4, 5)),
    "stripe": Corruption(_striped, (0.5,)),
    "dotted-line": Corruption(_dotted_line, (2,)),
    "zigzag": Corruption(_zigzag, (2,)),
}
"""Further kinds of MNIST-C."""

KINDS = CORRUPTIONS | DIGIT_CORRUPTIONS
"""All kinds by name."""

FAMILIES = {
    "noise": ("gaussian-noise", "shot-noise", "impulse-noise"),
    "blur": ("defocus-blur", "glass-blur", "motion-blur", "zoom-blur"),
    "weather": ("snow", "fog", "brightness"),
    "digital": ("contrast", "elastic", "pixelate", "jpeg"),
}
"""The kinds by category, as in the paper."""
