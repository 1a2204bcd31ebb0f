from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.helpers.figures import faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import stopping_figure

ACCOUNTINGS = ("fetch-all", "operations", "fetch-spikes")


def made_up() -> pd.DataFrame:
    """Numbers that no two of are alike."""
    rng = np.random.default_rng(0)
    rows = []
    names = [("risk-control", 0.01), ("risk-control", 0.05), ("conformal", 0.9), ("conformal", 0.8)]
    names += [("early-exit", 0.9), ("all steps", np.nan), ("8 bits", np.nan), ("2 bits", np.nan)]
    for method in ("direct", "float"):
        for rule, promise in names:
            row = {"method": method, "rule": rule, "promise": promise, "saved": rng.uniform(0, 0.9)}
            row |= {"accuracy_gap": rng.uniform(0, 0.1), "coverage": rng.uniform(0.8, 1)}
            row |= {f"{name}_pj": 10 ** rng.uniform(4, 7) for name in ACCOUNTINGS}
            row |= {"steps": 300, "samples": 32, "delta": 0.05, "inputs": 10_000, "calibration": 6000}
            rows.append(row)
    return pd.DataFrame(rows)


def test_figure_draws_the_table() -> None:
    table = made_up()
    figure = stopping_figure(table)
    loss, coverage, *energies = (axes for part in figure.subfigs for axes in part.axes)
    for place, method in enumerate(("float", "direct")):
        rows = table[table["method"] == method].set_index("rule")
        found, promised, unguarded = loss.lines[3 * place : 3 * place + 3]
        for line, rule, column in [
            (found, "risk-control", "accuracy_gap"),
            (promised, "risk-control", "promise"),
            (unguarded, "early-exit", "accuracy_gap"),
            (coverage.lines[2 * place], "conformal", "coverage"),
            (coverage.lines[2 * place + 1], "conformal", "promise"),
        ]:
            part = rows.loc[[rule]]
            np.testing.assert_allclose(line.get_xdata(), 100 * part["saved"])
            np.testing.assert_allclose(line.get_ydata(), 100 * part[column])
        for axes, name in zip(energies, ACCOUNTINGS, strict=True):
            spiking, *others = axes.lines[3 * place : 3 * place + 3]
            np.testing.assert_allclose(spiking.get_xdata(), [0, 1, 5])
            wanted = rows[f"{name}_pj"].loc[["all steps", "risk-control"]] * 1e-12
            np.testing.assert_allclose(spiking.get_ydata(), wanted)
            assert [line.get_ydata()[0] for line in others] == [
                rows.loc[rule, f"{name}_pj"] * 1e-12 for rule in ("8 bits", "2 bits")
            ]
    assert faults(figure) == []


def test_other_tables_are_refused() -> None:
    with pytest.raises(InputError, match="table: expected a column rule"):
        stopping_figure(made_up().drop(columns="rule"))
    with pytest.raises(InputError, match="at least one method"):
        stopping_figure(made_up().iloc[:0])
