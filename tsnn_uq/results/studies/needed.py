"""The trained runs that a study looks at: found in a comparison's folder, or trained there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.experiments.context import Context
from tsnn_uq.experiments.estimate import announced, estimate_runs
from tsnn_uq.experiments.plan import Axes, Part, claim, finished_runs, make_grid, read_axes, run_folder
from tsnn_uq.experiments.runner import Task, sweep
from tsnn_uq.experiments.settings import run_name
from tsnn_uq.experiments.storage import load_network, read_config, read_predictions
from tsnn_uq.files import as_path
from tsnn_uq.training import METHODS

__all__ = ["Runs", "require_runs"]


@dataclass(frozen=True)
class Runs:
    """Finished runs of one family, quantized part and seed.

    Args:
        folders: their folders by method, in the order of `tsnn_uq.training.METHODS`.
        family: network family.
        part: quantized part of the ternary networks.
        seed: seed of the runs.
        data_dir: where the data lie.
        device: where their networks run; empty for the device that each was trained on.
    """

    folders: dict[str, Path]
    family: str
    part: str
    seed: int
    data_dir: str | Path | None = None
    device: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "folders", {method: as_path(folder) for method, folder in self.folders.items()})

    @property
    def title(self) -> str:
        """Network and quantized part, such as ``"dropout"`` or ``"plif-conv"``."""
        return run_name(self.family, *([] if self.part == "all" else [self.part]))

    @property
    def file_name(self) -> str:
        """What tells figures of these runs from those of others, such as ``"mnist-plif-conv-seed0"``."""
        return run_name(self.data, self.title, f"seed{self.seed}")

    @property
    def data(self) -> str:
        """The data set of the runs."""
        return read_config(next(iter(self.folders.values())))["data"]

    def network(self, method: str) -> nn.Module:
        """The trained network of a method, on the device; errors as `tsnn_uq.experiments.load_network`."""
        return load_network(self.folders[method], self.device)

    def predictions(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By method, Monte Carlo probabilities [S, N, C] of the test set and labels [N]."""
        return {method: read_predictions(folder) for method, folder in self.folders.items()}

    def mean_predictions(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By method, the samples' mean probabilities [N, C] of the test set and labels [N]."""
        return {method: (probs.mean(0), labels) for method, (probs, labels) in self.predictions().items()}


def require_runs(
    folder: str | Path,
    *,
    family: str = "",
    part: str = "all",
    seed: int = 0,
    methods: Sequence[str] = (),
    train: bool = False,
    data: str = "",
    jobs: int = 1,
    data_dir: str | Path | None = None,
    device: str = "",
    say: Callable[[str], object] = print,
) -> Runs:
    """The finished runs of one family, quantized part and seed.

    Args:
        folder: folder of a comparison, as `tsnn-uq compare` makes it.
        family: network; by default the first that the folder says, or ``"dropout"``.
        part: quantized part of the ternary networks.
        seed: seed of the runs.
        methods: those that have to be there; by default those that are, or with `train` all.
        train: whether to train what is missing, after saying how long it will take; tables that are there already
            stay as they are.
        data: data set to train on where the folder does not say; by default ``"digits"``.
        jobs: processes side by side.
        data_dir: where the data lie.
        device: where networks run, those that are trained here too; empty for that of each run.
        say: told what will be trained, and for how long.

    Raises:
        InputError: runs are missing and `train` is not set, or what training raises.
    """
    folder = as_path(folder)
    config = folder / "config.toml"
    axes = read_axes(config)[0] if config.exists() else Axes()
    known = dict.fromkeys([*METHODS, *axes.methods])
    family = family or axes.families[0]
    for method in methods:
        check_choice("methods", method, known)
    found = finished_runs(folder, family, part, seed)
    wanted = [method for method in known if method in methods] or (list(METHODS) if train else list(found))
    missing = [method for method in wanted if method not in found]
    if missing or not wanted:
        if not train:
            what = f"{', '.join(missing)} of {family}" if missing else family
            problem = f"got {', '.join(found) or 'none'}; --train does what is missing"
            raise InputError(f"{folder}: expected finished runs of {what}, part {part}, seed {seed}; {problem}")
        wished: dict[str, Any] = {"families": (family,), "parts": (part,), "methods": wanted, "seeds": seed + 1}
        given = {name: value for name, value in (("data", data), ("device", device)) if value}
        grid = make_grid(given, config=config if config.exists() else None, **wished)
        runs = [run for run in grid.runs() if run.seed == seed and run.method.name in missing]
        context = Context(data_dir, jobs)
        left = estimate_runs([Task(run, folder / "runs") for run in runs], context)
        say(f"{folder}: {announced(left, jobs)}")
        if not config.exists():
            claim([Part(grid, folder)])  # so that tsnn-uq compare goes on from there
        sweep(runs, folder / "runs", context)
    folders = {method: run_folder(folder, family, part, method, seed) for method in wanted}
    return Runs(folders, family, part, seed, data_dir, device)
