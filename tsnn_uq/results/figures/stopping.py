"""Early stopping: accuracy lost against time steps saved, and energy per decision against the promised loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.style import MethodStyle, method_styles, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["stopping_figure"]

_ACCOUNTINGS = {
    "fetch-all": "every weight is fetched",
    "operations": "operations alone",
    "fetch-spikes": "fetches for spikes",
}
_PJ = 1e-12  # joules
_CONVENTIONAL = {"8 bits": (0, (4, 2)), "2 bits": (0, (1, 1.5))}


def stopping_figure(table: DataFrame) -> Figure:
    """Accuracy lost against time steps saved (top), and energy per decision against the promised loss (bottom).

    Top left: the accuracy gap under risk control, with the promised gap (crosses, which should be higher), and the gap
    of exits at fixed confidences, without a promise (hollow). Top right: the coverage of conformal sets, with the
    promised coverage (crosses, which should be lower). Bottom, for each accounting: the mean energy of a decision
    against the promised gap, which is 0 for all steps; horizontal lines are a network of the same shape without spikes,
    with weights of 8 and of 2 bits.

    A table without energies, as from predictions alone, gives only the top half.

    Args:
        table: as returned by `tsnn_uq.results.studies.stopping_curves`.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no method, or lacks columns.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    missing = [name for name in ("rule", "promise", "saved", "coverage") if name not in table]
    if missing:
        raise InputError(f"table: expected a column {missing[0]}; got {list(table.columns)}")
    looks, priced = method_styles(table["method"]), "operations_pj" in table
    with style():
        figure = new_figure(4.6 if priced else 2.6, panels=2)
        halves: Any = figure.subfigures(1 + priced, 1, height_ratios=(1.15, 1)[: 1 + priced], squeeze=False)
        loss, coverage = halves[0, 0].subplots(1, 2)
        panels = halves[1, 0].subplots(1, len(_ACCOUNTINGS)) if priced else []
        for method, look in looks.items():
            rows = table[table["method"] == method]
            _draw_promise(loss, rows, "risk-control", "accuracy_gap", look)
            _draw_promise(coverage, rows, "conformal", "coverage", look)
            unguarded = rows[rows["rule"] == "early-exit"]
            loss.plot(100 * unguarded["saved"], 100 * unguarded["accuracy_gap"], **_line(look), markerfacecolor="white")
            for panel, accounting in zip(panels, _ACCOUNTINGS, strict=False):
                _draw_energy(panel, rows, accounting, look)
        loss.set(xlabel="Steps saved (%)", ylabel="Accuracy lost (points)", title="one threshold on the confidence")
        coverage.set(xlabel="Steps saved (%)", ylabel="Coverage (%)", title="conformal sets until one class is left")
        for panel, title in zip(panels, _ACCOUNTINGS.values(), strict=False):
            panel.set(xlabel="Promised loss (points)", title=title, yscale="log")
            low, high = panel.get_ylim()
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
            panel.yaxis.set_major_formatter(EngFormatter("J"))
            panel.yaxis.set_minor_formatter(NullFormatter())
        if priced:
            panels[0].set_ylabel("Energy of a decision")
        _draw_legend(figure, looks, priced=priced)
        first = table.iloc[0]
        explain(
            figure,
            table,
            f"T = {first['steps']} time steps at most; rules were calibrated on {first['calibration']:,} other inputs.",
            "Above, left: accuracy lost by stopping once confidence passes a threshold, under risk control (filled; "
            f"crosses: the loss promised with probability {1 - first['delta']:g}) and at fixed thresholds (hollow, no "
            "promise). Above, right: how often conformal sets contain the true class; crosses: the coverage promised.",
            "Below: mean energy of a decision against the loss promised, 0 for all steps, by three accountings; "
            "horizontal lines: a network of the same shape without spikes, with weights of 8 and 2 bits."
            if priced
            else "",
        )
    return figure


def _line(look: MethodStyle) -> dict[str, Any]:
    return {**look.curve, "linewidth": 0.9}


def _draw_promise(axes: Axes, rows: DataFrame, rule: str, measure: str, look: MethodStyle) -> None:
    """Draw measured values and, above or below each, the promised one."""
    part = rows[rows["rule"] == rule]
    saved, found, promised = 100 * part["saved"], 100 * part[measure], 100 * part["promise"]
    axes.plot(saved, found, **_line(look))
    axes.vlines(saved, found, promised, color=look.color, linewidth=0.4)
    axes.plot(saved, promised, color=look.color, marker="x", linestyle="", markeredgewidth=0.8)


def _draw_energy(axes: Axes, rows: DataFrame, accounting: str, look: MethodStyle) -> None:
    part = rows[rows["rule"].isin(("risk-control", "all steps"))].fillna({"promise": 0.0}).sort_values("promise")
    axes.plot(100 * part["promise"], _PJ * part[f"{accounting}_pj"], **_line(look))
    for rule, dashes in _CONVENTIONAL.items():
        (energy,) = rows.loc[rows["rule"] == rule, f"{accounting}_pj"]
        axes.axhline(_PJ * energy, color=look.color, linestyle=dashes, linewidth=0.7)


def _draw_legend(figure: Figure, looks: Mapping[str, MethodStyle], *, priced: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=method, **_line(look)) for method, look in looks.items()]
    grey: dict[str, Any] = {"color": "0.4", "linestyle": ""}
    handles.append(Line2D([], [], label="promised", marker="x", **grey))
    handles.append(Line2D([], [], label="no promise", marker="o", markerfacecolor="white", **grey))
    for rule, dashes in _CONVENTIONAL.items() if priced else ():
        handles.append(Line2D([], [], label=f"no spikes, {rule}", color="0.4", linestyle=dashes, linewidth=0.7))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
