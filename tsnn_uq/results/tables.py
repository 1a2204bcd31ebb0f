"""Tables of results with a row per trained network, and their means and standard deviations over seeds."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError
from tsnn_uq.files import as_path, csv_text, write_text
from tsnn_uq.results.measures import MEASURES, SCALED
from tsnn_uq.training import METHODS

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.table import Table

    Rows = DataFrame | Sequence[Mapping[str, Any]]

__all__ = [
    "COLUMNS",
    "KEYS",
    "group_keys",
    "read_results",
    "read_table",
    "render_table",
    "summarize",
    "write_results",
    "write_summary",
]

#: Columns of a row of results; fractions are 0 to 1. Rows may have more, which follow these.
COLUMNS = (
    *("family", "quantized_part", "method", "seed"),
    *("accuracy", "nll", "brier", "ece"),
    *("predictive_entropy", "normalized_entropy", "mutual_information", "predictive_variance", "predictive_std"),
    *("sparsity", "storage_bytes", "flops", "energy_pj", "train_seconds"),
)
# Columns of a summary in the order of Wu et al.'s table (doi:10.1007/s11704-025-51519-1), with five columns instead of
# its "uncertainty"; columns that it does not have come last.
_SUMMARIZED = (
    *("accuracy", "sparsity"),
    *("predictive_entropy", "normalized_entropy", "mutual_information", "predictive_variance", "predictive_std"),
    *("storage_bytes", "energy_pj", "flops", "nll", "brier", "ece", "aurc", "train_seconds"),
    *SCALED,
)
#: Columns that identify a kind of network, in the order of that table.
KEYS = ("budget", "dataset", "family", "configuration", "quantized_part", "method")
# Float networks first; digits sort before the names of other parts and of families.
_ORDER = {name: f"{rank:02}" for rank, name in enumerate(("none", "conv", "fc", "inner", "all", *METHODS))}


def _require_columns(where: str, given: Iterable[object]) -> None:
    missing = ", ".join(name for name in COLUMNS if name not in set(given))
    if missing:
        raise InputError(f"{where}: expected the columns {', '.join(COLUMNS)}; got none called {missing}")


def _checked(where: str, rows: Rows) -> DataFrame:
    """Convert rows to a table after a check of columns and values."""
    import pandas as pd

    if not len(rows):
        raise InputError(f"{where}: expected at least one row of results; got none")
    if not isinstance(rows, pd.DataFrame):
        for number, row in enumerate(rows):
            _require_columns(f"{where}[{number}]", row)
    frame = pd.DataFrame(rows)
    _require_columns(where, frame.columns)
    for name in ("seed", *(name for name in _SUMMARIZED if name in frame)):
        try:
            frame[name] = values = pd.to_numeric(frame[name])  # a column with only None is not numeric
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: expected numbers in column {name}; got {error}") from error
        if name in ("accuracy", "sparsity") and ((values < 0) | (values > 1)).any():
            span = f"{values.min():g} to {values.max():g}"
            raise InputError(f"{where}: expected fractions from 0 to 1 in column {name}; got {span}")
    return frame


def group_keys(frame: DataFrame) -> list[str]:
    """The names in `KEYS` that a table has."""
    return [name for name in KEYS if name in frame]


def _sorted(frame: DataFrame) -> DataFrame:
    return frame.sort_values([*group_keys(frame), "seed"], key=lambda column: column.replace(_ORDER), ignore_index=True)


def _write(path: Path, frame: DataFrame) -> None:
    write_text(path, csv_text(frame))


def write_results(path: Path, rows: Rows) -> None:
    """Write rows of results as CSV, atomically, sorted by dataset if there is one, family, part, method and seed.

    Args:
        path: the file.
        rows: a row for each trained network, with all of `COLUMNS`; further columns follow these.

    Raises:
        InputError: there are no rows, columns are missing, or values are out of range.
    """
    frame = _sorted(_checked("rows", rows))
    _write(path, frame[list(dict.fromkeys([*group_keys(frame), *COLUMNS, *frame.columns]))])


def write_summary(path: Path, summary: DataFrame) -> None:
    """Write the table of `summarize` as CSV, atomically, with all digits; standard deviations of one seed are empty."""
    _write(path, summary)


def read_table(path: str | Path, what: str = "a CSV file of results", columns: Iterable[str] = ()) -> DataFrame:
    """Read a table without changing any number.

    Only empty fields are NaN, since a method, a family or a part may be called "None" or "NA". Lines that begin with #
    before the table are ignored.

    Args:
        path: a CSV file.
        what: description of the expected file, for the error.
        columns: required columns.

    Raises:
        InputError: the file is missing or not CSV, or rows or columns are missing.
    """
    import pandas as pd

    path = as_path(path)
    try:
        text = path.read_text(encoding="utf-8")
        while text.startswith("#"):
            text = text.partition("\n")[2]
        frame = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:  # pandas' parser errors and decoding errors are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else str(error).strip()
        raise InputError(f"{path}: expected {what}; {reason}") from error
    missing = [name for name in columns if name not in frame]
    if missing or not len(frame):
        raise InputError(f"{path}: expected {what}; got {f'none called {missing[0]}' if missing else 'no row'}")
    return frame


def read_results(path: Path) -> DataFrame:
    """Read a file of `write_results`, without changing any number.

    Raises:
        InputError: the file is missing or not CSV, columns are missing, or values are out of range.
    """
    return _checked(str(path), read_table(path))


def summarize(results: Rows) -> DataFrame:
    r"""Mean and sample standard deviation over seeds, a row for each family, quantized part and method.

    .. math:: \bar x = \frac1n \sum_i x_i, \qquad s = \sqrt{\frac1{n-1} \sum_i (x_i - \bar x)^2}

    Args:
        results: rows as for `write_results` or from `read_results`. Different values of ``dataset`` or
            ``configuration``, if there are such columns, are different groups.

    Returns:
        The columns of the paper's table in its order, then further ones: the names, ``seeds`` (n), and for each measure
        ``..._mean`` and ``..._std`` with the unit in the name (percent, per mille, nats, MB of 10^6 bytes, pJ, millions
        of FLOPs, seconds); if rows have them, also ``aurc_...``, ``temperature_...`` and ``scaled_..._...``. The
        standard deviation of one seed is NaN.

        Means leave out temperatures that the validation part did not determine, and values scaled by a temperature at a
        bound (which are NaN in their rows). The last two columns, ``temperature_undetermined`` and
        ``temperature_at_bound``, have the numbers of seeds left out. Means are NaN if no seed is left.

    Raises:
        InputError: rows are invalid (see `write_results`), or a group has two rows of one seed, for instance since
            settings are mixed.
    """
    import pandas as pd

    frame = _sorted(_checked("results", results))
    keys = group_keys(frame)
    unique = [*keys, "seed"]
    runs = frame[unique]
    if runs.duplicated().any():
        run = ", ".join(map(str, runs[runs.duplicated()].iloc[0]))
        raise InputError(f"results: expected one row for each {', '.join(unique)}; got a second one for {run}")
    left_out: dict[str, Any] = {}
    if "temperature_outcome" in frame:
        outcome = frame["temperature_outcome"].fillna("optimum")  # missing in rows of older versions
        left_out["temperature_undetermined"] = outcome != "optimum"
        left_out["temperature_at_bound"] = ~outcome.isin(["optimum", "flat"])
        frame = frame.assign(temperature=frame["temperature"].mask(outcome != "optimum"), **left_out)
    groups = frame.groupby(keys, sort=False, dropna=False)
    columns: dict[str, Any] = {"seeds": groups.size()}
    for name in _SUMMARIZED:
        if name in frame:
            measure = MEASURES[name]
            columns[f"{measure.column}_mean"] = groups[name].mean() / measure.size
            columns[f"{measure.column}_std"] = groups[name].std(ddof=1) / measure.size
    columns |= {name: groups[name].sum() for name in left_out}
    return pd.DataFrame(columns).reset_index()


def _number(value: float, form: str) -> str:
    return "-" if value != value else format(value, form).replace("e+0", "e").replace("e+", "e")


def _cells(summary: DataFrame) -> dict[str, list[str]]:
    """Texts of each column by heading, which has a line for the name and one for the unit."""

    def texts(name: str, form: str = "", unit: float = 1, of: str = "mean") -> list[str]:
        measure = MEASURES[name]
        return [_number(value / unit, form or f".{measure.digits}f") for value in summary[f"{measure.column}_{of}"]]

    accuracy = zip(texts("accuracy"), texts("accuracy", of="std"), strict=True)
    small = summary["storage_mb_mean"].max() < 1
    return {
        "family": list(summary["family"]),
        "part": list(summary["quantized_part"]),
        "method": list(summary["method"]),
        "n": [str(seeds) for seeds in summary["seeds"]],
        "accuracy\n%": [mean if std == "-" else f"{mean} ± {std}" for mean, std in accuracy],
        "sparsity\n%": texts("sparsity"),
        "entropy\nnats": texts("predictive_entropy"),
        "entropy\n/log C": texts("normalized_entropy"),
        "mut. inf.\nnats": texts("mutual_information"),
        "pred.\nstd": texts("predictive_std"),
        "ECE\n%": texts("ece"),
        f"storage\n{'kB' if small else 'MB'}": texts("storage_bytes", unit=0.001 if small else 1),
        "energy\npJ": texts("energy_pj", ".2e"),
        "FLOPs\nM": texts("flops"),
        "train\ns": texts("train_seconds"),
    }


def render_table(summary: DataFrame) -> Table:
    """A summary for a terminal of 120 columns, with sections for data sets and families.

    Args:
        summary: as returned by `summarize`. Of the standard deviations, only that of the accuracy is displayed.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, collapse_padding=True)
    table.caption = "± sample standard deviation over n seeds; entropy is that of the mean prediction"
    cells = _cells(summary)
    for number, heading in enumerate(cells):
        table.add_column(heading, no_wrap=True, justify="left" if number < 3 else "right")
    before: tuple[Any, ...] = ()
    for index, row in enumerate(zip(*cells.values(), strict=True)):
        group = tuple(summary.iloc[index][name] for name in ("dataset", "family") if name in summary)
        if group != before:
            table.add_section()
            if len(group) == 2 and group[:1] != before[:1]:
                table.add_row(f"[bold]{group[0]}[/]")
        table.add_row(*row)
        before = group
    return table
