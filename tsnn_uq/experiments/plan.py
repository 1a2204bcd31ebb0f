"""Plan runs: comparisons as grids of families, quantized parts, methods and seeds, and the paper's table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tsnn_uq import data as datasets
from tsnn_uq import training
from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.components.registry import find, is_reference, known, typed
from tsnn_uq.experiments.runner import Task
from tsnn_uq.experiments.settings import (
    ALIASES,
    Settings,
    flat,
    have_same_defaults,
    make_settings,
    naming,
    refuse_option,
    run_name,
)
from tsnn_uq.experiments.storage import require_same
from tsnn_uq.files import as_path, read_toml, write_toml
from tsnn_uq.quantization import PARTS

__all__ = [
    "BUDGETS",
    "REPRODUCTION",
    "Axes",
    "Grid",
    "Part",
    "Plan",
    "make_grid",
    "make_grids",
    "place_grids",
    "plan_comparison",
    "plan_reproduction",
    "read_axes",
    "run_folder",
]

ALL_FAMILIES = ("dropconnect", "dropout", "slayer", "plif")
"""Families in the order of the paper's table."""
PAPER_DATA = ("mnist", "nmnist")
PAPER_METHODS = ("float", "indirect", "direct")
CONVOLUTIONAL = ("plif",)
OF_EVENTS = ("slayer",)
AXES = {"network": "families", "method": "methods", "method.layers": "parts", "seed": "seeds"}
"""Settings of a run that are axes of a grid, and the names of the axes."""
REPRODUCTION = "reproduce.toml"
"""File in the folder of a reproduction that describes it."""
BUDGETS = ("full", "quick")
# Settings that replace those of a family: small networks and few images, to check that everything works.
QUICK: dict[str, dict[str, Any]] = {
    "dropconnect": {"hidden": (128, 128), "train_limit": 4000, "epochs": 3, "samples": 4},
    "slayer": {"hidden": (64,), "train_limit": 1000, "epochs": 2, "samples": 4},
    # With few steps the learning rate must be large, or no neuron of the last layer ever fires.
    "plif": {
        **{"hidden": (8, 8, 64), "train_limit": 1000, "epochs": 2, "samples": 4},
        **{"batch_size": 16, "learning_rate": 1e-2},
    },
}
QUICK_EVENTS = {"steps": 60, "bin_ms": 5.0}  # the same 300 ms in a fifth of the steps


@dataclass(frozen=True)
class Axes:
    """The axes along which the runs of a comparison differ. Components need not be registered."""

    families: tuple[str, ...] = ("dropout",)
    parts: tuple[str, ...] = ("all",)
    methods: tuple[str, ...] = tuple(training.METHODS)
    seeds: int = 3

    def __post_init__(self) -> None:
        check_positive("seeds", self.seeds, integer=True)
        for argument in ("families", "parts", "methods"):
            names = getattr(self, argument)
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                raise InputError(f"{argument}: expected a list of names; got {names!r}")
            if not names or len(set(names)) < len(names):
                raise InputError(f"{argument}: expected at least one name, each once; got {list(names)}")
        for part in self.parts:
            check_choice("parts", part, PARTS)

    def kinds(self, quantizing: Collection[str] = ()) -> list[tuple[str, str, str]]:
        """Combinations of family, quantized part and method.

        A method without quantized layers occurs once for all parts.

        Args:
            quantizing: methods with quantized layers whose code is not registered.
        """
        return [
            (family, part, method)
            for family in self.families
            for method in self.methods
            for part in (self.parts if quantizes(method) or method in quantizing else ("none",))
        ]


def quantizes(method: str) -> bool:
    """Whether a method has an option ``layers``; false for a method whose code is not registered."""
    return method in known("method") and "layers" in find("method", method).options.model_fields


