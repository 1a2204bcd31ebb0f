"""What is to be done: comparisons as grids of families, quantized parts, methods and seeds, and the paper's table."""

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
    make_settings,
    naming,
    refuse_option,
    run_name,
    suits_alike,
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
"""In the order of the paper's table."""
PAPER_DATA = ("mnist", "nmnist")
PAPER_METHODS = ("float", "indirect", "direct")
CONVOLUTIONAL = ("plif",)
OF_EVENTS = ("slayer",)
AXES = {"network": "families", "method": "methods", "method.layers": "parts", "seed": "seeds"}
"""Settings of a run that are axes of a grid, and which."""
REPRODUCTION = "reproduce.toml"
"""In the folder of a reproduction, what is reproduced."""
BUDGETS = ("full", "quick")
# What goes over the settings of a family: small networks and few images, to see that everything works.
QUICK: dict[str, dict[str, Any]] = {
    "dropconnect": {"hidden": (128, 128), "train_limit": 4000, "epochs": 3, "samples": 4},
    "slayer": {"hidden": (64,), "train_limit": 1000, "epochs": 2, "samples": 4},
    # Few steps have to be large ones, or no neuron of the last layer ever fires.
    "plif": {
        **{"hidden": (8, 8, 64), "train_limit": 1000, "epochs": 2, "samples": 4},
        **{"batch_size": 16, "learning_rate": 1e-2},
    },
}
QUICK_EVENTS = {"steps": 60, "bin_ms": 5.0}  # the same 300 ms in a fifth of the steps


@dataclass(frozen=True)
class Axes:
    """What the runs of a comparison differ in. Components need not be there."""

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
        """Family, quantized part and method; a method without quantized layers is there once for all parts.

        Args:
            quantizing: methods whose code is not known here, and which have quantized layers.
        """
        return [
            (family, part, method)
            for family in self.families
            for method in self.methods
            for part in (self.parts if quantizes(method) or method in quantizing else ("none",))
        ]


def quantizes(method: str) -> bool:
    """Whether a method has an option ``layers``; one whose code is not known here counts as one that has not."""
    return method in known("method") and "layers" in find("method", method).options.model_fields


@dataclass(frozen=True)
class Grid(Axes):
    """A grid of runs: families x quantized parts x methods x seeds, all else as in `run`.

    Args:
        families: networks; the same options and settings have to suit all.
        parts: quantized layers, for methods that have the option ``layers``.
        methods: training methods.
        seeds: their number, 0 and on.
        run: all other settings.
        options: of methods, by dotted names; each method takes those that it has.
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
        # The run has one value of each axis, always the same one, so that equal grids are equal.
        object.__setattr__(self, "run", self.run.replace(network=self.families[0], method="float", seed=0))
        for family in self.families[1:]:
            if not suits_alike(self.families[0], family, self.run.data.name):
                wanted = f"families that the settings of {self.families[0]} suit"
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
        """The settings that all runs have in common, by dotted names."""
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
        """Read what `save` wrote, or a part of it; what is not there suits data set and network or is the default.

        Raises:
            InputError: missing or damaged file, an unknown key (the nearest is suggested), a bad value.
        """
        return make_grid({}, config=path)


def read_axes(path: str | Path) -> tuple[Axes, str]:
    """The axes in a comparison's ``config.toml`` and the name of its data set; no component's code is needed."""
    axes, run, _ = _tables(path)
    with naming(path):
        return Axes(**axes), str(run.get("data", "digits"))


def _tables(path: str | Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Axes, settings of a run and options of methods in a file."""
    table = read_toml(path)
    with naming(path):
        for key in table:
            check_choice("key", key, [item.name for item in fields(Axes)] + ["run", "method"])
        run, method = table.pop("run", {}), table.pop("method", {})
        for name, part in (("run", run), ("method", method)):
            if not isinstance(part, dict):
                raise InputError(f"expected a table [{name}]; got {part!r}")
        return table, *_apart({**run, **{f"method.{name}": value for name, value in method.items()}})


