"""The Bayesian comparison of a finished comparison's rows: how much methods differ, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.grid import Grid
from tsnn_uq.experiments.tables import read_results, write_summary

__all__ = ["require_comparable", "write_posterior"]


def require_comparable(grids: Sequence[Grid]) -> None:
    """Raise now what would stop `write_posterior` after all runs.

    Raises:
        InputError: a grid has one seed, or does not have float and another method.
    """
    for grid in grids:
        if grid.seeds < 2:
            raise InputError(f"seeds: expected at least 2 for a Bayesian comparison; got {grid.seeds}")
        if "float" not in grid.methods or len(grid.methods) < 2:
            wanted = "float and at least one other for a Bayesian comparison"
            raise InputError(f"methods: expected {wanted}; got {', '.join(grid.methods)}")


def write_posterior(out: Path) -> tuple[Path, ...]:
    """Compare the methods of ``results.csv`` in `out` with float; see `tsnn_uq.comparison.compare_methods`.

    Args:
        out: folder that `tsnn_uq.experiments.compare.compare` wrote.

    Returns:
        The files written there: ``bayes.csv`` and the figure ``posterior``.

    Raises:
        InputError: rows that cannot be compared, or chains that did not mix.
    """
    from tsnn_uq.comparison import compare_methods
    from tsnn_uq.plots import posterior_differences, save_figure

    posterior = compare_methods(read_results(out / "results.csv"), seed=0)
    write_summary(out / "bayes.csv", posterior.table())
    return (out / "bayes.csv", *save_figure(posterior_differences(posterior), out / "posterior"))