@dataclass(frozen=True)
class Grid(Axes):
    """A grid of runs: families x quantized parts x methods x seeds, with the other settings as in `run`.

    Args:
        families: networks; all must accept the same options and settings.
        parts: quantized layers, for methods with an option ``layers``.
        methods: training methods.
        seeds: number of seeds; they are 0, 1, ...
        run: all other settings.
        options: options of methods by dotted names; each method uses those that it has.
    """

    run: Settings = field(default_factory=lambda: make_settings({}))
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for argument, kind in (("families", "network"), ("methods", "method")):
            for name in getattr(self, argument):
                if not is_reference(name):
                    with naming(argument):
                        find(kind, name)
        # `run` has a fixed value for each axis, so that grids can be compared for equality.
        object.__setattr__(self, "run", self.run.replace(network=self.families[0], method="float", seed=0))
        for family in self.families[1:]:
            if not have_same_defaults(self.families[0], family, self.run.data.name):
                wanted = f"families that accept the settings of {self.families[0]}"
                raise InputError(f"families: expected {wanted}; got {family}: compare it in a folder of its own")
        for name, value in self.options.items():
            if not any(self._takes(method, name) for method in self.methods):
                option = name.removeprefix("method.")
                methods = f"method{'s' * (len(self.methods) > 1)} {', '.join(self.methods)}"
                taken = {one for method in self.methods for one in find("method", method).options.model_fields}
                refuse_option(getattr(value, "option", option), option, methods, taken - {"name"})

    def runs(self) -> list[Settings]:
        """The runs of the grid."""
        runs = []
        for family, part, method in self.kinds():
            options = {name: value for name, value in self.options.items() if self._takes(method, name)}
            layers = {"method.layers": part} if part != "none" else {}
            for seed in range(self.seeds):
                run = self.run.replace(network=family, method=method, seed=seed, **layers, **options)
                runs.append(run.teacher() if method == "float" else run)
        return runs

    def _takes(self, method: str, name: str) -> bool:
        options = find("method", method).options.model_fields if method in known("method") else None
        return options is None or name.removeprefix("method.") in options

    def common(self) -> dict[str, Any]:
        """The settings that all runs share, by dotted names."""
        run = {name: value for name, value in self.run.flat().items() if name not in AXES and value is not None}
        return {name: value for name, value in run.items() if not name.startswith("method.")} | dict(self.options)

    def save(self, path: str | Path) -> None:
        """Write as TOML, atomically."""
        axes = {item.name: getattr(self, item.name) for item in fields(Axes)}
        run = self.run.model_dump(exclude_none=True, exclude={"method", "seed"})
        del run["network"]["name"]
        method = {name.removeprefix("method."): value for name, value in self.options.items()}
        write_toml(path, {**axes, "method": method, "run": run})

    @classmethod
    def load(cls, path: str | Path) -> Grid:
        """Read a file of `save`, or part of one; missing settings get the defaults for data set and network.

        Raises:
            InputError: the file is missing or damaged, a key is unknown (the nearest is suggested), or a value is
                invalid.
        """
        return make_grid({}, config=path)


def read_axes(path: str | Path) -> tuple[Axes, str]:
    """Read the axes and the name of the data set in a comparison's ``config.toml``; no component code is needed."""
    axes, run, _ = _tables(path)
    with naming(path):
        return Axes(**axes), str(run.get("data", "digits"))


