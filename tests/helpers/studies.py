"""Finished tiny runs for studies to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers.experiments import tiny
from tsnn_uq.experiments import run
from tsnn_uq.results.studies import Runs, require_runs

__all__ = ["tiny_runs"]


def tiny_runs(folder: Path, methods: tuple[str, ...] = ("float", "direct"), **settings: Any) -> Runs:
    """Float and directly trained networks of a few neurons, trained for four steps on the handwritten digits."""
    for method in methods:
        run(tiny(method=method, **settings), folder / "runs")
    return require_runs(folder, family=settings.get("family", "dropout"))
