"""Letters in the manner of MNIST: what a network for digits has never seen, and what is nearest to what it has.

They are drawn from the fonts that come with matplotlib, so that every machine draws the same without fetching anything.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from tsnn_uq.checks import check_positive
from tsnn_uq.data.images import Dataset
from tsnn_uq.data.shifts import blurred
from tsnn_uq.seeds import generator_for

__all__ = ["FONTS", "LETTERS", "letters", "stroke_width"]

LETTERS = "ABCDEFGHJKLMNPQRTUVWXYadefhjkmnprtuvwxy"
"""Those that nobody takes for a digit; without I l, O o, S s, Z z, b, g and q, and i, whose dot is a second piece."""
FONTS = (
    *("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralItalic", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
SIDE, BOX = 28, 19.0  # pixels of an image, and of the longer side of a letter, which is 20 when it is blurred
CENTRE = 0.5  # of mass, in pixels right of and below the image's middle, as in MNIST
# Of MNIST's 55,000 training images: mean and standard deviation of `stroke_width`, and where 98 % of it lies.
STROKE, STROKE_SPREAD, STROKE_RANGE = 2.45, 0.61, (1.43, 4.26)
BLUR = 0.25  # pixels; with it as many of the inked pixels are grey as in MNIST, three in five
GLYPH, CANVAS = 64, 108  # pixels of the longer side of a letter as the font draws it, and of the canvas around it
FINE = 4  # points along each side of a pixel
CHUNK = 500  # images made at a time


def letters(count: int = 5000, *, seed: int = 0) -> Dataset:
    """Letters as MNIST has digits: 20 pixels high or wide, centred by their mass, as thick and as blurred.

    Each is one of `LETTERS` in one of `FONTS`, slanted, turned and narrowed a little at random, and thinned or
    thickened until its stroke is as wide as one drawn from MNIST's distribution.

    Args:
        count: number of images N; the first of many are those of few.
        seed: of all choices.

    Returns:
        Images [N, 1, 28, 28], and as labels their places in `LETTERS`.

    Raises:
        InputError: `count` is no positive whole number.
    """
    check_positive("count", count, integer=True)
    generator = generator_for(seed, "letters")
    parts = [_drawn(generator) for _ in range(-(-count // CHUNK))]
    images, labels = (torch.cat(columns)[:count] for columns in zip(*parts, strict=True))
    return Dataset(images, labels, "letters", classes=len(LETTERS))


def stroke_width(images: Tensor) -> Tensor:
    """How wide the lines of drawings are in pixels [N]: twice their area through their outline.

    Of a line of width w and length l the area is w l and the outline 2 l; of grey images the ink is the area and the
    total variation the outline.

    Args:
        images: [N, 1, H, W] in [0, 1].

    Example:
        >>> line = torch.zeros(1, 1, 40, 40)
        >>> line[..., 18:21, 2:38] = 1
        >>> round(stroke_width(line).item(), 1)
        2.8
    """
    across = images[..., :-1, 1:] - images[..., :-1, :-1]
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    return 2 * images.sum((1, 2, 3)) / torch.hypot(across, down).sum((1, 2, 3))


def _drawn(generator: Generator) -> tuple[Tensor, Tensor]:
    """`CHUNK` images [N, 1, 28, 28] and their labels [N]."""
    fields, widths = _fields()
    which = torch.randint(len(fields), (CHUNK,), generator=generator)
    normal = torch.randn(4, CHUNK, generator=generator)
    stroke = (STROKE + STROKE_SPREAD * normal[0]).clamp(*STROKE_RANGE)
    shape = _distortion(normal[1:])
    coarse = _image(fields[which], shape / BOX, _growth(stroke, BOX * widths[which]), points=2 * SIDE)
    centre, longest = _place(coarse)
    scale = longest / BOX
    shift = centre - CENTRE * scale[:, None]
    fitted = torch.cat([shape[:, :, :2] * scale[:, None, None], shape[:, :, :2] @ shift[:, :, None]], 2) / BOX
    fine = _image(fields[which], fitted, _growth(stroke * scale, BOX * widths[which]), points=FINE * SIDE)
    images = blurred(functional.avg_pool2d(fine, FINE), BLUR)
    return images, which % len(LETTERS)


def _growth(wanted: Tensor, drawn: Tensor) -> Tensor:
    """How far out of a letter's outline that of a wider stroke lies, in pixels; hair lines are not to vanish."""
    return ((wanted - drawn) / 2).clamp_min(-0.35)


