"""Accuracy and uncertainty against storage, operations and energy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.experiments.storage import is_finished, read_config, read_predictions, read_row
from tsnn_uq.files import as_path
from tsnn_uq.results.measure_predictions import evaluate
from tsnn_uq.results.measures import COSTS, QUALITY, Measure
from tsnn_uq.results.studies.anytime import doubling
from tsnn_uq.results.studies.run_selection import find_runs
from tsnn_uq.results.tables import KEYS, read_results, read_table, summarize

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["MEASURES", "energy_curves", "find_results", "pareto_front", "tradeoff_table", "tradeoffs"]

MEASURES = {name.replace("_", "-"): measure for name, measure in QUALITY.items()}
"""Measures that can be drawn against costs, by name on the command line."""
DRAWN = ("accuracy", "ece", "predictive-entropy")
_COSTS = [COSTS[name] for name in ("storage_bytes", "flops", "energy_pj")]


def find_results(path: str | Path) -> tuple[Path, str]:
    """Find a table of results, and a name for its figures.

    Args:
        path: a CSV file, or the folder of a comparison, which has ``results.csv``.

    Raises:
        InputError: there is no such file.
    """
    path = as_path(path)
    file = path / "results.csv" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path}: expected a CSV file of results, or the folder of a comparison; found no {file.name}")
    return file, path.resolve().stem


def pareto_front(costs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pareto front: rows for which no other row is as low in every column and lower in at least one.

    Args:
        costs: [N, K], less is better.

    Returns:
        [N] bool; equal rows have equal values.

    Example:
        >>> pareto_front(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 2.0], [1.0, 3.0]])).tolist()
        [True, True, False, True]
    """
    not_worse = (costs[:, None] <= costs[None]).all(-1)  # [i, j]: i is as low as j in every column
    better = (costs[:, None] < costs[None]).any(-1)
    return np.asarray(~(not_worse & better).any(0))


def tradeoffs(path: str | Path, measures: Sequence[str] = DRAWN, data: str = "") -> DataFrame:
    """Make the `tradeoff_table` of a file.

    Args:
        path: the folder of a comparison, its ``results.csv`` or ``summary.csv``, or a file in the same format.
        measures: keys of `MEASURES`.
        data: name of the data set; required if the table has several.

    Raises:
        InputError: a measure is unknown, the file has another format, or there are several data sets and `data` is
            empty.
    """
    shown = [MEASURES[check_choice("measures", name, MEASURES)] for name in measures]
    return tradeoff_table(_of_one_data_set(_read_summary(path, shown), data), measures)


def tradeoff_table(summary: DataFrame, measures: Sequence[str] = DRAWN) -> DataFrame:
    """Measures and costs of each kind of network, averaged over seeds.

    Args:
        summary: results of one data set, as returned by `tsnn_uq.results.tables.summarize`.
        measures: keys of `MEASURES`.

    Returns:
        The names that the table has (``dataset``, ``family``, ``configuration``, ``quantized_part``, ``method``) and
        ``seeds``; ``measure``, with its unit in the name, its mean ``value`` and sample standard deviation
        ``value_std`` (NaN for one seed); ``cost`` (``"storage_bytes"``; ``"flops"``, of one time step;
        ``"energy_pj"``, of one input in one pass over all time steps), its ``cost_value`` and ``cost_std``; and
        ``on_front``, true if no other network's means are as good in both and better in one (always false if neither
        more nor less of a measure is better).

    Raises:
        InputError: a measure is unknown, or there is none.
    """
    import pandas as pd

    chosen = [MEASURES[check_choice("measures", name, MEASURES)] for name in dict.fromkeys(measures)]
    if not chosen:
        raise InputError(f"measures: expected at least one of {', '.join(MEASURES)}; got none")
    names = summary[[name for name in (*KEYS[1:], "seeds") if name in summary]]
    tables = []
    for measure in chosen:
        for cost in _COSTS:
            value, price = summary[f"{measure.column}_mean"], summary[f"{cost.column}_mean"] * cost.size
            front = pareto_front(np.stack([-measure.better * value, price], 1)) & (measure.better != 0)
            numbers: dict[str, Any] = {
                "measure": measure.column,
                "value": value,
                "value_std": summary[f"{measure.column}_std"],
                "cost": cost.name,
            }
            prices: dict[str, Any] = {
                "cost_value": price,
                "cost_std": summary[f"{cost.column}_std"] * cost.size,
                "on_front": front,
            }
            tables.append(names.assign(**numbers, **prices))
    return pd.concat(tables, ignore_index=True)


