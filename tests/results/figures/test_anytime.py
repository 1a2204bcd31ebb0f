from __future__ import annotations

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import METHOD_COLORS, anytime_figure

METHODS = ["float", "direct", "indirect", "distill"]
MEASURES = ["accuracy", "predictive_entropy_nats", "ece", "ood_auroc"]


def made_up(methods=2, masks=("fixed", "per-step"), measures=4, steps=4) -> pd.DataFrame:
    """Curves that no two of are alike."""
    rng = np.random.default_rng(0)
    amounts = [("samples", s, steps) for s in (1, 2, 4, 8)]
    amounts += [("steps", 8, t) for t in (range(1, steps + 1) if steps <= 16 else (1, 8, steps))]
    rows = []
    for method, mask, (against, samples, step) in product(METHODS[:methods], masks, amounts):
        row = {"method": method, "mask": mask, "against": against, "samples": samples, "steps": step}
        row |= {"inputs": 2000, "bins": 15}
        for name in MEASURES[:measures]:
            spread = rng.uniform(0, 0.05) if against == "samples" else np.nan
            row |= {name: rng.uniform(0.5, 0.9), f"{name}_sd": spread}
        rows.append(row)
    return pd.DataFrame(rows)


def test_figure_draws_the_table():
    table = made_up()
    figure = anytime_figure(table)
    panels = list(product(MEASURES, ["samples", "steps"]))
    for axes, (measure, against) in zip(figure.axes, panels, strict=True):
        factor = 1 if measure == "predictive_entropy_nats" else 100
        part = table[table["against"] == against].groupby(["method", "mask"], sort=False)
        assert len(axes.lines) == len(part) == 4
        bands = axes.collections
        assert len(bands) == (4 if against == "samples" else 0)  # of at most a quarter of the samples
        for place, ((method, mask), rows) in enumerate(part):
            line = axes.lines[place]
            np.testing.assert_allclose(line.get_xdata(), rows[against])
            np.testing.assert_allclose(line.get_ydata(), factor * rows[measure])
            assert to_hex(line.get_color()).upper() == METHOD_COLORS[method]
            assert (line.get_markerfacecolor() == "white") == (mask == "per-step")
            if bands:
                low, high = (factor * (rows[measure] + sign * rows[f"{measure}_sd"]) for sign in (-1, 1))
                drawn = bands[place].get_paths()[0].vertices
                few = rows[against].to_numpy() <= 2
                assert drawn[:, 0].max() == 2
                ends = low[few].min(), high[few].max()
                assert (drawn[:, 1].min(), drawn[:, 1].max()) == pytest.approx(ends)
        assert axes.get_xscale() == ("log" if against == "samples" else "linear")


def test_errors_that_fall_by_orders_of_magnitude_stand_on_a_logarithmic_axis():
    table = made_up(measures=3, steps=4)
    steps = table["against"] == "steps"
    table.loc[steps, "ece"] = 0.3 / table.loc[steps, "steps"] ** 3
    table.loc[steps & (table["steps"] == 4), "predictive_entropy_nats"] = 0  # has no logarithm
    figure = anytime_figure(table)
    assert [axes.get_yscale() for axes in figure.axes] == ["linear"] * 4 + ["log"] * 2


@pytest.mark.parametrize(
    ("methods", "masks", "measures", "steps"), [(1, ("fixed",), 3, 1), (4, ("fixed", "per-step"), 4, 300)]
)
def test_no_text_overlaps_or_leaves_the_page(methods, masks, measures, steps):
    figure = anytime_figure(made_up(methods, masks, measures, steps))
    assert faults(figure) == []
    texts = {text.get_text() for text in drawn_texts(figure)}
    assert {"Predictive\nentropy (nats)", "Accuracy (%)", "ECE (%)\n15 bins", "Time steps T"} <= texts
    assert ("OOD AUROC (%)" in texts) == (measures == 4)
    assert any("N = 2,000 test inputs, S = 8 Monte Carlo samples." in text for text in texts)
    assert plt.get_fignums() == []


def test_bad_tables_are_refused():
    table = made_up()
    with pytest.raises(InputError, match="at least one method"):
        anytime_figure(table.iloc[:0])
    with pytest.raises(InputError, match="table: expected measures and mask modes"):
        anytime_figure(table.drop(columns=MEASURES))
