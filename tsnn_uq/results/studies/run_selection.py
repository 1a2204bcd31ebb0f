"""Select trained runs: find them in a folder or train them there, and read their predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.experiments.comparison import claim
from tsnn_uq.experiments.estimate import describe_estimate, estimate_runs
from tsnn_uq.experiments.plan import Axes, make_grid, read_axes, run_folder
from tsnn_uq.experiments.plan import Part as GridPart
from tsnn_uq.experiments.runner import Task, sweep
from tsnn_uq.experiments.settings import Context, RunProgress, run_name, silent
from tsnn_uq.experiments.storage import (
    is_begun,
    is_finished,
    load_network,
    read_config,
    read_predictions,
    read_row,
)
from tsnn_uq.files import as_path, visible
from tsnn_uq.results.measures import COSTS
from tsnn_uq.results.prediction_files import read_prediction_file
from tsnn_uq.results.predictions import NamedPredictions, Part, Predictions
from tsnn_uq.training import METHODS

__all__ = [
    "FoundRun",
    "Runs",
    "RunsOrPredictions",
    "find_runs",
    "is_run",
    "read_named",
    "read_run_predictions",
    "require_runs",
]


@dataclass(frozen=True)
class Runs:
    """Finished runs of one family, quantized part and seed.

    Args:
        folders: their folders by method, in the order of `tsnn_uq.training.METHODS`.
        family: network family.
        part: quantized part of the ternary networks.
        seed: seed of the runs.
        data_dir: folder of the data sets.
        device: the device for their networks; empty for the device that each was trained on.
        reference: the method that the others are compared with; by default the first.
    """

    folders: dict[str, Path]
    family: str
    part: str
    seed: int
    data_dir: str | Path | None = None
    device: str = ""
    reference: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "folders", {method: as_path(folder) for method, folder in self.folders.items()})

    @property
    def title(self) -> str:
        """Network and quantized part, such as ``"dropout"`` or ``"plif-conv"``."""
        return run_name(self.family, *([] if self.part == "all" else [self.part]))

    @property
    def file_name(self) -> str:
        """Identifies these runs in names of figures, such as ``"mnist-plif-conv-seed0"``.

        Runs with a loss over time have names of their own, such as ``"nmnist-slayer-seed0-loss-every"``.
        """
        times = self._config.get("loss_over_time") or ""
        loss = ["loss", times.replace(",", "-")] if times else []
        return run_name(self.data, self.title, f"seed{self.seed}", *loss)

    @property
    def facts(self) -> dict[str, Any]:
        """Facts to display in figures: columns for `tsnn_uq.results.figures.describe`."""
        names = {"dataset": self.data, "family": self.family, "quantized_part": self.part}
        return {**names, "seed": self.seed, "reference": self.reference}

    @property
    def data(self) -> str:
        """Name of the data set of the runs."""
        return self._config["data"]

    @property
    def _config(self) -> dict[str, Any]:
        """The settings of the first of the runs."""
        return read_config(next(iter(self.folders.values())))

    def network(self, method: str) -> nn.Module:
        """The trained network of a method, on the device; raises as `tsnn_uq.experiments.load_network`."""
        return load_network(self.folders[method], self.device)

    def predictions(self) -> NamedPredictions:
        """The stored predictions of the runs for the test and validation parts, by method."""
        return self.named({method: read_run_predictions(folder) for method, folder in self.folders.items()})

    def named(self, members: dict[str, Predictions]) -> NamedPredictions:
        """Combine predictions of the runs' networks, with the title and file name of these runs."""
        noise = "MC dropconnect" if self.family == "dropconnect" else "MC dropout"
        names = {"title": self.title, "file_name": self.file_name, "data": self.data, "noise": noise}
        reference = self.reference if self.reference in members else ""
        return NamedPredictions(members, reference, seed=self.seed, **names)  # type: ignore[arg-type]


RunsOrPredictions = Runs | NamedPredictions
"""The source of a study: runs, whose networks can predict again, or given predictions."""