def _read_summary(path: str | Path, shown: Sequence[Measure]) -> DataFrame:
    file, _ = find_results(path)
    if "seeds" not in read_table(file):
        read_table(file, "a table with all measures to draw", [measure.name for measure in shown])
        return summarize(read_results(file))
    columns = [f"{measure.column}_{of}" for measure in (*shown, *_COSTS) for of in ("mean", "std")]
    what = "the columns of a summary, as written by tsnn-uq compare"
    return read_table(file, what, ("family", "quantized_part", "method", *columns))


def _of_one_data_set(summary: DataFrame, data: str) -> DataFrame:
    """Select the rows of one data set."""
    if "dataset" not in summary:
        return summary
    found = list(dict.fromkeys(summary["dataset"]))
    if not data and len(found) > 1:
        raise InputError(f"data: expected one of {', '.join(found)}; got none")
    return summary[summary["dataset"] == check_choice("data", data or found[0], found)].reset_index(drop=True)


def energy_curves(folder: str | Path, measures: Sequence[str] = ("accuracy", "ece", "nll")) -> DataFrame:
    """Measures of predictions from S Monte Carlo samples, and their energy, which is S times that of one pass.

    Each value is the mean over disjoint groups of S samples of a run's predictions.

    Args:
        folder: the folder of a comparison with finished runs.
        measures: keys of `MEASURES`.

    Returns:
        A row for each ``family``, ``quantized_part``, ``method``, ``samples`` (S: 1, 2, 4, ... and all) and ``measure``
        (with its unit): the number of ``seeds``, the mean ``value`` and sample standard deviation ``value_std`` over
        them, and ``energy_pj``, the mean energy of S passes for one input.

    Raises:
        InputError: a measure is unknown, or the folder has no finished run.
    """
    import pandas as pd

    shown = [MEASURES[check_choice("measures", name, MEASURES)] for name in dict.fromkeys(measures)]
    rows: list[dict[str, Any]] = []
    for run in (found.folder for found in find_runs(as_path(folder))):
        if is_finished(run):
            bins, row = read_config(run)["bins"], read_row(run)
            names = {name: row[name] for name in ("family", "quantized_part", "method", "seed")}
            probs, labels = read_predictions(run)
            for samples in doubling(len(probs)):
                values = _of_groups(probs, labels, samples, bins)
                common = names | {"samples": samples, "energy_pj": samples * row["energy_pj"]}
                rows += [
                    common | {"measure": measure.column, "value": values[measure.name] * measure.factor}
                    for measure in shown
                ]
    if not rows:
        raise InputError(f"{folder}: expected the folder of a comparison, with finished runs; found none")
    keys = ["family", "quantized_part", "method", "samples", "measure"]
    groups = pd.DataFrame(rows).groupby(keys, sort=False)
    return groups.agg(
        seeds=("seed", "size"), value=("value", "mean"), value_std=("value", "std"), energy_pj=("energy_pj", "mean")
    ).reset_index()


def _of_groups(probs: Tensor, labels: Tensor, samples: int, bins: int) -> dict[str, float]:
    """Mean of `evaluate` over disjoint groups of `samples` samples."""
    groups = [part for part in probs.split(samples) if len(part) == samples]
    found = [evaluate(part, labels, bins) for part in groups]
    return {name: float(np.mean([values[name] for values in found])) for name in found[0]}
