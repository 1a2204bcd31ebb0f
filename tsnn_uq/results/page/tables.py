"""The tables of a report: means and spreads over seeds, how far the runs are, and rows in the paper's layout."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from tsnn_uq.results.figures.style import method_styles
from tsnn_uq.results.measures import Measure
from tsnn_uq.results.page.contents import STATES, Contents
from tsnn_uq.results.page.html import Html, element, joined, table_row

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["boxed", "layout_table", "marked", "state_table", "summary_table"]


_ARROWS = {
    1: element("span", "↑", class_="better", title="more is better"),
    -1: element("span", "↓", class_="better", title="less is better"),
    0: Html(""),
}
_SHAPES = {
    "o": '<circle cx="6" cy="6" r="4.5"/>',
    "s": '<rect x="2" y="2" width="8" height="8"/>',
    "^": '<path d="M6 1 11 10.5H1Z"/>',
    "D": '<path d="M6 .5 11.5 6 6 11.5 .5 6Z"/>',
}
_PAPER_METHODS = {"none": "float"}


def marked(method: str) -> Html:
    """A method's name behind its marker in the figures, of the same shape and colour."""
    look = method_styles([method])[method]
    shape = Html(_SHAPES[look.marker])
    return joined(
        [element("svg", shape, class_="mark", viewBox="0 0 12 12", fill=look.color, aria_hidden="true"), " ", method]
    )


def boxed(table: Html, title: str) -> Html:
    """A table in a box that it scrolls in, with the keyboard too."""
    return element("div", table, class_="box", role="region", aria_label=title, tabindex=0)


def summary_table(summary: DataFrame, measures: Collection[Measure], title: str) -> Html:
    """Mean and sample standard deviation over seeds, a row for each network, a column for each measure.

    Every number is in the summary's unit in a ``data`` element, with all digits, and as shown in its heading's unit.

    Args:
        summary: what `tsnn_uq.results.tables.summarize` returns.
        measures: the columns.
        title: of the table.
    """
    units = [_unit(measure, summary[f"{measure.column}_mean"]) for measure in measures]
    headings = [
        joined([measure.title, " ", _ARROWS[measure.better], Html("<br>"), element("small", unit)])
        for measure, (unit, _) in zip(measures, units, strict=True)
    ]
    several = "dataset" in summary and summary["dataset"].nunique() > 1
    rows = []
    for place, row in enumerate(summary.to_dict("records")):
        where = ([str(row["dataset"])] if several else []) + [str(row["family"]), _weights(str(row["quantized_part"]))]
        network = joined([_data(place, marked(row["method"])), element("small", ", ".join(where))])
        cells = [_cell(row, measure, size) for measure, (_, size) in zip(measures, units, strict=True)]
        rows.append(table_row("td", network, _data(row["seeds"], row["seeds"]), *cells))
    return _table(
        title, table_row("th", "network", joined(["seeds", Html("<br>"), element("small", "n")]), *headings), rows
    )


def _table(title: str, heading: Html, rows: Iterable[Html], kind: str = "sortable") -> Html:
    body = element("tbody", *rows)
    table = element("table", element("caption", title), element("thead", heading), body, class_=kind)
    return boxed(table, title)


def _weights(part: str) -> str:
    return {"none": "float weights", "all": "all layers ternary"}.get(part, f"{part} layers ternary")


def _unit(measure: Measure, means: Iterable[float]) -> tuple[str, float]:
    least = min((mean for mean in means if mean > 0), default=0.0)
    sizes = {unit: size / measure.size for unit, size in measure.units.items()}
    fitting = [unit for unit in sizes.items() if least >= unit[1]]
    return fitting[-1] if fitting else next(iter(sizes.items()))


def _cell(row: dict[Any, Any], measure: Measure, size: float) -> Html:
    mean, std = row[f"{measure.column}_mean"], row[f"{measure.column}_std"]
    parts: list[Html | str] = [_data(mean, "-" if math.isnan(mean) else f"{mean / size:,.{measure.digits}f}")]
    if not math.isnan(std):  # as of one seed
        parts += [" ", element("span", "± ", _data(std, _spread(std / size, measure.digits)), class_="spread")]
    if left_out := row.get(measure.left_out, 0):
        parts += [" ", element("small", f"({row['seeds'] - left_out} of {row['seeds']})")]
    return joined(parts)


def _spread(value: float, digits: int) -> str:
    """Digits of a spread: those of its mean, and more where nothing of it would be left."""
    if value == 0:
        return "0"
    return f"{value:,.{max(digits, -math.floor(math.log10(value)))}f}"


def _data(value: object, shown: object) -> Html:
    return element("data", shown, value=value)


def state_table(contents: Contents) -> Html:
    """Which seeds of each kind of network are finished, begun, and not begun."""
    several = len(contents.comparisons) > 1
    headings = (["folder"] if several else []) + ["family", "ternary layers", "method", *STATES]
    rows = []
    for compared in contents.comparisons:
        for kind, seeds in compared.seeds.items():
            states = [", ".join(map(str, seeds[state])) or "-" for state in STATES]
            where = [compared.name] if several else []
            rows.append(table_row("td", *where, kind.family, kind.part, marked(kind.method), *states))
    return _table("Runs by their seeds", table_row("th", *headings), rows, kind="plain")


def layout_table(table: DataFrame) -> Html:
    """Our rows as ``table.csv`` has them: the paper's names, rows and columns."""
    headings = [str(name).replace("_", " ") for name in table]
    rows = []
    for row in table.to_dict("records"):
        cells = []
        for name, value in row.items():
            if name == "method":
                cells.append(marked(_PAPER_METHODS.get(str(value), str(value))))
            elif isinstance(value, float):
                cells.append(_data(value, "-" if math.isnan(value) else f"{value:.4g}"))
            else:
                cells.append(joined([value]))
        rows.append(table_row("td", *cells))
    title = "Our rows in the layout of the paper's table, where the method float is called none"
    return _table(title, table_row("th", *headings), rows)
