from __future__ import annotations

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import METHOD_COLORS, posterior_differences, posterior_table


def made_up(generator: torch.Generator, measures: int = 2, families: int = 2, parts: int = 1) -> SimpleNamespace:
    """Gaussian posteriors of differences, and the table that a comparison would make of them."""
    names = ["accuracy", "ece", "predictive_entropy", "predictive_variance", "nll", "aurc"][:measures]
    units = {"accuracy": "points", "ece": "points", "predictive_entropy": "nats", "nll": "nats"}
    rows = [
        {"measure": name, "unit": units.get(name, ""), "dataset": data, "family": family}
        | {"quantized_part": part, "method": method}
        for name in names
        for data, family in [("mnist", f) for f in ["dropconnect", "dropout"][:families]] + [("all", "all")]
        for part in ["all", "conv"][:parts]
        for method in ("direct", "indirect")
    ]
    draws = torch.randn(2, 100, len(rows), generator=generator, dtype=torch.float64) + torch.arange(len(rows))
    flat = draws.flatten(0, 1).numpy()
    low, high = np.quantile(flat, [0.025, 0.975], axis=0)
    numbers = {"difference_mean": flat.mean(0), "low": low, "high": high, "rope_low": -0.5, "rope_high": 0.5}
    table = pd.DataFrame(rows).assign(**numbers)
    return SimpleNamespace(draws=draws, table=table.copy)


def test_rows_are_those_of_the_table(generator: torch.Generator) -> None:
    comparison = made_up(generator)
    figure = posterior_differences(posterior_table(comparison.table(), comparison.draws))
    table = comparison.table()
    assert [axes.get_title() for axes in figure.axes] == ["Accuracy", "ECE"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["Difference (points)"] * 2
    for axes, (_, rows) in zip(figure.axes, table.groupby("measure"), strict=True):
        intervals = [line for line in axes.lines if line.get_linewidth() == 1.2]
        np.testing.assert_allclose([line.get_xdata() for line in intervals], rows[["low", "high"]])
        assert [line.get_ydata()[0] for line in intervals] == list(range(6))
        assert [line.get_color() for line in intervals] == [METHOD_COLORS[method] for method in rows["method"]]
        means = [line for line in axes.lines if len(line.get_xdata()) == 1]
        np.testing.assert_allclose([line.get_xdata()[0] for line in means], rows["difference_mean"])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "dropconnect, direct"
    assert labels[-1] == "mean, indirect"
    low, high = figure.axes[0].get_ylim()
    assert low > 5 > 0 > high  # the first row on top


def test_density_is_over_its_draws_and_fits_its_row(generator: torch.Generator) -> None:
    comparison = made_up(generator, measures=1)
    (axes,) = posterior_differences(posterior_table(comparison.table(), comparison.draws)).axes
    areas = [area.get_paths()[0].vertices for area in axes.collections][1::2]
    ropes = [area.get_paths()[0].vertices for area in axes.collections][::2]
    assert len(areas) == len(ropes) == 6
    for place, (area, rope) in enumerate(zip(areas, ropes, strict=True)):
        values = comparison.draws[..., place].flatten().numpy()
        assert values.min() <= area[:, 0].min() < area[:, 0].max() <= values.max()
        assert area[area[:, 1].argmin(), 0] == pytest.approx(np.median(values), abs=0.6)
        assert place - 1 < area[:, 1].min() < area[:, 1].max() <= place
        assert (rope[:, 0].min(), rope[:, 0].max()) == (-0.5, 0.5)


@pytest.mark.parametrize(("measures", "families", "parts"), [(1, 1, 1), (2, 2, 2), (6, 2, 1)])
def test_no_text_overlaps_or_leaves_the_page(
    generator: torch.Generator, measures: int, families: int, parts: int
) -> None:
    comparison = made_up(generator, measures, families, parts)
    figure = posterior_differences(posterior_table(comparison.table(), comparison.draws))
    assert faults(figure) == []
    assert sum(axes.get_visible() for axes in figure.axes) == measures
    texts = {text.get_text() for text in drawn_texts(figure)}
    assert ("dropconnect, conv, direct" if parts == 2 else "dropconnect, direct") in texts
    assert plt.get_fignums() == []


def test_nothing_to_draw_is_refused(generator: torch.Generator) -> None:
    comparison = made_up(generator)
    with pytest.raises(InputError, match="table: expected at least one difference"):
        posterior_differences(comparison.table().iloc[:0])


def test_a_table_alone_draws_all_but_the_densities(generator: torch.Generator) -> None:
    comparison = made_up(generator, measures=1)
    (axes,) = posterior_differences(comparison.table()).axes
    assert len(axes.collections) == 6  # the regions of equivalence
    assert len([line for line in axes.lines if line.get_linewidth() == 1.2]) == 6
