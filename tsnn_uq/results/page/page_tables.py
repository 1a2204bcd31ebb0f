"""The tables of a page: formatted means and spreads over seeds, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tsnn_uq.results.measures import COSTS, MEASURES, QUALITY, SCALED, Measure
from tsnn_uq.results.page.folder_contents import FolderContents
from tsnn_uq.results.paired_differences import NetworkTables

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "Cell",
    "Heading",
    "PairedTable",
    "ResultTable",
    "Row",
    "named_tables",
    "paired_tables",
    "result_tables",
    "summary_table",
]

_TABLES = (
    (QUALITY, "Accuracy, calibration and uncertainty"),
    (SCALED, "After temperature scaling"),
    (COSTS, "Size and cost"),
)


@dataclass(frozen=True)
class Heading:
    """Heading of a column; see `tsnn_uq.results.measures.Measure`."""

    title: str
    better: int
    unit: str


@dataclass(frozen=True)
class Cell:
    """Mean and spread over seeds, as numbers in the unit of the summary and as text in the unit of the heading.

    Args:
        mean: the mean, in the unit of the summary.
        shown: the mean as text, in the unit of the heading.
        std: sample standard deviation, in the unit of the summary.
        spread: the standard deviation as text, in the unit of the heading; empty for one seed.
        kept: number of seeds in the mean as text; empty if it has all seeds.
    """

    mean: float
    shown: str
    std: float
    spread: str
    kept: str


@dataclass(frozen=True)
class Row:
    """A kind of network: its method, data set, family and part, the number of seeds, and its cells."""

    method: str
    where: str
    seeds: int
    cells: list[Cell]


@dataclass(frozen=True)
class ResultTable:
    """A table of a page.

    Args:
        title: the caption.
        headings: headings of the measures.
        rows: a row for each kind of network.
        undetermined: whether seeds were left out since their temperature is undetermined.
    """

    title: str
    headings: list[Heading]
    rows: list[Row]
    undetermined: bool = False


def result_tables(contents: FolderContents) -> Iterator[ResultTable]:
    """Tables of quality, before and after temperature scaling, and of costs."""
    for group, summary in contents.summaries().items():
        of = f", regularizer {group}" if group else ""
        for measures, title in _TABLES:
            if given := _given(summary, measures):  # older runs have no temperature
                yield summary_table(summary, given, f"{title}{of}")


def named_tables(tables: NetworkTables) -> Iterator[ResultTable]:
    """The same tables for named networks, in their order, without measures that no network has."""
    summary = tables.summary.set_index("method").loc[list(tables.networks.names)].reset_index()
    for measures, title in _TABLES:
        if known := [one for one in _given(summary, measures) if summary[f"{one.column}_mean"].notna().any()]:
            yield summary_table(summary, known, title, kinds=False)


def _given(summary: DataFrame, measures: Mapping[str, Measure]) -> list[Measure]:
    """The measures that a summary has."""
    return [one for one in measures.values() if f"{one.column}_mean" in summary]


@dataclass(frozen=True)
class PairedTable:
    """A table of differences from a reference; each row has the network and its texts.

    A text is emphasized if its interval excludes 0.
    """

    title: str
    headings: list[Heading]
    rows: list[tuple[str, list[tuple[str, bool]]]]


def paired_tables(tables: NetworkTables) -> Iterator[PairedTable]:
    """Differences between each network and the reference, and McNemar's test; no table if there is only one network."""
    networks = tables.networks
    if len(networks.names) < 2:
        return
    table = tables.differences
    measures = [MEASURES[name] for name in dict.fromkeys(table["measure"])]
    rows = [
        (name, [_difference(row) for row in table[table["method"] == name].to_dict("records")])
        for name in networks.others
    ]
    first = table.iloc[0]
    title = f"Differences from {networks.reference}, with {100 * first['level']:g} % intervals"
    yield PairedTable(title, [Heading(one.title, one.better, one.unit or one.span) for one in measures], rows)
    tests = tables.mcnemar
    several = tests["seed"].nunique() > 1
    alone = [Heading(f"{who} alone right", 0, "inputs") for who in (networks.reference, "this network")]
    headings = [Heading("seed", 0, "place"), *alone, Heading("p", 0, "two-sided")]
    rows = []
    for row in tests.to_dict("records"):
        counts = [f"{row[name]:,}" for name in ("seed", "only_reference", "only_method")]
        cells = [*((text, False) for text in counts), (f"{row['p_value']:.3g}", row["p_value"] < 1 - first["level"])]
        rows.append((str(row["method"]), cells if several else cells[1:]))
    title = f"McNemar's test of equal accuracies with {networks.reference}"
    yield PairedTable(title, headings if several else headings[1:], rows)


