from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import METHOD_COLORS, variance_scatter, variance_table

TERNARY = ["direct", "indirect", "distill"]


def made_up(methods=1, inputs=300, noise="MC dropout", temperature=1.0) -> pd.DataFrame:
    """Variances over ten orders of magnitude; one input in ten is wrong somewhere."""
    rng = np.random.default_rng(0)
    tables = []
    for method in TERNARY[:methods]:
        first, second = 10.0 ** rng.uniform(-10, -1, (2, inputs))
        right = rng.random((2, inputs)) < 0.95
        singles = {"of": "input", "input": range(inputs), "label": np.arange(inputs) % 10, "inputs": 1}
        singles |= {"accuracy_reference": right[0].astype(float), "accuracy": right[1].astype(float)}
        singles |= {"variance_reference": first, "variance": second, "difference": second - first}
        groups = [("all", np.nan), ("both right", np.nan), ("any wrong", np.nan), *(("class", c) for c in range(10))]
        rows = []
        for of, label in groups:
            middle, half = rng.normal(0, 0.02), rng.uniform(0.001, 0.03)
            ends = {"difference": middle, "low": middle - half, "high": middle + half}
            rows.append({"of": of, "label": label, "inputs": inputs} | ends)
        tables.append(pd.concat([pd.DataFrame(rows), pd.DataFrame(singles)]).assign(method=method))
    temperatures = {"temperature_reference": temperature, "temperature": temperature}
    return pd.concat(tables, ignore_index=True).assign(noise=noise, samples=32, reference="float", **temperatures)


def draw(pairs):
    return variance_scatter(variance_table(pairs))


def test_every_input_is_in_a_cell_or_a_cross():
    table = made_up(2)
    figure = draw(table)
    for axes, method in zip(figure.axes[:2], TERNARY, strict=False):
        rows = table[(table["method"] == method) & (table["of"] == "input")]
        wrong = rows[(rows["accuracy_reference"] < 1) | (rows["accuracy"] < 1)]
        np.testing.assert_allclose(axes.lines[0].get_xydata(), wrong[["variance_reference", "variance"]], rtol=1e-5)
        assert 0 < len(wrong) < len(rows)
        assert axes.lines[0].get_rasterized()
        cells = axes.collections[0].get_array()
        assert cells.sum() == len(rows) - len(wrong)
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert axes.get_xlim() == axes.get_ylim()
        assert axes.get_xlim()[0] < rows[["variance_reference", "variance"]].to_numpy().min()


def test_variances_below_rounding_do_not_stretch_the_axes():
    table = made_up()
    first = table.index[table["of"] == "input"][0]
    table.loc[first, "variance_reference"] = 1e-60
    table.loc[first, "accuracy_reference"] = 0.0
    axes = draw(table).axes[0]
    assert axes.get_xlim()[0] == axes.get_ylim()[0] == pytest.approx(1e-14)
    assert axes.lines[0].get_xdata()[0] == axes.get_xlim()[0]
    table.loc[table["of"] == "input", ["variance_reference", "variance"]] = 1e-60
    assert draw(table).axes[0].get_xlim() == pytest.approx((2e-62, 2e-60))


def test_an_input_lies_where_its_variances_are():
    table = made_up()
    singles = table["of"] == "input"
    table.loc[singles, ["accuracy_reference", "accuracy"]] = 1.0
    first = table.index[singles][0]
    table.loc[singles, ["variance_reference", "variance"]] = [1e-2, 1e-6]
    table.loc[first, ["variance_reference", "variance"]] = [1e-6, 1e-2]
    cells = variance_table(table).query("of == 'cell'")
    placed = {
        (round(np.log10(row.variance_reference)), round(np.log10(row.variance))): row.inputs
        for row in cells.itertuples()
    }
    assert placed == {(-2, -6): 299, (-6, -2): 1}
    mesh = draw(table).axes[0].collections[0]
    counts, edges = mesh.get_array(), mesh.get_coordinates()
    assert sorted(counts.compressed()) == [1, 299]
    y, x = np.argwhere(counts == 299)[0]
    assert edges[y, x, 0] <= 1e-2 < edges[y, x + 1, 0]
    assert edges[y, x, 1] <= 1e-6 < edges[y + 1, x, 1]


def test_inputs_without_variance_lie_on_the_edge():
    table = made_up()
    wrong = (table["of"] == "input") & ((table["accuracy_reference"] < 1) | (table["accuracy"] < 1))
    table.loc[wrong, "variance"] = 0.0
    axes = draw(table).axes[0]
    assert set(axes.lines[0].get_ydata()) == {axes.get_ylim()[0]}
    table.loc[table["of"] == "input", ["variance_reference", "variance"]] = 0.0
    assert faults(draw(table)) == []


def test_classes_stand_below_with_their_intervals():
    table = made_up(3)
    figure = draw(table)
    for axes, method in zip(figure.axes[3:6], TERNARY, strict=True):
        rows = table[(table["method"] == method) & (table["of"] == "class")]
        bars = axes.containers[0]
        np.testing.assert_allclose(bars.lines[0].get_ydata().astype(float), 1000 * rows["difference"])
        ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
        np.testing.assert_allclose(ends, 1000 * rows[["low", "high"]])
        assert to_hex(bars.lines[0].get_color()).upper() == METHOD_COLORS[method]


def test_titles_give_the_mean_differences():
    table = made_up()
    table.loc[table["of"] == "all", ["difference", "low", "high"]] = [0.0019, -0.00051, 0.0254]
    title = draw(table).axes[0].get_title()
    assert title.splitlines()[:2] == ["direct: mean difference (10$^{-3}$)", "all (300): +1.90 [-0.51, +25]"]
    assert "temperature" not in title
    tempered = draw(made_up(temperature=1.25)).axes[0].get_title()
    assert tempered.splitlines()[-1] == "temperatures 1.25 (direct), 1.25 (float)"


@pytest.mark.parametrize(("methods", "noise", "temperature"), [(1, "MC dropout", 1.0), (3, "MC dropconnect", 1.31)])
def test_no_text_overlaps_or_leaves_the_page(methods, noise, temperature):
    figure = draw(made_up(methods, 10000, noise, temperature))
    assert faults(figure) == []
    texts = {text.get_text() for text in drawn_texts(figure)}
    assert {f"{noise} variance, float", f"{noise} variance of the method named above"} <= texts
    assert figure.get_figwidth() == (3.5 if methods == 1 else 7.0)
    assert plt.get_fignums() == []


def test_bad_tables_are_refused():
    table = made_up()
    with pytest.raises(InputError, match="table: expected rows of single inputs"):
        draw(table[table["of"] != "input"])
