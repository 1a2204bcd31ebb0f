"""Small pictures stored as text in a table, so that a figure can be redrawn from its table alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.style import Array, as_tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

__all__ = ["draw_picture", "pictures_in", "with_pictures"]

_COLUMN = "picture"
_HEAD = "data:image/png;base64,"


def with_pictures(table: DataFrame, columns: str | list[str], pictures: Mapping[Any, Array] | None) -> DataFrame:
    """Add a column ``picture``, with a PNG data URL in the first row of each value of `columns`.

    Args:
        table: the table of a figure that shows pictures.
        columns: the columns that identify a picture.
        pictures: by value of the column, or tuple of values, [H, W] or [C, H, W] in [0, 1]; stored with 256 levels.
            With None the table is returned unchanged.

    Raises:
        InputError: a value has no picture.
    """
    if pictures is None:
        return table
    first = ~table.duplicated(columns)
    keys = _keys(table[first], columns)
    missing = [key for key in keys if key not in pictures]
    if missing:
        raise InputError(f"pictures: expected one for each {columns} in the table; got none for {missing[0]}")
    column = table["method"].where(table["method"].isna())  # empty text
    column[first] = [_encoded(pictures[key]) for key in keys]
    return table.assign(**{_COLUMN: column})


def pictures_in(table: DataFrame, columns: str | list[str]) -> dict[Any, NDArray[np.uint8]]:
    """Pictures [H, W] or [H, W, 3] by value of `columns`, from a table of `with_pictures`; empty for other tables."""
    if _COLUMN not in table:
        return {}
    rows = table.dropna(subset=_COLUMN)
    return {key: _decoded(text) for key, text in zip(_keys(rows, columns), rows[_COLUMN], strict=True)}


def _keys(table: DataFrame, columns: str | list[str]) -> list[Any]:
    return table[columns].tolist() if isinstance(columns, str) else [*table[columns].itertuples(index=False, name=None)]


def draw_picture(axes: Axes, picture: NDArray[np.uint8], **options: Any) -> None:
    """Draw a picture, dark on white if it has one channel."""
    axes.imshow(picture, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest", **options)


def _encoded(picture: Array) -> str:
    from PIL import Image

    pixels = as_tensor(picture).double().clamp(0, 1).mul(255).round().byte().numpy()
    pixels = np.squeeze(np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png")
    return _HEAD + base64.b64encode(file.getvalue()).decode("ascii")


def _decoded(text: str) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text.removeprefix(_HEAD)))))
