"""The settings of a grid of runs, read from and written to TOML like those of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.experiments.config import RunConfig, from_table
from tsnn_uq.experiments.presets import preset, suits_alike
from tsnn_uq.files import read_toml, write_toml
from tsnn_uq.networks import FAMILIES
from tsnn_uq.quantization import PARTS
from tsnn_uq.training import METHODS

__all__ = ["Grid", "make_grid"]

# What the grid says instead of its `run`.
AXES = {"family": "families", "method": "methods", "quantized_part": "parts", "seed": "seeds"}


@dataclass(frozen=True)
class Grid:
    """A grid of runs: families x quantized parts x methods x seeds, all else as in `run`."""

    families: tuple[str, ...] = ("dropout",)
    parts: tuple[str, ...] = ("all",)
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 3
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive("seeds", self.seeds, integer=True)
        for argument, names, choices in (
            ("families", self.families, FAMILIES),
            ("parts", self.parts, PARTS),
            ("methods", self.methods, METHODS),
        ):
            if not names or len(set(names)) < len(names):
                raise InputError(f"{argument}: expected at least one name, each once; got {list(names)}")
            for name in names:
                check_choice(argument, name, choices)
        for family in self.families[1:]:
            if not suits_alike(self.families[0], family, self.run.data):
                wanted = f"families that the settings of {self.families[0]} suit"
                raise InputError(f"families: expected {wanted}; got {family}: compare it in a folder of its own")

    def runs(self) -> list[RunConfig]:
        """The runs of the grid; a float network has no quantized part and stands once for all of them."""
        kinds = [(method, part) for method in self.methods for part in (("none",) if method == "float" else self.parts)]
        runs = [
            replace(self.run, family=family, method=method, quantized_part=part, seed=seed)
            for family in self.families
            for method, part in kinds
            for seed in range(self.seeds)
        ]
        return [run.teacher() if run.method == "float" else run for run in runs]

    def common(self) -> dict[str, Any]:
        """The settings that all runs have in common."""
        return {name: value for name, value in asdict(self.run).items() if name not in AXES}

    def save(self, path: Path) -> None:
        """Write as TOML, atomically."""
        write_toml(path, {**asdict(self), "run": self.common()})

    @classmethod
    def load(cls, path: Path) -> Grid:
        """Read what `save` wrote; errors as in `RunConfig.load`."""
        table = dict(read_toml(path))
        run = table.pop("run", {})
        if not isinstance(run, dict):
            raise InputError(f"{path}: expected a table [run]; got {run!r}")
        for name in sorted(AXES.keys() & run.keys()):
            raise InputError(f"{path}: [run]: expected no {name}; write {AXES[name]} = ... above [run]")
        families = table.get("families")
        first = families[0] if isinstance(families, list) and families else "dropout"
        check_choice(f"{path}: families", first, FAMILIES)
        table["run"] = _without_axes(RunConfig.from_toml({"family": first} | run, path))
        return from_table(cls, table, path)


def make_grid(
    config: Path | None,
    *,
    data: str | None,
    families: Sequence[str],
    parts: Sequence[str],
    methods: Sequence[str],
    seeds: int | None,
    settings: dict[str, Any],
) -> Grid:
    """A grid from a file or the data set's preset, with what was given put over it; empty means not given."""
    if config is None:
        suits = preset(data or "digits", families[0] if families else "dropout")
        grid = Grid(run=_without_axes(RunConfig(**suits)))
    else:
        grid = Grid.load(config)
        family = families[0] if families else grid.families[0]
        if (data or grid.run.data) != grid.run.data or not suits_alike(grid.families[0], family, grid.run.data):
            settings = preset(data or grid.run.data, family) | {"family": grid.run.family} | settings
    axes = {"families": tuple(families), "parts": tuple(parts), "methods": tuple(methods), "seeds": seeds}
    given = {name: value for name, value in axes.items() if value not in ((), None)}
    return replace(grid, **given, run=replace(grid.run, **settings))  # type: ignore[arg-type]


def _without_axes(run: RunConfig) -> RunConfig:
    """What a grid says in place of its run stands there at the default."""
    default = RunConfig()
    return replace(run, **{name: getattr(default, name) for name in AXES})
