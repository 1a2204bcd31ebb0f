"""Quality of networks against their cost, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.captions import explain
from tsnn_uq.results.figures.style import MethodStyle, in_order, method_styles, new_figure, style
from tsnn_uq.results.measures import COSTS, measure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["energy_figure", "tradeoff_figure"]

_FILLS: tuple[Any, ...] = ("full", "none", "left", "bottom")  # one for each family
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":")
_SIZES = {"energy_pj": 1e-12}  # factors from the column's unit to that in `_UNITS`
_UNITS = {"storage_bytes": "B", "energy_pj": "J"}
_FRONT: dict[str, Any] = {
    **{"color": "0.5", "linewidth": 0.8, "zorder": 1},
    **{"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 0.8},
}


def tradeoff_figure(table: DataFrame) -> Figure:
    """Means with standard deviations over seeds and the Pareto front of means; a row per measure, a column per cost.

    Methods differ in colour and marker, and families in the fill of markers. If ternary networks differ in the
    quantized part, it is written beside them. The grey line joins the networks on the front. Costs are logarithmic.

    Args:
        table: as returned by `tsnn_uq.results.studies.tradeoffs`.

    Returns:
        The figure, as wide as a page.

    Raises:
        InputError: the table has no rows.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    looks = _looks(table)
    measures, costs = list(dict.fromkeys(table["measure"])), list(dict.fromkeys(table["cost"]))
    parts = set(table["quantized_part"]) - {"none"}
    with style():
        figure = new_figure(0.7 + 1.6 * len(measures), 2)
        panels = figure.subplots(len(measures), len(costs), sharex="col", sharey="row", squeeze=False)
        for row, measure in enumerate(measures):
            for column, cost in enumerate(costs):
                axes = panels[row, column]
                rows = table[(table["measure"] == measure) & (table["cost"] == cost)]
                rows = rows.assign(**{name: _SIZES.get(cost, 1) * rows[name] for name in ("cost_value", "cost_std")})
                _draw_front(axes, rows[rows["on_front"]])
                _draw_networks(axes, rows, looks, _families(table), name_parts=len(parts) > 1)
                axes.set_xscale("log")
                axes.margins(x=0.15, y=0.12)
            if not table.loc[table["measure"] == measure, "on_front"].any():
                panels[row, 0].text(
                    0.98, 0.97, "no front", transform=panels[row, 0].transAxes, ha="right", va="top", color="0.45"
                )
            panels[row, 0].set_ylabel(measure_of(measure)[0].label)
        for axes, cost in zip(panels[-1], costs, strict=True):
            axes.set_xlabel(COSTS[cost].heading)
            low, high = axes.get_xlim()
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high > 10 * low else (1, 2, 5)))
            axes.xaxis.set_major_formatter(EngFormatter(unit=_UNITS.get(cost, "")))
            axes.xaxis.set_minor_formatter(NullFormatter())
        figure.align_ylabels(panels[:, 0])
        _draw_legend(figure, looks, _families(table), bool(table["on_front"].any()))
        without = [name for name in measures if not measure_of(name)[0].better]
        titles = " and ".join(measure_of(name)[0].title for name in without)
        explain(
            figure,
            table,
            "Points are means over seeds, bars sample standard deviations; the grey line joins networks that no other "
            "beats in both means.",
            f"Of {titles} neither more nor less is better, so there is no front." if without else "",
            "Energy is that of one pass over all time steps, by the cost model, not measured.",
        )
    return figure


def _looks(table: DataFrame) -> dict[str, MethodStyle]:
    if not len(table):
        raise InputError("table: expected at least one network; got none")
    return method_styles(table["method"])


def _families(table: DataFrame) -> dict[str, int]:
    return {family: number for number, family in enumerate(dict.fromkeys(table["family"]))}


def _draw_networks(
    axes: Axes,
    rows: DataFrame,
    looks: Mapping[str, MethodStyle],
    families: Mapping[str, int],
    *,
    name_parts: bool,
) -> None:
    for network in rows.to_dict("records"):
        look = looks[network["method"]]
        fill = _FILLS[families[network["family"]] % len(_FILLS)]
        axes.errorbar(
            network["cost_value"],
            network["value"],
            xerr=network["cost_std"],
            yerr=network["value_std"],
            color=look.color,
            marker=look.marker,
            fillstyle=fill,
            markerfacecoloralt="white",
            elinewidth=0.7,
        )
        if name_parts and network["quantized_part"] != "none":
            place = (network["cost_value"], network["value"])
            axes.annotate(network["quantized_part"], place, (4, 2), textcoords="offset points", fontsize=7)


