"""Each figure of figures/ can be drawn again from the CSV beside it, without a network or a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from pandas import DataFrame

from tsnn_uq.results import figures
from tsnn_uq.results.tables import read_table

FILES = sorted((Path(__file__).parents[3] / "figures").glob("*.csv"))


def selective(table: DataFrame) -> Figure:
    parts = [table[table["curve"] == curve] for curve in ("risk-coverage", "roc")]
    return figures.selective_curves(*parts)


# The longest name that a file's begins with, or that and what it ends in.
DRAW: dict[str, Callable[[DataFrame], Figure]] = {
    "anytime": figures.anytime_figure,
    "differences": figures.posterior_differences,
    "digits": figures.digit_gallery,
    "entropy": figures.entropy_histogram,
    "potentials": figures.potential_histogram,
    "raster": figures.spike_raster,
    "sparsity": figures.layer_sparsity_chart,
    "quantization": figures.weight_code_histogram,
    "regularizers": figures.ablation_figure,
    "reliability": figures.reliability_diagram,
    "selective": selective,
    "shift": figures.shift_figure,
    "stopping": figures.stopping_figure,
    "tradeoff-samples": figures.energy_figure,
    "tradeoff": figures.tradeoff_figure,
    "variance": figures.variance_scatter,
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_committed_table_draws_its_figure(file: Path) -> None:
    draw = next(draw for name, draw in DRAW.items() if file.stem.startswith(name) or file.stem.endswith(name))
    table = read_table(file)
    figure = draw(table)
    drawn = [axes for axes in figure.axes if axes.lines or axes.patches or axes.collections or axes.images]
    assert drawn
    for names in table.groupby("method").groups if "differences" not in file.stem else ():
        assert names in str([text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))])


def test_every_kind_of_figure_has_a_table_here() -> None:
    assert FILES
    for name in DRAW:
        assert any(file.stem.startswith(name) or file.stem.endswith(name) for file in FILES), name


def test_strangers_methods_are_drawn_as_ours_are() -> None:
    """Every figure of a table takes any names, and gives each its own colour."""
    (file,) = [file for file in FILES if file.stem.startswith("anytime")]
    table = read_table(file)
    names = {name: f"net {number}" for number, name in enumerate(table["method"].unique())}
    figure = figures.anytime_figure(table.assign(method=table["method"].map(names)))
    legend = figure.legends[0]
    found = {
        text.get_text(): line.get_color() for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert len({found[name] for name in names.values()}) == len(names)
