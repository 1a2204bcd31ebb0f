"""Finished tiny runs for studies to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers.experiments import tiny
from tsnn_uq.experiments import Grid
from tsnn_uq.experiments.compare import compare
from tsnn_uq.studies import Runs, require_runs

__all__ = ["tiny_runs"]


def tiny_runs(folder: Path, methods: tuple[str, ...] = ("float", "direct"), **settings: Any) -> Runs:
    """Float and directly trained networks of a few neurons, trained for four steps on the handwritten digits."""
    config = tiny(**settings)
    compare(Grid(families=(config.family,), methods=methods, seeds=1, run=config), folder)
    return require_runs(folder, family=config.family)