def _distortion(normal: Tensor) -> Tensor:
    """From a place in the image to one in the letter, [N, 2, 3]: slant, turn and width from normal numbers [3, N]."""
    slant, turn, narrow = 0.15 * normal[0], 0.08 * normal[1], 1 + 0.15 * normal[2].abs()
    cos, sin = turn.cos(), turn.sin()
    rows = [narrow * (cos + slant * sin), narrow * (slant * cos - sin), 0 * turn, sin, cos, 0 * turn]
    return torch.stack(rows, 1).view(-1, 2, 3)


def _image(field: Tensor, place: Tensor, grow: Tensor, *, points: int) -> Tensor:
    """Sampled letters [N, 1, points, points], 1 inside of the outline that lies `grow` pixels [N] outside.

    Args:
        field: distance to the outline [N, 1, CANVAS, CANVAS], negative inside, in lengths of the letter.
        place: affine map [N, 2, 3] from pixels around the image's centre to lengths of the letter around its own.
        grow: [N], in pixels of `BOX` to a letter.
        points: along each side of the image.
    """
    # affine_grid counts from -1 to 1 over the image, grid_sample over the canvas.
    half = torch.tensor([SIDE / 2, SIDE / 2, 1.0])
    grid = functional.affine_grid(
        place * half * (2 * GLYPH / CANVAS), [len(field), 1, points, points], align_corners=False
    )
    distance = functional.grid_sample(field, grid, padding_mode="border", align_corners=False)
    return (distance < (grow / BOX).view(-1, 1, 1, 1)).to(field.dtype)


def _place(images: Tensor) -> tuple[Tensor, Tensor]:
    """Centre of mass [N, 2] (x, y), from the middle, and the longer side [N] of what is drawn; in pixels."""
    pixel = SIDE / images.shape[-1]
    axis = (torch.arange(images.shape[-1]) + 0.5) * pixel - SIDE / 2
    ink = images[:, 0]
    mass = ink.sum((1, 2))
    centre = torch.stack([(ink.sum(1) * axis).sum(1), (ink.sum(2) * axis).sum(1)], 1) / mass[:, None]
    sides = torch.stack([(ink.amax(1) > 0).sum(1), (ink.amax(2) > 0).sum(1)])
    return centre, sides.amax(0) * pixel


@cache
def _fields() -> tuple[Tensor, Tensor]:
    """Signed distances of every letter in every font [fonts x letters, 1, CANVAS, CANVAS], and their stroke widths.

    Both in lengths of the letter's longer side; letters of one font follow each other.
    """
    from scipy.ndimage import distance_transform_edt

    fields, widths = [], []
    for bitmap in (_bitmap(font, letter) for font in FONTS for letter in LETTERS):
        inside = bitmap > 0
        # Between the centres of pixels on both sides the outline is half a pixel from each.
        signed = distance_transform_edt(~inside) - distance_transform_edt(inside)
        fields.append(torch.from_numpy(signed).float() / GLYPH)
        widths.append(stroke_width(torch.from_numpy(inside).float()[None, None]) / GLYPH)
    return torch.stack(fields).unsqueeze(1), torch.cat(widths)


def _bitmap(font: str, letter: str) -> NDArray[Any]:
    """A letter [CANVAS, CANVAS], its box in the middle and its longer side `GLYPH` pixels, but for rounding."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    face = FT2Font(str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")))
    size = float(GLYPH)
    for _ in range(3):  # the size in points that gives the wanted number of pixels
        face.set_size(size, 72)
        face.set_text(letter)
        face.draw_glyphs_to_bitmap(antialiased=False)
        drawn = np.asarray(face.get_image())
        rows, columns = np.nonzero(drawn.any(1))[0], np.nonzero(drawn.any(0))[0]
        drawn = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        size *= GLYPH / max(drawn.shape)
    high, wide = drawn.shape
    canvas = np.zeros((CANVAS, CANVAS), drawn.dtype)
    top, left = (CANVAS - high) // 2, (CANVAS - wide) // 2
    canvas[top : top + high, left : left + wide] = drawn
    return canvas
