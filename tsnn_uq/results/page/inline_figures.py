"""Figures inside a page: SVG with searchable text, or PNG if the SVG is too large."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

from markupsafe import Markup

from tsnn_uq.results.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_figure", "inline_png"]

_MOST = 600_000  # bytes of an SVG; larger ones have thousands of shapes and are replaced by a PNG
_FONTS = "'DejaVu Sans', Verdana, Geneva, sans-serif"  # fonts of similar width, since text was placed for the first


def inline_figure(figure: Figure, name: str, alt: str) -> Markup:
    """A figure as an SVG element, or as an image with an embedded PNG if the SVG has more than 600 kB.

    The same figure and name give the same text, which has no references to anything outside.

    Args:
        figure: the figure.
        name: a name that is unique in the page, since ids of SVG elements are shared by the whole page.
        alt: alternative text, a sentence.
    """
    svg = _svg(figure, name)
    if len(svg) > _MOST:
        return inline_png(_saved(figure, name, "png"), alt)
    width, height = (72 * inches for inches in figure.get_size_inches())
    opening = '<svg viewBox="0 0 {:g} {:g}" width="{:g}pt" role="img" aria-label="{}">'
    return Markup(opening).format(width, height, width, alt) + Markup(svg[svg.index(">", svg.index("<svg")) + 1 :])


def inline_png(content: bytes, alt: str) -> Markup:
    """A PNG with 200 dots per inch as an image in its printed size."""
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    source = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
    # CSS pixels are 96 an inch
    image = '<img src="{}" alt="{}" width="{}" height="{}">'
    return Markup(image).format(source, alt, round(width * 96 / 200), round(height * 96 / 200))


def _saved(figure: Figure, name: str, form: str) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    with style(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format=form, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()


def _svg(figure: Figure, name: str) -> str:
    """An SVG without metadata and without ids that are not referred to."""
    text = _saved(figure, name, "svg").decode("utf-8")
    # Hundredths of a point are finer than any screen, and take half of the bytes.
    text = re.sub(r' (?:d|x|y)="[^"]*"', lambda path: re.sub(r"\d+\.\d{3,}", _rounded, path[0]), text)
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'#([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", text)
    return text.replace("'DejaVu Sans'", _FONTS).replace("xlink:href", "href").strip()


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"
