"""The trained runs that a study looks at: found in a comparison's folder, or trained there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.experiments.compare import claim, run_folder
from tsnn_uq.experiments.estimate import announced, estimate_runs
from tsnn_uq.experiments.folder import is_finished, read_predictions
from tsnn_uq.experiments.grid import Grid, make_grid
from tsnn_uq.experiments.sweep import sweep
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
    """

    folders: dict[str, Path]
    family: str
    part: str
    seed: int
    data_dir: Path | None = None

    @property
    def title(self) -> str:
        """What tells these runs from others, for file names: such as ``"dropout"`` or ``"plif-conv"``."""
        return self.family if self.part == "all" else f"{self.family}-{self.part}"

    def predictions(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By method, Monte Carlo probabilities [S, N, C] of the test set and labels [N]."""
        return {method: read_predictions(folder) for method, folder in self.folders.items()}

    def mean_predictions(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By method, the samples' mean probabilities [N, C] of the test set and labels [N]."""
        return {method: (probs.mean(0), labels) for method, (probs, labels) in self.predictions().items()}


def require_runs(
    folder: Path,
    *,
    family: str = "dropout",
    part: str = "all",
    seed: int = 0,
    methods: Sequence[str] = (),
    train: bool = False,
    data: str = "",
    jobs: int = 1,
    data_dir: Path | None = None,
    say: Callable[[str], object] = print,
) -> Runs:
    """The finished runs of one family, quantized part and seed.

    Args:
        folder: folder of a comparison, as `tsnn-uq compare` makes it.
        family: network family.
        part: quantized part of the ternary networks.
        seed: seed of the runs.
        methods: those that have to be there; by default those that are, or with `train` all.
        train: whether to train what is missing, after saying how long it will take; tables that are there already
            stay as they are.
        data: data set to train on where the folder does not say; by default ``"digits"``.
        jobs: processes side by side.
        data_dir: where the data lie.
        say: told what will be trained, and for how long.

    Raises:
        InputError: runs are missing and `train` is not set, or what training raises.
    """
    for method in methods:
        check_choice("methods", method, METHODS)
    found = {method: run_folder(folder, family, part, method, seed) for method in METHODS}
    present = [method for method, run in found.items() if is_finished(run)]
    wanted = [method for method in METHODS if method in methods] or (list(METHODS) if train else present)
    missing = [method for method in wanted if method not in present]
    if missing or not wanted:
        if not train:
            what = f"{', '.join(missing)} of {family}" if missing else family
            problem = f"got {', '.join(present) or 'none'}; --train does what is missing"
            raise InputError(f"{folder}: expected finished runs of {what}, part {part}, seed {seed}; {problem}")
        grid = _grid(folder, data, family, part, wanted, seed)
        configs = [run for run in grid.runs() if run.seed == seed and run.method in missing]
        say(f"{folder}: {announced(estimate_runs(configs, folder / 'runs', data_dir=data_dir), jobs)}")
        if not (folder / "config.toml").exists():
            claim(folder, grid)  # so that tsnn-uq compare goes on from there
        sweep(configs, folder / "runs", jobs=jobs, data_dir=data_dir)
    return Runs({method: found[method] for method in wanted}, family, part, seed, data_dir)


def _grid(folder: Path, data: str, family: str, part: str, methods: list[str], seed: int) -> Grid:
    config = folder / "config.toml" if (folder / "config.toml").exists() else None
    common = {"parts": (part,), "methods": methods, "seeds": seed + 1, "settings": {}}
    return make_grid(config, data=data or None, families=(family,), **common)  # type: ignore[arg-type]
