"""Contents of a folder that `tsnn-uq compare` or `reproduce` wrote: comparisons, their runs and their state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.plan import read_axes
from tsnn_uq.experiments.settings import run_name
from tsnn_uq.experiments.storage import is_begun, is_finished, read_config, read_predictions, read_row
from tsnn_uq.files import read_toml, visible
from tsnn_uq.networks import FAMILIES
from tsnn_uq.quantization import PARTS
from tsnn_uq.results.studies.run_selection import find_runs, is_run
from tsnn_uq.results.tables import read_table, summarize
from tsnn_uq.training import METHODS

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["STATES", "ComparisonFolder", "FolderContents", "RunKind", "read_folder"]

STATES = ("finished", "begun", "not begun")
_PARTS = ("none", *sorted(PARTS, key=lambda part: part == "all"))  # all layers last, as in tables


@dataclass(frozen=True, order=True)
class RunKind:
    """The settings that runs of several seeds share."""

    family: str
    part: str
    method: str

    def run(self, seed: int) -> str:
        """Name of the run with this seed."""
        return run_name(self.family, self.part, self.method, seed)


@dataclass(frozen=True)
class ComparisonFolder:
    """One comparison: a folder with ``config.toml`` and ``runs``, or runs that `tsnn-uq train` wrote.

    Args:
        folder: its folder; for a single run, the folder of the run.
        runs: the folder of the runs' folders.
        name: its path below the folder of the report; empty if it is that folder itself.
        data: name of the data set.
        seeds: for each kind of network, planned or existing, its seeds by state (see `STATES`).
        rows: a row of results for each finished run, in the order of the seeds.
        tabled: number of rows in its ``results.csv``; None if there is no such file.
    """

    folder: Path
    runs: Path
    name: str
    data: str
    seeds: dict[RunKind, dict[str, list[int]]]
    rows: list[dict[str, Any]]
    tabled: int | None

    @property
    def group(self) -> str:
        """Name of the parent folder, which is the regularizer in a reproduction; empty otherwise."""
        return self.name.rpartition("/")[0]

    @property
    def first_run(self) -> Path:
        """Folder of its first finished run, which must exist."""
        return next(self.runs / kind.run(seed) for kind, of in self.seeds.items() for seed in of["finished"])

    @property
    def config(self) -> str:
        """The text of its settings."""
        own = self.folder / "config.toml"
        return (own if own.exists() else self.first_run / "config.toml").read_text(encoding="utf-8")

    def within(self, name: str) -> str:
        """Path of a file in its folder, relative to the folder of the report."""
        return f"{self.name}/{name}" if self.name else name

    def setting(self) -> dict[str, Any]:
        """The settings that its finished runs share, read from the first of them."""
        kinds = [kind for kind, seeds in self.seeds.items() if seeds["finished"]]
        config, row = read_config(self.first_run), read_row(self.first_run)
        probs, labels = read_predictions(self.first_run)
        return {
            "families": dict.fromkeys(kind.family for kind in kinds),
            "methods": dict.fromkeys(kind.method for kind in kinds),
            "data": config["data"],
            "steps": row["steps"],
            "samples": len(probs),
            "p": config.get("network.p"),
            "mask": config.get("network.mask", ""),
            "inputs": len(labels),
            "epochs": config["epochs"],
            "term": config["regularizer"],
        }

    def shown(self) -> Iterator[tuple[str, str, int]]:
        """Family, quantized part and seed of the figures: the first seed for which most methods are finished."""
        for family in dict.fromkeys(kind.family for kind in self.seeds):
            kinds = {kind: seeds["finished"] for kind, seeds in self.seeds.items() if kind.family == family}
            ternary = dict.fromkeys(kind.part for kind, done in kinds.items() if kind.part != "none" and done)
            for part in ternary or ["all"]:
                done = [seed for kind, seeds in kinds.items() if kind.part in ("none", part) for seed in seeds]
                if done:
                    yield family, part, max(sorted(set(done)), key=done.count)


@dataclass(frozen=True)
class FolderContents:
    """Everything that a report shows.

    Args:
        folder: the folder.
        comparisons: the comparisons in it.
        budget: name of the budget of a reproduction; empty otherwise.
    """

    folder: Path
    comparisons: list[ComparisonFolder]
    budget: str

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def data(self) -> list[str]:
        """Names of the data sets."""
        return list(dict.fromkeys(compared.data for compared in self.comparisons))

    def summaries(self) -> dict[str, DataFrame]:
        """Mean and spread over seeds of finished runs, by group; see `tsnn_uq.results.tables.summarize`."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for compared in self.comparisons:
            if compared.rows:
                rows.setdefault(compared.group, []).extend(compared.rows)
        return {group: _ordered(summarize(own)) for group, own in rows.items()}

    def count(self, state: str) -> int:
        """Number of runs that are ``"finished"``, ``"begun"`` or ``"not begun"``."""
        return sum(len(seeds[state]) for compared in self.comparisons for seeds in compared.seeds.values())


