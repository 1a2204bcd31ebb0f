from __future__ import annotations

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import METHOD_COLORS, shift_figure, with_pictures

METHODS = ["float", "direct", "indirect", "distill"]
MEASURES = ["accuracy", "predictive_entropy_nats", "ece"]
AMOUNTS = {"rotate": [0, 30, 60, 90, 120, 150, 180], "noise": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], "blur": [0, 1, 1.1, 3]}


def made_up(methods=2, shifts=("rotate", "noise", "blur")):
    rng = np.random.default_rng(0)
    rows = []
    for shift, method in product(shifts, METHODS[:methods]):
        for amount in AMOUNTS[shift]:
            row = {"shift": shift, "amount": amount, "method": method, "inputs": 1000, "samples": 32, "bins": 15}
            row |= dict(zip(MEASURES, rng.uniform(0.2, 0.8, 3), strict=True))
            rows.append(row | {"accuracy_low": row["accuracy"] - 0.05, "accuracy_high": row["accuracy"] + 0.04})
    pictures = {(shift, amount): rng.random((8, 8)) for shift in shifts for amount in AMOUNTS[shift]}
    return with_pictures(pd.DataFrame(rows), ["shift", "amount"], pictures), pictures


def test_figure_draws_the_table_under_its_images():
    table, _ = made_up()
    axes = np.reshape(shift_figure(table).axes, (4, 3))
    for column, shift in zip(axes.T, AMOUNTS, strict=True):
        rows = table[table["shift"] == shift]
        for panel, measure in zip(column[1:], MEASURES, strict=True):
            factor = 1 if measure == "predictive_entropy_nats" else 100
            for line, method in zip(panel.lines, METHODS[:2], strict=True):
                part = rows[rows["method"] == method]
                np.testing.assert_allclose(line.get_xdata(), part["amount"])
                np.testing.assert_allclose(line.get_ydata(), factor * part[measure])
                assert to_hex(line.get_color()).upper() == METHOD_COLORS[method]
            assert len(panel.collections) == (2 if measure == "accuracy" else 0)
        part = rows[rows["method"] == "float"]
        band = column[1].collections[0].get_paths()[0].vertices[:, 1]
        ends = 100 * part["accuracy_low"].min(), 100 * part["accuracy_high"].max()
        assert (band.min(), band.max()) == pytest.approx(ends)


def test_an_image_stands_above_each_amount_unless_its_neighbour_is_too_close():
    table, pictures = made_up()
    strips = shift_figure(table).axes[:3]
    for strip, (shift, amounts) in zip(strips, AMOUNTS.items(), strict=True):
        shown = [amount for amount in amounts if amount != 1.1]
        middles = [np.mean(image.get_extent()[:2]) for image in strip.images]
        assert middles == pytest.approx(shown)
        for image, amount in zip(strip.images, shown, strict=True):
            np.testing.assert_allclose(image.get_array() / 255, pictures[shift, amount], atol=0.51 / 255)


def test_images_are_as_high_as_wide():
    table, _ = made_up()
    figure = shift_figure(table)
    figure.draw_without_rendering()
    for strip, panel in zip(figure.axes[:3], figure.axes[3:6], strict=True):
        left, right, bottom, top = strip.images[0].get_extent()
        (x0, y0), (x1, y1) = strip.transData.transform([(left, bottom), (right, top)])
        assert x1 - x0 == pytest.approx(y1 - y0, rel=0.02)
        assert strip.get_window_extent().x0 == pytest.approx(panel.get_window_extent().x0, abs=1)
        assert strip.get_window_extent().x1 == pytest.approx(panel.get_window_extent().x1, abs=1)


@pytest.mark.parametrize(
    ("methods", "shifts"), [(1, ("blur",)), (4, ("rotate", "noise")), (4, ("rotate", "noise", "blur"))]
)
def test_no_text_overlaps_or_leaves_the_page(methods, shifts):
    table, _ = made_up(methods, shifts)
    figure = shift_figure(table)
    assert faults(figure) == []
    texts = {text.get_text() for text in drawn_texts(figure)}
    assert {"ECE (%)", "Accuracy (%)"} <= texts
    assert any("N = 1,000 test inputs, S = 32 Monte Carlo samples." in text for text in texts)
    assert figure.get_figwidth() == (3.5 if len(shifts) == 1 else 7.0)
    assert plt.get_fignums() == []


def test_a_single_amount_can_be_drawn():
    table, _ = made_up(shifts=("blur",))
    figure = shift_figure(table[table["amount"] == 3])
    assert faults(figure) == []


def test_images_can_be_left_out():
    table, _ = made_up(shifts=("blur",))
    assert not any(axes.images for axes in shift_figure(table.drop(columns="picture")).axes)
    with pytest.raises(InputError, match="at least one method"):
        shift_figure(table.iloc[:0])