def _difference(row: dict[Any, Any]) -> tuple[str, bool]:
    """A difference with its interval, and whether the interval excludes 0."""
    measure = MEASURES[row["measure"]]
    if math.isnan(row["difference"]):
        return "-", False
    values = (row[name] * measure.factor for name in ("difference", "low", "high"))
    middle, low, high = (f"{value:+.{measure.digits}f}" for value in values)
    return f"{middle} [{low}, {high}]", row["low"] > 0 or row["high"] < 0


def summary_table(summary: DataFrame, measures: Collection[Measure], title: str, *, kinds: bool = True) -> ResultTable:
    """Mean and sample standard deviation over seeds, a row for each network, a column for each measure.

    Args:
        summary: as returned by `tsnn_uq.results.tables.summarize`.
        measures: the measures in the columns.
        title: title of the table.
        kinds: whether rows have family and quantized part.
    """
    units = [_unit(measure, summary[f"{measure.column}_mean"]) for measure in measures]
    headings = [Heading(m.title, m.better, unit) for m, (unit, _) in zip(measures, units, strict=True)]
    several = "dataset" in summary and summary["dataset"].nunique() > 1
    rows = []
    for row in summary.to_dict("records"):
        where = [str(row["dataset"])] if several else []
        where += [str(row["family"]), _weights(str(row["quantized_part"]))] if kinds else []
        cells = [_cell(row, measure, size) for measure, (_, size) in zip(measures, units, strict=True)]
        rows.append(Row(row["method"], ", ".join(where), row["seeds"], cells))
    left_out = {measure.left_out for measure in measures} & set(summary.columns)
    return ResultTable(title, headings, rows, any(summary[name].any() for name in left_out))


def _weights(part: str) -> str:
    return {"none": "float weights", "all": "all layers ternary"}.get(part, f"{part} layers ternary")


def _unit(measure: Measure, means: Iterable[float]) -> tuple[str, float]:
    """The largest unit in which no mean is below 1, and its size in the unit of the summary."""
    least = min((mean for mean in means if mean > 0), default=0.0)
    sizes = {unit: size / measure.size for unit, size in measure.units.items()}
    fitting = [unit for unit in sizes.items() if least >= unit[1]]
    return fitting[-1] if fitting else next(iter(sizes.items()))


def _cell(row: dict[Any, Any], measure: Measure, size: float) -> Cell:
    mean, std = row[f"{measure.column}_mean"], row[f"{measure.column}_std"]
    left_out = row.get(measure.left_out, 0)
    return Cell(
        mean,
        "-" if math.isnan(mean) else f"{mean / size:,.{measure.digits}f}",
        std,
        "" if math.isnan(std) else _spread(std / size, measure.digits),
        f"{row['seeds'] - left_out} of {row['seeds']}" if left_out else "",
    )


def _spread(value: float, digits: int) -> str:
    """A spread with as many digits as its mean, or more if it would round to zero."""
    if value == 0:
        return "0"
    return f"{value:,.{max(digits, -math.floor(math.log10(value)))}f}"