def read_run_predictions(folder: str | Path) -> Predictions:
    """Read the stored predictions of a finished run for the test and validation parts, and its costs.

    Raises:
        InputError: the run is not finished, or a file is damaged.
    """
    folder = as_path(folder)
    row = read_row(folder)
    test, validation = (Part(*read_predictions(folder, part)) for part in ("test", "validation"))
    costs = {name: float(row[name]) for name in COSTS if row.get(name) is not None}
    return Predictions(test, validation, costs=costs)


def read_named(sources: Mapping[str, Sequence[str | Path]], *, reference: str = "", data: str = "") -> NamedPredictions:
    """Read predictions under user-defined names, from files of arrays or folders of runs.

    Args:
        sources: by name, a file (`tsnn_uq.results.prediction_files`) or the folder of a run for each seed.
        reference: the name that the others are compared with; by default the first.
        data: name of the data set.

    Raises:
        InputError: a file or a run cannot be read, or networks have different test inputs.
    """
    members = {name: [_read_source(as_path(path)) for path in paths] for name, paths in sources.items()}
    return NamedPredictions(members, reference, data=data)


def _read_source(path: Path) -> Predictions:
    if not path.is_dir():
        return read_prediction_file(path)
    if not is_run(path):
        raise InputError(f"{path}: expected a file of predictions, or the folder of a single run; got another folder")
    return read_run_predictions(path)


