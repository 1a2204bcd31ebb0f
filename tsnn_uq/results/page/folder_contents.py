"""What is in a folder that `tsnn-uq compare` or `reproduce` wrote: comparisons, their runs, how far they are."""

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
_PARTS = ("none", *sorted(PARTS, key=lambda part: part == "all"))  # the whole after its parts, as in tables


@dataclass(frozen=True, order=True)
class RunKind:
    """What the runs of several seeds have in common."""

    family: str
    part: str
    method: str

    def run(self, seed: int) -> str:
        """Name of the run with a seed."""
        return run_name(self.family, self.part, self.method, seed)


@dataclass(frozen=True)
class ComparisonFolder:
    """One comparison: a folder with ``config.toml`` and ``runs``, or runs that `tsnn-uq train` wrote.

    Args:
        folder: its folder; that of a single run for that run alone.
        runs: where the runs' folders are.
        name: its path below the folder of the report; empty where it is that folder itself.
        data: name of the data set.
        seeds: of each kind of network, planned or there, its seeds by state (a key of `STATES`).
        rows: of each finished run, in the order of the seeds.
        tabled: rows of its ``results.csv``; None where there is none.
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
        """The folder above, which in a reproduction stands for the regularizer; else empty."""
        return self.name.rpartition("/")[0]

    @property
    def first_run(self) -> Path:
        """Folder of its first finished run; there has to be one."""
        return next(self.runs / kind.run(seed) for kind, of in self.seeds.items() for seed in of["finished"])

    @property
    def config(self) -> str:
        """The text of its settings."""
        own = self.folder / "config.toml"
        return (own if own.exists() else self.first_run / "config.toml").read_text(encoding="utf-8")

    def within(self, name: str) -> str:
        """A file of its folder, by the path below the folder of the report."""
        return f"{self.name}/{name}" if self.name else name

    def setting(self) -> dict[str, Any]:
        """What its finished runs have in common, as the first of them says."""
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
        """Family, quantized part and seed of the figures: the seed of which most methods are finished, or the first."""
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
        comparisons: those in it.
        budget: of a reproduction, else empty.
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
        """By group, mean and spread over seeds of its finished runs; see `tsnn_uq.results.tables.summarize`."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for compared in self.comparisons:
            if compared.rows:
                rows.setdefault(compared.group, []).extend(compared.rows)
        return {group: _ordered(summarize(own)) for group, own in rows.items()}

    def count(self, state: str) -> int:
        """How many runs are ``"finished"``, ``"begun"`` or ``"not begun"``."""
        return sum(len(seeds[state]) for compared in self.comparisons for seeds in compared.seeds.values())


def read_folder(folder: Path) -> FolderContents:
    """Read what is in a folder: of one comparison, of several in folders of their own, or of `tsnn-uq train`.

    Raises:
        InputError: no run there, none that is finished, or a damaged file.
    """
    found = [compared for pattern in ("runs", "*/runs", "*/*/runs") for compared in _read_all(folder, pattern)]
    if not found and find_runs(folder):
        found = [_read_runs(folder)]
    if not any(compared.rows for compared in found):
        wanted = "the folder of a comparison with finished runs, as tsnn-uq compare or reproduce makes it"
        problem = "one in which no run is finished" if found else "a folder without one" if folder.is_dir() else "none"
        raise InputError(f"{folder}: expected {wanted}; got {problem}")
    plan = folder / "reproduce.toml"
    return FolderContents(folder, found, str(read_toml(plan).get("budget", "")) if plan.exists() else "")


def _read_all(root: Path, pattern: str) -> Iterator[ComparisonFolder]:
    for runs in visible(root, pattern):
        if runs.is_dir() and (runs.parent / "config.toml").exists():
            yield _read(runs.parent, root)


def _read(folder: Path, root: Path) -> ComparisonFolder:
    """A comparison, with the runs that it planned."""
    axes, data = read_axes(folder / "config.toml")
    there = _kinds(folder / "runs")
    quantizing = {kind.method for kind, _ in there if kind.part != "none"}
    planned = {(RunKind(*kind), seed) for kind in axes.kinds(quantizing) for seed in range(axes.seeds)}
    name = folder.relative_to(root).as_posix()
    return _compared(folder, folder / "runs", "" if name == "." else name, data, planned | there)


def _read_runs(folder: Path) -> ComparisonFolder:
    """Runs without a plan: one, or those in a folder."""
    data = read_config(find_runs(folder)[0].folder)["data"]
    return _compared(folder, folder.parent if is_run(folder) else folder, "", data, _kinds(folder))


def _kinds(folder: Path) -> set[tuple[RunKind, int]]:
    """RunKind and seed of each run in a folder by the settings in its own."""
    return {(RunKind(run.family, run.part, run.method), run.seed) for run in find_runs(folder)}


def _compared(folder: Path, runs: Path, name: str, data: str, wanted: set[tuple[RunKind, int]]) -> ComparisonFolder:
    seeds: dict[RunKind, dict[str, list[int]]] = {}
    for kind, seed in sorted(wanted, key=lambda run: (_rank(run[0]), run[1])):
        state = _state(runs / kind.run(seed))
        seeds.setdefault(kind, {name: [] for name in STATES})[state].append(seed)
    done = [runs / kind.run(seed) for kind, of in seeds.items() for seed in of["finished"]]
    rows = [read_row(run) for run in done]
    return ComparisonFolder(folder, runs, name, data, seeds, rows, _tabled(folder / "results.csv"))


def _rank(kind: RunKind) -> tuple[tuple[int, str], int, tuple[int, str]]:
    def place(name: str, names: list[str]) -> tuple[int, str]:
        return (names.index(name) if name in names else len(names), name)

    return place(kind.family, list(FAMILIES)), _PARTS.index(kind.part), place(kind.method, list(METHODS))


def _ordered(summary: DataFrame) -> DataFrame:
    """Rows by data set, then in the order of `_rank`; those of older runs have no ``configuration`` to sort by."""
    rows = summary.to_dict("records")
    keys = [
        (str(row.get("dataset")), _rank(RunKind(row["family"], row["quantized_part"], row["method"]))) for row in rows
    ]
    return summary.loc[sorted(range(len(rows)), key=keys.__getitem__)].reset_index(drop=True)


def _state(run: Path) -> str:
    return "finished" if is_finished(run) else "begun" if is_begun(run) else "not begun"


def _tabled(path: Path) -> int | None:
    return len(read_table(path)) if path.exists() else None
