"""Families that want settings of their own, each compared in a folder of its own, and one table of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsnn_uq.checks import InputError
from tsnn_uq.data import EVENT_SETS
from tsnn_uq.experiments.compare import Comparison, compare
from tsnn_uq.experiments.grid import Grid, make_grid
from tsnn_uq.experiments.measure import silent
from tsnn_uq.experiments.paper_table import paper_table
from tsnn_uq.experiments.presets import suits_alike
from tsnn_uq.experiments.sweep import RunProgress, count_runs
from tsnn_uq.experiments.tables import read_results, render_table, summarize, write_results, write_summary

__all__ = ["ALL_FAMILIES", "compare_families", "count_family_runs", "grid_folder", "make_grids"]

ALL_FAMILIES = ("dropconnect", "dropout", "slayer", "plif")
"""In the order of the paper's table."""
PAPER_DATA = ("mnist", "nmnist")
PAPER_METHODS = ("float", "indirect", "direct")
CONVOLUTIONAL = ("plif",)
OF_EVENTS = ("slayer",)


def make_grids(
    config: Path | None,
    *,
    data: Sequence[str],
    families: Sequence[str],
    parts: Sequence[str],
    methods: Sequence[str],
    seeds: int | None,
    settings: dict[str, Any],
) -> list[Grid]:
    """The grids that a comparison of `families` takes: one for those that the same settings suit.

    Families ``"all"`` are those of the paper's table, with its data, parts and methods where none are given. Of several
    data sets a family takes the first that is of its kind, events or images. Only convolutional families have the parts
    ``"conv"`` and ``"fc"``; in the others all layers are fully connected.

    Raises:
        InputError: unknown names, or a `config` for more than one grid.
    """
    if tuple(families) == ("all",):
        families, data, methods = ALL_FAMILIES, data or PAPER_DATA, methods or PAPER_METHODS
        parts = parts or ("conv", "fc", "all")
    groups = _groups(families, data)
    common: dict[str, Any] = {"methods": methods, "seeds": seeds, "settings": settings}
    if len(groups) < 2:
        (name,) = {name for name, _ in groups} or {data[0] if data else None}
        return [make_grid(config, data=name, families=families, parts=parts, **common)]
    if config is not None:
        wanted = f"none with families of different settings, {', '.join(families)}"
        raise InputError(f"config: expected {wanted}; got {config}")
    grids = []
    for name, group in groups:
        own = parts if group[0] in CONVOLUTIONAL else [part for part in parts if part == "all"]
        grids.append(make_grid(None, data=name, families=group, parts=own, **common))
    return grids


def _groups(families: Sequence[str], data: Sequence[str]) -> list[tuple[str | None, list[str]]]:
    """Families that the same settings suit, each group with its data set."""
    groups: list[tuple[str | None, list[str]]] = []
    for family in families:
        suitable = [name for name in data if (name in EVENT_SETS) == (family in OF_EVENTS)]
        name = suitable[0] if suitable else data[0] if data else None
        for other, group in groups:
            if other == name and suits_alike(group[0], family, name or "digits"):
                group.append(family)
                break
        else:
            groups.append((name, [family]))
    return groups


def grid_folder(out: Path, grid: Grid) -> Path:
    """Where one of several grids has its comparison."""
    return out / f"{grid.run.data}-{'-'.join(grid.families)}"


def count_family_runs(grids: Sequence[Grid], out: Path) -> int:
    """How many runs `compare_families` has still to do, the float ones that others need among them."""
    folders = [out] if len(grids) == 1 else [grid_folder(out, grid) for grid in grids]
    return sum(count_runs(grid.runs(), folder / "runs") for grid, folder in zip(grids, folders, strict=True))


def compare_families(
    grids: Sequence[Grid],
    out: Path,
    *,
    jobs: int = 1,
    data_dir: Path | None = None,
    checkpoint_seconds: float = 20.0,
    progress: RunProgress = silent,
) -> Comparison:
    """Do all runs of some grids: one in `out` itself, several each in a folder of its own there.

    With several, `out` gets the tables of all: ``results.csv``, ``summary.csv`` and ``table.csv``, which has the
    layout of the paper's.

    Args:
        grids: what to compare.
        out: the folder.
        jobs: runs done side by side, and so are the others: as for `compare`.
        data_dir: where the data lie.
        checkpoint_seconds: least time between two checkpoints of a run.
        progress: told what each run does.

    Returns:
        The table of all and the paths of the files.

    Raises:
        InputError: what `compare` raises.
    """
    import pandas as pd

    options: dict[str, Any] = {"jobs": jobs, "data_dir": data_dir, "checkpoint_seconds": checkpoint_seconds}
    if len(grids) == 1:
        return compare(grids[0], out, progress=progress, **options)
    parts = [compare(grid, grid_folder(out, grid), progress=progress, **options) for grid in grids]
    results = pd.concat([read_results(grid_folder(out, grid) / "results.csv") for grid in grids])
    write_results(out / "results.csv", results)
    summary = summarize(read_results(out / "results.csv"))
    write_summary(out / "summary.csv", summary)
    write_summary(out / "table.csv", paper_table(summary))
    tables = tuple(out / name for name in ("results.csv", "summary.csv", "table.csv"))
    return Comparison(render_table(summary), (*tables, *(file for part in parts for file in part.files)))