class FoundRun(NamedTuple):
    """The folder of a run, and the settings that identify it within a comparison."""

    folder: Path
    family: str
    part: str
    method: str
    seed: int


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a single run, as written by `tsnn-uq train`."""
    return is_begun(folder) and (folder / "config.toml").exists()


def find_runs(folder: Path) -> list[FoundRun]:
    """Find the runs, begun or finished, in a folder that `tsnn-uq compare` or `tsnn-uq train` wrote.

    Args:
        folder: the folder of a comparison, with its runs in ``runs``; a folder with runs; or that of a single run.
    """
    folders = [folder] if is_run(folder) else [*visible(folder / "runs"), *visible(folder)]
    return [_found(path) for path in folders if path.is_dir() and is_run(path)]


def _found(folder: Path) -> FoundRun:
    config = read_config(folder)
    return FoundRun(folder, config["network"], config.get("method.layers", "none"), config["method"], config["seed"])


def _no_progress(runs: int) -> AbstractContextManager[RunProgress]:
    """A context with progress that is not displayed."""
    return nullcontext(silent)


def require_runs(
    folder: str | Path,
    *,
    family: str = "",
    part: str = "",
    seed: int | None = None,
    methods: Sequence[str] = (),
    train: bool = False,
    data: str = "",
    jobs: int = 1,
    data_dir: str | Path | None = None,
    device: str = "",
    reference: str = "",
    say: Callable[[str], object] = print,
    watch: Callable[[int], AbstractContextManager[RunProgress]] = _no_progress,
) -> Runs:
    """Find the finished runs of one family, quantized part and seed, and optionally train missing ones.

    Args:
        folder: the folder of a comparison by `tsnn-uq compare`; a folder with runs by `tsnn-uq train`; or that of a
            single run.
        family: network family; by default the first family of the comparison with finished runs.
        part: quantized part of the ternary networks; by default ``"all"`` if there are such runs, else the first found.
        seed: seed of the runs; by default 0 if there are such runs, else the first found.
        methods: required methods; by default those with finished runs, or all if `train` is set.
        train: whether to train missing runs, after an estimate of the time; existing tables are not changed.
        data: data set to train on if the folder has no settings; by default ``"digits"``.
        jobs: number of parallel processes.
        data_dir: folder of the data sets.
        device: the device for networks, also for training; empty for the device of each run.
        reference: the method that the others are compared with; by default the first.
        say: called with a message on what will be trained, and the estimated time.
        watch: called with the number of runs to train; returns a context whose value displays their progress.

    Raises:
        InputError: runs are missing and `train` is not set, or training raises.
    """
    folder = as_path(folder)
    config = folder / "config.toml"
    axes = read_axes(config)[0] if config.exists() and not is_run(folder) else Axes()
    there = find_runs(folder)
    finished = [run for run in there if is_finished(run.folder)]
    known = dict.fromkeys([*METHODS, *axes.methods, *(run.method for run in finished)])
    for method in (*methods, *([reference] if reference else [])):
        check_choice("methods" if method in methods else "reference", method, known)
    family, part, seed = _fill_in(finished, axes, family, part, seed)
    found = {run.method: run.folder for run in finished if _fits(run, family, part, seed)}
    asked = methods or (METHODS if train else found)
    wanted = [method for method in known if method in asked]
    missing = [method for method in wanted if method not in found]
    if missing or not wanted:
        if not train:
            what = f"{', '.join(missing)} of {family}" if missing else family
            problem = f"got {_describe_runs(finished, known)} (add --train to train what is missing)"
            raise InputError(f"{folder}: expected finished runs of {what}, part {part}, seed {seed}; {problem}")
        if is_run(folder):
            raise InputError(f"{folder}: expected a folder to train {', '.join(missing)} in; got that of a single run")
        wished: dict[str, Any] = {"families": (family,), "parts": (part,), "methods": wanted, "seeds": seed + 1}
        given = {name: value for name, value in (("data", data), ("device", device)) if value}
        grid = make_grid(given, config=config if config.exists() else None, **wished)
        runs = [run for run in grid.runs() if run.seed == seed and run.method.name in missing]
        left = estimate_runs([Task(run, folder / "runs") for run in runs], Context(data_dir, jobs))
        say(f"{folder}: {describe_estimate(left, jobs)}")
        if not config.exists():
            claim([GridPart(grid, folder)])  # so that tsnn-uq compare can continue there
        with watch(sum(kind.runs for kind in left)) as progress:
            sweep(runs, folder / "runs", Context(data_dir, jobs, progress=progress))
        found |= {method: run_folder(folder, family, part, method, seed) for method in missing}
    folders = {method: found[method] for method in wanted}
    if reference:
        check_choice("reference", reference, folders)
    return Runs(folders, family, part, seed, data_dir, device, reference)


def _fits(run: FoundRun, family: str, part: str, seed: int) -> bool:
    """Whether a run has this family, part and seed; a run without quantized layers fits every part."""
    return run.family == family and run.seed == seed and run.part in ("none", part)


def _fill_in(
    finished: Sequence[FoundRun], axes: Axes, family: str, part: str, seed: int | None
) -> tuple[str, str, int]:
    """Fill in family, part and seed from the runs in the folder if they are not given."""
    families = list(dict.fromkeys(run.family for run in finished))
    family = family or next((name for name in (*axes.families, *families) if name in families), axes.families[0])
    own = [run for run in finished if run.family == family]
    parts = list(dict.fromkeys(run.part for run in own if run.part != "none"))
    part = part or ("all" if "all" in parts or not parts else parts[0])
    seeds = sorted({run.seed for run in own if run.part in ("none", part)})
    return family, part, seed if seed is not None else seeds[0] if seeds else 0


def _describe_runs(finished: Sequence[FoundRun], known: Iterable[str], most: int = 4) -> str:
    """Describe the runs of a folder in a message: ``"float, direct of dropout, part all, seed 0"``."""
    kinds: dict[tuple[str, int, str], list[str]] = {}
    for run in finished:
        alike = {other.part for other in finished if (other.family, other.seed) == (run.family, run.seed)} - {"none"}
        for part in sorted(alike) if run.part == "none" and alike else [run.part]:
            kinds.setdefault((run.family, run.seed, part), []).append(run.method)
    texts = [
        f"{', '.join(method for method in known if method in methods)} of {family}, part {part}, seed {seed}"
        for (family, seed, part), methods in sorted(kinds.items())
    ]
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return "; ".join([*texts[:most], *more]) or "none"
