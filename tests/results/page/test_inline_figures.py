from __future__ import annotations

import base64
import re

import numpy as np
from matplotlib.figure import Figure

from tests.results.page.elements import parse
from tsnn_uq.results.figures import style
from tsnn_uq.results.page.inline_figures import inline_figure


def points(count):
    """A figure of so many points, each a shape of its own."""
    with style():
        figure = Figure(figsize=(3.5, 2))
        axes = figure.subplots()
        axes.scatter(np.arange(count), np.arange(count), s=1 + np.arange(count) / count)
        axes.set(title="a < b & c", xlabel="$10^{-3}$")
    return figure


def test_a_small_figure_is_svg_with_texts():
    text = inline_figure(points(3), "one", 'so-called "points"')
    (svg,) = parse(text).all("svg")
    assert svg.attributes["aria-label"] == 'so-called "points"'
    assert (svg.attributes["width"], svg.attributes["viewbox"]) == ("252pt", "0 0 252 144")
    assert "a < b & c" in [found.text() for found in svg.all("text")]
    assert "Verdana, Geneva, sans-serif" in text
    assert not re.search("http|xmlns|metadata|<\\?xml|DOCTYPE", text)


def test_names_in_it_are_used_and_of_this_figure_alone():
    one, other, again = (inline_figure(points(3), name, "") for name in ("one", "other", "one"))
    assert one == again
    names = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, other)]
    assert names[0]
    assert not names[0] & names[1]
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', one)) == names[0]


def test_a_figure_of_thousands_of_shapes_is_png_of_the_same_size(monkeypatch):
    monkeypatch.setattr("tsnn_uq.results.page.inline_figures._MOST", 30_000)  # of hundreds of shapes
    text = inline_figure(points(600), "many", "many points")
    (image,) = parse(text).all("img")
    assert image.attributes["alt"] == "many points"
    kind, _, content = image.attributes["src"].partition(",")
    assert kind == "data:image/png;base64"
    drawn = base64.b64decode(content)
    assert drawn.startswith(b"\x89PNG")
    assert (image.attributes["width"], image.attributes["height"]) == ("336", "192")  # 96 an inch