def _tables(path: str | Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Axes, settings of a run and options of methods from a file."""
    table = read_toml(path)
    with naming(path):
        for key in table:
            check_choice("key", key, [item.name for item in fields(Axes)] + ["run", "method"])
        run, method = table.pop("run", {}), table.pop("method", {})
        for name, part in (("run", run), ("method", method)):
            if not isinstance(part, dict):
                raise InputError(f"expected a table [{name}]; got {part!r}")
        return table, *_split_settings({**run, **{f"method.{name}": value for name, value in method.items()}})


def _split_settings(settings: Mapping[str, Any], methods: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split settings of a run into those that are not of a method, and the options of `methods` by dotted names.

    Raises:
        InputError: a setting is an axis of the grid.
    """
    own, options = {}, {}
    for name, value in flat(settings).items():
        target = ALIASES.get(name, (name,))[0]
        if target in AXES:
            where = getattr(value, "option", "[run]")
            raise InputError(f"{where}: expected no {name}; a comparison has {AXES[target]} (in a file above [run])")
        if target.startswith("method."):
            options[target] = typed("method", target, value, methods)
        else:
            own[name] = value
    return own, options


def make_grid(
    given: Mapping[str, Any],
    *,
    config: str | Path | None = None,
    families: Sequence[str] = (),
    parts: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
) -> Grid:
    """Make a grid from the defaults for data set and network, a file, and given settings, in increasing priority.

    Empty arguments count as not given.

    Args:
        given: settings of a run by dotted or short names; see `tsnn_uq.experiments.settings.ALIASES`.
        config: a TOML file as written by `Grid.save`.
        families: networks.
        parts: quantized layers.
        methods: training methods.
        seeds: number of seeds.

    Raises:
        InputError: unknown names, or settings that are invalid or incompatible.
    """
    axes: dict[str, Any] = {}
    base: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if config is not None:
        axes, base, options = _tables(config)
        with naming(config):
            checked = Axes(**axes)
            axes = {name: tuple(value) if isinstance(value, list) else value for name, value in axes.items()}
            base["network"] = checked.families[0]
            Grid(**axes, run=make_settings(base), options=options)
    new = {"families": tuple(families), "parts": tuple(parts), "methods": tuple(methods), "seeds": seeds}
    axes |= {name: value for name, value in new.items() if value not in ((), None)}
    own, of_methods = _split_settings(given, axes.get("methods", Axes.methods))
    own = {"network": axes.get("families", Axes.families)[0], **own}
    return Grid(**axes, run=make_settings(own, base), options=options | of_methods)


def make_grids(
    given: Mapping[str, Any],
    *,
    config: str | Path | None = None,
    data: Sequence[str] = (),
    families: Sequence[str] = (),
    parts: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
) -> list[Grid]:
    """Make the grids of a comparison, one for each set of `families` that accept the same settings.

    The families ``"all"`` are those of the paper's table, by default with its data, parts and methods. If several data
    sets are given, a family uses the first one of its kind, events or images. Only the convolutional families of the
    table have the parts ``"conv"`` and ``"fc"``; in the others all layers are fully connected.

    Raises:
        InputError: unknown names, or a `config` for more than one grid.
    """
    if tuple(families) == ("all",):
        families, data, methods = ALL_FAMILIES, data or PAPER_DATA, methods or PAPER_METHODS
        parts = parts or ("conv", "fc", "all")
    groups = _groups(families, data) or [(data[0] if data else None, [])]
    if len(groups) > 1 and config is not None:
        wanted = f"none with families of different settings, {', '.join(families)}"
        raise InputError(f"config: expected {wanted}; got {config}")
    grids = []
    for name, group in groups:
        on = {} if name is None else {"data": name}
        own = [part for part in parts if part == "all" or len(groups) == 1 or group[0] in CONVOLUTIONAL]
        axes: dict[str, Any] = {"families": group, "parts": own, "methods": methods, "seeds": seeds}
        grids.append(make_grid({**on, **given}, config=config, **axes))
    return grids


def _groups(families: Sequence[str], data: Sequence[str]) -> list[tuple[str | None, list[str]]]:
    """Groups of families that accept the same settings, each with its data set."""
    groups: list[tuple[str | None, list[str]]] = []
    for family in families:
        suitable = [name for name in data if (name in datasets.EVENT_SETS) == (family in OF_EVENTS)]
        name = suitable[0] if suitable else data[0] if data else None
        for other, group in groups:
            if other == name and have_same_defaults(group[0], family, name or "digits"):
                group.append(family)
                break
        else:
            groups.append((name, [family]))
    return groups


@dataclass(frozen=True)
class Part:
    """A grid, the folder of its comparison, and a prefix of its runs' names for display."""

    grid: Grid
    folder: Path
    prefix: str = ""

    def tasks(self) -> list[Task]:
        """The runs of the grid."""
        return [Task(run, self.folder / "runs", self.prefix) for run in self.grid.runs()]


@dataclass(frozen=True)
class Plan:
    """Comparisons that are done together.

    Args:
        out: folder of the tables of all comparisons.
        groups: the comparisons by regularizer, for a reproduction; otherwise under an empty text.
        budget: for a reproduction of the paper's table, one of `BUDGETS`; otherwise empty.
    """

    out: Path
    groups: Mapping[str, Sequence[Part]]
    budget: str = ""

    @property
    def parts(self) -> list[Part]:
        """The comparisons of all groups."""
        return [part for parts in self.groups.values() for part in parts]

    @property
    def columns(self) -> dict[str, str]:
        """Columns that the tables of a reproduction have in addition, with their values."""
        return {"budget": self.budget} if self.budget else {}

    def tasks(self) -> list[Task]:
        """All runs."""
        return [task for part in self.parts for task in part.tasks()]

    def fixed(self) -> dict[str, Any]:
        """Settings of a reproduction that must not change in its folder; seeds and regularizers may be added."""
        return {"budget": self.budget, "data": sorted({part.grid.run.data.name for part in self.parts})}


def plan_comparison(grids: Sequence[Grid], out: str | Path) -> Plan:
    """Plan grids in a folder, with tables of all of them if there are several."""
    return Plan(as_path(out), {"": place_grids(grids, as_path(out))})


def place_grids(grids: Sequence[Grid], out: Path, prefix: str = "") -> list[Part]:
    """Choose the folders of grids: `out` itself for a single grid, otherwise a subfolder for each."""
    if len(grids) == 1:
        return [Part(grids[0], out, prefix)]
    return [Part(grid, out / run_name(grid.run.data.name, *grid.families), prefix) for grid in grids]


def plan_reproduction(
    out: Path,
    *,
    data: Sequence[str] = (),
    seeds: int = 3,
    regularizers: Sequence[str] = ("none",),
    budget: str = "full",
    device: str = "cpu",
    data_dir: str | Path | None = None,
) -> Plan:
    """Plan the runs of the paper's table, in folders below `out`.

    If a regularizer is a sum, event data use only the terms that do not need images. If no term is left, the table of
    this regularizer has no families for events.

    Args:
        out: the folder.
        data: data sets; a family uses the first of its kind; by default MNIST and N-MNIST, as in the paper.
        seeds: number of seeds of each run; they are 0, 1, ...
        regularizers: uncertainty terms in the loss, such as ``"variance:5+outliers:0.5"``, each with its own table.
        budget: ``"full"``, or ``"quick"``: small networks on subsets, to check in a few minutes that everything works.
        device: device of the networks.
        data_dir: folder of the data sets.

    Raises:
        InputError: unknown names, incompatible settings, data that are missing and cannot be downloaded, or a folder
            that another plan uses.
    """
    check_choice("budget", budget, BUDGETS)
    if not regularizers or len(set(regularizers)) < len(regularizers):
        raise InputError(f"regularizers: expected at least one, each once; got {list(regularizers)}")
    grids = make_grids({"device": device}, data=data, families=("all",), seeds=seeds)
    sizes = [datasets.extent(grid.run.data.name, data_dir).train for grid in grids]  # raises if events are missing
    if budget == "quick":
        grids = [_quick(grid, size) for grid, size in zip(grids, sizes, strict=True)]
    out = out.resolve()
    groups = {}
    for text in regularizers:
        folder = out / text.replace(":", "-")
        groups[text] = place_grids(_with(text, grids), folder, f"{folder.name}/" if len(regularizers) > 1 else "")
    plan = Plan(out, groups, budget)
    plan.tasks()  # raises if a method and a regularizer are incompatible
    if (out / REPRODUCTION).exists():
        found = read_toml(out / REPRODUCTION)
        require_same(out, plan.fixed(), {name: found.get(name) for name in plan.fixed()})
    return plan


def _quick(grid: Grid, inputs: int) -> Grid:
    settings = QUICK[grid.families[0]] | (QUICK_EVENTS if grid.run.data.name in datasets.EVENT_SETS else {})
    settings["train_limit"] = min(settings["train_limit"], inputs)
    return replace(grid, run=grid.run.replace(**settings))


def _with(regularizer: str, grids: Sequence[Grid]) -> list[Grid]:
    """Give grids the terms of a regularizer that their data support; grids for which no term is left are removed."""
    terms = training.regularizer_terms(regularizer)
    left = {name: of for name, of in terms.items() if name not in training.NEED_IMAGES}
    without_images = "+".join(f"{name}:{of!r}" for name, of in left.items()) if left.keys() - {training.PASSES} else ""
    if len(left) == len(terms):
        without_images = regularizer
    own = [without_images if grid.run.data.name in datasets.EVENT_SETS else regularizer for grid in grids]
    return [
        replace(grid, run=grid.run.replace(regularizer=text)) for grid, text in zip(grids, own, strict=True) if text
    ]


def run_folder(out: Path, family: str, part: str, method: str, seed: int) -> Path:
    """The folder of a run in a comparison; runs of methods without quantized layers have the part "none"."""
    without = out / "runs" / run_name(family, "none", method, seed)
    return without if method == "float" or without.exists() else out / "runs" / run_name(family, part, method, seed)