def read_folder(folder: Path) -> FolderContents:
    """Read a folder of one comparison, of several comparisons in sub-folders, or of runs by `tsnn-uq train`.

    Raises:
        InputError: the folder has no finished run, or a file is damaged.
    """
    found = [compared for pattern in ("runs", "*/runs", "*/*/runs") for compared in _read_all(folder, pattern)]
    if not found and find_runs(folder):
        found = [_read_runs(folder)]
    if not any(compared.rows for compared in found):
        wanted = "a folder with finished runs, as written by tsnn-uq compare or reproduce"
        problem = "one in which no run is finished" if found else "a folder without one" if folder.is_dir() else "none"
        raise InputError(f"{folder}: expected {wanted}; got {problem}")
    plan = folder / "reproduce.toml"
    return FolderContents(folder, found, str(read_toml(plan).get("budget", "")) if plan.exists() else "")


def _read_all(root: Path, pattern: str) -> Iterator[ComparisonFolder]:
    for runs in visible(root, pattern):
        if runs.is_dir() and (runs.parent / "config.toml").exists():
            yield _read(runs.parent, root)


def _read(folder: Path, root: Path) -> ComparisonFolder:
    """A comparison with its planned runs."""
    axes, data = read_axes(folder / "config.toml")
    there = _kinds(folder / "runs")
    quantizing = {kind.method for kind, _ in there if kind.part != "none"}
    planned = {(RunKind(*kind), seed) for kind in axes.kinds(quantizing) for seed in range(axes.seeds)}
    name = folder.relative_to(root).as_posix()
    return _make_comparison(folder, folder / "runs", "" if name == "." else name, data, planned | there)


def _read_runs(folder: Path) -> ComparisonFolder:
    """Runs without a plan: one, or those in a folder."""
    data = read_config(find_runs(folder)[0].folder)["data"]
    return _make_comparison(folder, folder.parent if is_run(folder) else folder, "", data, _kinds(folder))


def _kinds(folder: Path) -> set[tuple[RunKind, int]]:
    """Kind and seed of each run in a folder, from its settings."""
    return {(RunKind(run.family, run.part, run.method), run.seed) for run in find_runs(folder)}


def _make_comparison(
    folder: Path, runs: Path, name: str, data: str, wanted: set[tuple[RunKind, int]]
) -> ComparisonFolder:
    seeds: dict[RunKind, dict[str, list[int]]] = {}
    for kind, seed in sorted(wanted, key=lambda run: (_rank(run[0]), run[1])):
        state = _state(runs / kind.run(seed))
        seeds.setdefault(kind, {name: [] for name in STATES})[state].append(seed)
    done = [runs / kind.run(seed) for kind, of in seeds.items() for seed in of["finished"]]
    rows = [read_row(run) for run in done]
    return ComparisonFolder(folder, runs, name, data, seeds, rows, _table_rows(folder / "results.csv"))


def _rank(kind: RunKind) -> tuple[tuple[int, str], int, tuple[int, str]]:
    def place(name: str, names: list[str]) -> tuple[int, str]:
        return (names.index(name) if name in names else len(names), name)

    return place(kind.family, list(FAMILIES)), _PARTS.index(kind.part), place(kind.method, list(METHODS))


def _ordered(summary: DataFrame) -> DataFrame:
    """Sort rows by data set, then by `_rank`; not by ``configuration``, which older runs lack."""
    rows = summary.to_dict("records")
    keys = [
        (str(row.get("dataset")), _rank(RunKind(row["family"], row["quantized_part"], row["method"]))) for row in rows
    ]
    return summary.loc[sorted(range(len(rows)), key=keys.__getitem__)].reset_index(drop=True)


def _state(run: Path) -> str:
    return "finished" if is_finished(run) else "begun" if is_begun(run) else "not begun"


def _table_rows(path: Path) -> int | None:
    return len(read_table(path)) if path.exists() else None
