"""Measure finished runs, also on foreign inputs, and keep the rows in their folders."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tsnn_uq import data
from tsnn_uq.devices import use_threads
from tsnn_uq.engine import Engine
from tsnn_uq.experiments import Settings, predict, read_predictions
from tsnn_uq.experiments.storage import load_run
from tsnn_uq.files import read_json, write_json
from tsnn_uq.results.measure_predictions import measure_predictions
from tsnn_uq.results.predictions import Part, Predictions

__all__ = ["foreign_set", "is_measured", "keep_measured", "measure_run", "predict_run", "read_measured"]

_FILE = "uncertainty.json"
FOREIGN_INPUTS = 2000  # inputs of each foreign set, drawn once for all runs


def is_measured(folder: Path) -> bool:
    """Whether a folder has the rows of a run or of a posterior."""
    return (folder / _FILE).exists()


def keep_measured(folder: Path, rows: list[dict[str, Any]], **more: Any) -> None:
    """Write rows to their folder, each with additional columns."""
    write_json(folder / _FILE, {"rows": [row | more for row in rows]})


def read_measured(folder: Path, **before: Any) -> list[dict[str, Any]]:
    """Read the rows in a folder, each with columns put before the others."""
    return [{**before, **row} for row in read_json(folder / _FILE)["rows"]]


def measure_run(
    config: Settings, folder: str | Path, foreign: Mapping[str, str], *, data_dir: str | Path | None = None
) -> list[dict[str, Any]]:
    """Measure a finished run with the network in its folder.

    Args:
        config: settings of the run.
        folder: folder of the run.
        foreign: out-of-distribution sets by their names in columns, as for `tsnn_uq.data.load_test`.
        data_dir: folder of the data sets.

    Returns:
        Two rows; see `measure_predictions`.
    """
    return measure_predictions(predict_run(config, folder, foreign, data_dir=data_dir), bins=config.bins)


def predict_run(
    config: Settings, folder: str | Path, foreign: Mapping[str, str], *, data_dir: str | Path | None = None
) -> Predictions:
    """Predict foreign inputs, and read the stored predictions of the test set and the validation part."""
    by_engine = config.method.name != "float"  # the engine is fast on the CPU
    network, _, size = load_run(folder, "cpu" if by_engine else config.device)
    shape = tuple(size["shape"])
    model = Engine(network, shape) if by_engine else network
    with use_threads(config.threads):
        outside = {
            name: Part(predict(model, foreign_set(of, shape, data_dir), samples=config.samples, seed=config.seed))
            for name, of in foreign.items()
        }
    test, validation = Part(*read_predictions(folder)), Part(*read_predictions(folder, "validation"))
    return Predictions(test, validation, outside)


@cache
def foreign_set(name: str, shape: tuple[int, ...], data_dir: str | Path | None) -> data.Dataset:
    """The inputs of a foreign set in the shape of a network's, cached since a process measures many runs."""
    dataset = data.load_test(name, data_dir, shape=shape)
    return dataset.subset(min(FOREIGN_INPUTS, len(dataset)))