def _apart(settings: Mapping[str, Any], methods: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a run that are none of its method, and the options of `methods` by dotted names.

    Raises:
        InputError: a setting that is an axis of the grid.
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
    """A grid from what suits data set and network, over it a file, over both what is given; empty means not given.

    Args:
        given: settings of a run by dotted or short names; see `tsnn_uq.experiments.settings.ALIASES`.
        config: a TOML file as `Grid.save` writes it.
        families: networks.
        parts: quantized layers.
        methods: training methods.
        seeds: number of seeds.

    Raises:
        InputError: unknown names, or settings that are wrong or do not go together.
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
    own, of_methods = _apart(given, axes.get("methods", Axes.methods))
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
    """The grids that a comparison of `families` takes: one for those that the same settings suit.

    Families ``"all"`` are those of the paper's table, with its data, parts and methods where none are given. Of several
    data sets a family takes the first that is of its kind, events or images. Only convolutional families of the table
    have the parts ``"conv"`` and ``"fc"``; in the others all layers are fully connected.

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
    """Families that the same settings suit, each group with its data set."""
    groups: list[tuple[str | None, list[str]]] = []
    for family in families:
        suitable = [name for name in data if (name in datasets.EVENT_SETS) == (family in OF_EVENTS)]
        name = suitable[0] if suitable else data[0] if data else None
        for other, group in groups:
            if other == name and suits_alike(group[0], family, name or "digits"):
                group.append(family)
                break
        else:
            groups.append((name, [family]))
    return groups


@dataclass(frozen=True)
class Part:
    """A grid, the folder of its comparison, and a prefix of its runs' names where progress is shown."""

    grid: Grid
    folder: Path
    prefix: str = ""

    def tasks(self) -> list[Task]:
        """Its runs."""
        return [Task(run, self.folder / "runs", self.prefix) for run in self.grid.runs()]


@dataclass(frozen=True)
class Plan:
    """Comparisons that are done together.

    Args:
        out: folder of the tables of all of them.
        groups: the comparisons, by the regularizer that the tables name, or under an empty text.
        budget: of a reproduction of the paper's table, one of `BUDGETS`; else empty.
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
        """What the tables of a reproduction say of each row, by column."""
        return {"budget": self.budget} if self.budget else {}

    def tasks(self) -> list[Task]:
        """All runs."""
        return [task for part in self.parts for task in part.tasks()]

    def fixed(self) -> dict[str, Any]:
        """What may not change in the folder of a reproduction; seeds and regularizers may become more."""
        return {"budget": self.budget, "data": sorted({part.grid.run.data.name for part in self.parts})}


def plan_comparison(grids: Sequence[Grid], out: str | Path) -> Plan:
    """The runs of grids in a folder, with the tables of all where there are several."""
    return Plan(as_path(out), {"": place_grids(grids, as_path(out))})


def place_grids(grids: Sequence[Grid], out: Path, prefix: str = "") -> list[Part]:
    """Comparisons of grids: one in `out` itself, several each in a folder of its own there."""
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
    """The runs behind the paper's table, in folders under `out`.

    Of a regularizer that is a sum, events have those terms that do not need images; where none is left, the families
    of events are not in its table.

    Args:
        out: the folder.
        data: data sets, of which a family takes the first of its kind; by default MNIST and N-MNIST, as in the paper.
        seeds: seeds 0, 1, ... of each run.
        regularizers: uncertainty terms in the loss, each for a table of its own, such as ``"variance:5+outliers:0.5"``.
        budget: ``"full"``, or ``"quick"``: small networks on subsets, a few minutes to see that everything works.
        device: where networks run.
        data_dir: folder of the data sets.

    Raises:
        InputError: unknown names, settings that do not go together, data that are not there and cannot be fetched, or
            a folder with the work of another plan.
    """
    check_choice("budget", budget, BUDGETS)
    if not regularizers or len(set(regularizers)) < len(regularizers):
        raise InputError(f"regularizers: expected at least one, each once; got {list(regularizers)}")
    grids = make_grids({"device": device}, data=data, families=("all",), seeds=seeds)
    sizes = [datasets.extent(grid.run.data.name, data_dir).train for grid in grids]  # raises where events are missing
    if budget == "quick":
        grids = [_quick(grid, size) for grid, size in zip(grids, sizes, strict=True)]
    out = out.resolve()
    groups = {}
    for text in regularizers:
        folder = out / text.replace(":", "-")
        groups[text] = place_grids(_with(text, grids), folder, f"{folder.name}/" if len(regularizers) > 1 else "")
    plan = Plan(out, groups, budget)
    plan.tasks()  # raises where a method and a regularizer do not go together
    if (out / REPRODUCTION).exists():
        found = read_toml(out / REPRODUCTION)
        require_same(out, plan.fixed(), {name: found.get(name) for name in plan.fixed()})
    return plan


def _quick(grid: Grid, inputs: int) -> Grid:
    settings = QUICK[grid.families[0]] | (QUICK_EVENTS if grid.run.data.name in datasets.EVENT_SETS else {})
    settings["train_limit"] = min(settings["train_limit"], inputs)
    return replace(grid, run=grid.run.replace(**settings))


def _with(regularizer: str, grids: Sequence[Grid]) -> list[Grid]:
    """The grids with those terms of a regularizer that go with their data; without those that no term is left for."""
    terms = training.regularizer_terms(regularizer)
    without_images = "+".join(f"{name}:{of!r}" for name, of in terms.items() if name not in training.NEED_IMAGES)
    if not terms.keys() & set(training.NEED_IMAGES):
        without_images = regularizer
    own = [without_images if grid.run.data.name in datasets.EVENT_SETS else regularizer for grid in grids]
    return [
        replace(grid, run=grid.run.replace(regularizer=text)) for grid, text in zip(grids, own, strict=True) if text
    ]


def run_folder(out: Path, family: str, part: str, method: str, seed: int) -> Path:
    """Where a comparison keeps a run; one without quantized layers is there under no quantized part."""
    without = out / "runs" / run_name(family, "none", method, seed)
    return without if method == "float" or without.exists() else out / "runs" / run_name(family, part, method, seed)