def _draw_front(axes: Axes, front: DataFrame) -> None:
    ordered = front.sort_values(["cost_value", "value"])
    axes.plot(ordered["cost_value"], ordered["value"], **_FRONT)


def _draw_legend(figure: Figure, looks: Mapping[str, MethodStyle], families: Mapping[str, int], front: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="", label=method)
        for method, look in looks.items()
    ]
    if len(families) > 1:
        handles += [
            Line2D(
                [],
                [],
                color="0.3",
                marker="o",
                linestyle="",
                label=family,
                fillstyle=_FILLS[number % len(_FILLS)],
                markerfacecoloralt="white",
            )
            for family, number in families.items()
        ]
    if front:
        handles.append(Line2D([], [], **_FRONT, label="Pareto front of means"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5))


def energy_figure(table: DataFrame) -> Figure:
    """Measures of predictions from S samples against the energy of all S passes, a point for each S.

    Bands are standard deviations over seeds. Methods differ in colour and marker, families and quantized parts in line.

    Args:
        table: as returned by `tsnn_uq.results.studies.energy_curves`.

    Returns:
        The figure, as wide as a column for one measure, else a page.

    Raises:
        InputError: the table has no rows.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    looks = _looks(table)
    measures = list(dict.fromkeys(table["measure"]))
    most = table["samples"].max()
    with style():
        figure = new_figure(2.7, len(measures))
        panels = figure.subplots(1, len(measures), squeeze=False)[0]
        for axes, measure in zip(panels, measures, strict=True):
            of_measure = table[table["measure"] == measure]
            for (family, part, method), (line, label) in _curve_styles(table).items():
                chosen = (of_measure["family"] == family) & (of_measure["quantized_part"] == part)
                rows = of_measure[chosen & (of_measure["method"] == method)].sort_values("samples")
                _draw_curve(axes, rows, looks[method], line, label)
            axes.set(xscale="log", xlabel=f"Energy of S = 1 to {most} passes", ylabel=measure_of(measure)[0].label)
            low, high = axes.get_xlim()
            if high < 10 * low:
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(EngFormatter(unit="J"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))
        explain(
            figure,
            table,
            "Points: S = 1, 2, 4, ... samples, whose energy is S times that of one pass, by the cost model; bands: "
            "sample standard deviations over seeds. Values are means over disjoint groups of S samples.",
        )
    return figure


def _curve_styles(table: DataFrame) -> dict[tuple[str, str, str], tuple[Any, str]]:
    """Line and label of each family, part and method; labels have the family and the part only if there are several."""
    found = list(dict.fromkeys(zip(table["family"], table["quantized_part"], table["method"], strict=True)))
    kinds = list(dict.fromkeys((family, part) for family, part, _ in found if part != "none"))
    kinds = kinds or list(dict.fromkeys((family, part) for family, part, _ in found))
    several = len({family for family, *_ in found}) > 1, len({part for _, part in kinds}) > 1
    looks = {}
    for method in in_order(table["method"]):
        for family, part, _ in (one for one in found if one[2] == method):
            # A float network has no part, so it has the line of the first part of its family.
            alike = [kind for kind in kinds if kind[0] == family and part in (kind[1], "none")]
            place = kinds.index(alike[0]) if alike else len(kinds)
            names = [name for name, wanted in zip((family, part), several, strict=True) if wanted and name != "none"]
            looks[family, part, method] = (_LINES[place % len(_LINES)], ", ".join([*names, method]))
    return looks


def _draw_curve(axes: Axes, rows: DataFrame, look: MethodStyle, line: Any, label: str) -> None:
    energy, value, spread = _SIZES["energy_pj"] * rows["energy_pj"], rows["value"], rows["value_std"].fillna(0)
    axes.fill_between(energy, value - spread, value + spread, color=look.color, alpha=0.15, linewidth=0)
    axes.plot(energy, value, color=look.color, marker=look.marker, linestyle=line, label=label)
