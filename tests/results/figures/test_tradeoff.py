from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from tests.helpers.figures import faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import METHOD_COLORS, energy_figure, tradeoff_figure

METHODS = ["float", "direct", "indirect", "distill"]
MEASURES = ["accuracy_pct", "ece_pct", "predictive_entropy_nats", "nll_nats"]


def networks(methods: int, families: int, parts: int) -> list[dict[str, str]]:
    found = []
    for family, method in product(["dropout", "dropconnect", "slayer", "plif"][:families], METHODS[:methods]):
        for part in ["none"] if method == "float" else ["all", "conv", "fc"][:parts]:
            found.append({"family": family, "quantized_part": part, "method": method})
    return found


def tradeoff(methods: int = 4, families: int = 1, parts: int = 1, measures: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    costs = {"storage_bytes": 2e5, "flops": 4e5, "energy_pj": 7e7}
    rows = []
    for measure, (cost, price) in product(MEASURES[:measures], costs.items()):
        for names in networks(methods, families, parts):
            numbers = {"value": rng.random(), "value_std": 0.05, "on_front": bool(rng.integers(0, 2))}
            size = price * (16 if names["method"] == "float" else 1 + rng.random() / 10)
            rows.append(names | numbers | {"measure": measure, "cost": cost, "cost_value": size, "cost_std": 0.0})
    return pd.DataFrame(rows)


def energies(methods: int = 4, families: int = 1, parts: int = 1, measures: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for names, measure, samples in product(networks(methods, families, parts), MEASURES[:measures], (1, 2, 4, 8)):
        price = 2e9 if names["method"] == "float" else 7e7
        numbers = {"seeds": 3, "value": rng.random(), "value_std": 0.1, "energy_pj": samples * price}
        rows.append(names | {"measure": measure, "samples": samples} | numbers)
    return pd.DataFrame(rows)


def test_points_and_front_are_those_of_the_table() -> None:
    table = tradeoff(methods=3, families=2)
    axes = np.reshape(tradeoff_figure(table).axes, (2, 3))
    for (row, measure), (column, cost) in product(enumerate(MEASURES[:2]), enumerate(table["cost"].unique())):
        rows = table[(table["measure"] == measure) & (table["cost"] == cost)]
        rows = rows.assign(cost_value=rows["cost_value"] * (1e-12 if cost == "energy_pj" else 1))
        front, *points = (line for line in axes[row, column].lines if line.get_marker() not in ("_", "|"))
        assert set(front.get_xdata()) == set(rows.loc[rows["on_front"], "cost_value"])
        assert list(front.get_xdata()) == sorted(front.get_xdata())
        np.testing.assert_allclose([point.get_ydata()[0] for point in points], rows["value"])
        np.testing.assert_allclose([point.get_xdata()[0] for point in points], rows["cost_value"])
        assert [point.get_color() for point in points] == [METHOD_COLORS[method] for method in rows["method"]]
        fills = {family: fill for family, fill in zip(rows["family"], (p.get_fillstyle() for p in points), strict=True)}
        assert fills == {"dropout": "full", "dropconnect": "none"}
        assert axes[row, column].get_xscale() == "log"


def test_parts_are_named_where_they_differ() -> None:
    texts = [text.get_text() for text in tradeoff_figure(tradeoff(methods=2, parts=3, measures=1)).findobj(Text)]
    assert texts.count("conv") == texts.count("fc") == 3
    assert "all" not in [text.get_text() for text in tradeoff_figure(tradeoff(methods=2)).findobj(Text)]


def test_curves_are_those_of_the_table() -> None:
    table = energies(methods=2, families=2, measures=2)
    for axes, measure in zip(energy_figure(table).axes, MEASURES[:2], strict=True):
        labels = [line.get_label() for line in axes.lines]
        assert labels == ["dropout, float", "dropconnect, float", "dropout, direct", "dropconnect, direct"]
        assert [line.get_linestyle() for line in axes.lines] == ["-", "--", "-", "--"]
        for line in axes.lines:
            family, method = line.get_label().split(", ")
            rows = table[(table["family"] == family) & (table["method"] == method) & (table["measure"] == measure)]
            np.testing.assert_allclose(line.get_xdata(), 1e-12 * rows["energy_pj"])
            np.testing.assert_allclose(line.get_ydata(), rows["value"])


def test_parts_have_lines_of_their_own() -> None:
    (axes,) = energy_figure(energies(methods=2, parts=3, measures=1)).axes
    lines = {line.get_label(): line.get_linestyle() for line in axes.lines}
    assert lines == {"float": "-", "all, direct": "-", "conv, direct": "--", "fc, direct": "-."}


@pytest.mark.parametrize(
    ("methods", "families", "measures"), [(1, 1, 1), pytest.param(4, 4, 2, marks=pytest.mark.slow)]
)
def test_no_text_overlaps_or_leaves_the_page(methods: int, families: int, measures: int) -> None:
    figure = tradeoff_figure(tradeoff(methods, families, measures=measures))
    assert faults(figure) == []
    assert figure.get_figwidth() == 7.0
    assert faults(energy_figure(energies(methods, families, measures=measures))) == []


@pytest.mark.parametrize("plot", [tradeoff_figure, energy_figure])
def test_nothing_to_draw_is_refused(plot) -> None:
    with pytest.raises(InputError, match="table: expected at least one network"):
        plot(tradeoff().iloc[:0])
