"""Comparisons: families x quantized parts x methods x seeds as a list of runs; tables and figures of their rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.components import find, is_reference, known, typed
from tsnn_uq.data import EVENT_SETS
from tsnn_uq.experiments.context import Context
from tsnn_uq.experiments.runner import HOUR_S, Failure, Row, Task, do_runs, raised
from tsnn_uq.experiments.settings import (
    ALIASES,
    Settings,
    flat,
    make_settings,
    naming,
    run_name,
    suits_alike,
)
from tsnn_uq.experiments.storage import is_begun, read_predictions, require_same
from tsnn_uq.files import as_path, read_toml, remove_leftovers, write_toml
from tsnn_uq.quantization import PARTS
from tsnn_uq.results.paper_table import paper_table
from tsnn_uq.results.tables import read_results, render_table, summarize, write_results, write_summary
from tsnn_uq.training import METHODS

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.table import Table

__all__ = [
    "ALL_FAMILIES",
    "Axes",
    "Comparison",
    "Grid",
    "Part",
    "claim",
    "compare",
    "draw_figures",
    "make_grids",
    "plan_parts",
    "require_comparable",
    "run_folder",
    "write_posterior",
    "write_tables",
]

ALL_FAMILIES = ("dropconnect", "dropout", "slayer", "plif")
"""In the order of the paper's table."""
PAPER_DATA = ("mnist", "nmnist")
PAPER_METHODS = ("float", "indirect", "direct")
CONVOLUTIONAL = ("plif",)
OF_EVENTS = ("slayer",)
AXES = {"network": "families", "method": "methods", "method.layers": "parts", "seed": "seeds"}
"""Settings of a run that are axes of a grid, and which."""


@dataclass(frozen=True)
class Axes:
    """What the runs of a comparison differ in. Components need not be there."""

    families: tuple[str, ...] = ("dropout",)
    parts: tuple[str, ...] = ("all",)
    methods: tuple[str, ...] = tuple(METHODS)
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
        for name in self.options:
            if not any(self._takes(method, name) for method in self.methods):
                options = {option for method in self.methods for option in find("method", method).options.model_fields}
                option = name.removeprefix("method.")
                check_choice(f"{option}: option of methods {', '.join(self.methods)}", option, options - {"name"})

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
        for name in flat(run):
            axis = ALIASES.get(name, (name,))[0]
            if axis in AXES:
                raise InputError(f"[run]: expected no {name}; write {AXES[axis]} = ... above [run]")
        own, options = _apart(run)
        return table, own, options | {f"method.{name}": value for name, value in method.items()}


def _apart(settings: Mapping[str, Any], methods: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a run that are none of its method, and the options of `methods` by dotted names."""
    own, options = {}, {}
    for name, value in flat(settings).items():
        target = ALIASES.get(name, (name,))[0]
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
        suitable = [name for name in data if (name in EVENT_SETS) == (family in OF_EVENTS)]
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


def plan_parts(grids: Sequence[Grid], out: Path, prefix: str = "") -> list[Part]:
    """A comparison's parts: one grid in `out` itself, several each in a folder of its own there."""
    if len(grids) == 1:
        return [Part(grids[0], out, prefix)]
    names = [run_name(grid.run.data.name, *grid.families) for grid in grids]
    return [Part(grid, out / name, prefix) for grid, name in zip(grids, names, strict=True)]


@dataclass(frozen=True)
class Comparison:
    """What came of comparisons: rows, tables to look at, files, and the runs that could not be done."""

    rows: tuple[Row, ...]
    tables: tuple[Table, ...]
    files: tuple[Path, ...]
    failures: tuple[Failure, ...] = ()


def compare(grids: Grid | Sequence[Grid], out: str | Path, context: Context = Context()) -> Comparison:
    """Do all runs of grids; write tables, figures and configuration into `out`.

    A grid may grow in its folder, by seeds, methods, families or parts; the settings of its runs may not change. With
    several grids, each in a folder of its own, `out` gets the tables of all: ``results.csv``, ``summary.csv`` and
    ``table.csv``, which has the layout of the paper's.

    Args:
        grids: what to compare.
        out: the folder; runs are in its subfolder ``runs``. Finished ones are skipped.
        context: where and how.

    Returns:
        The table and the paths of the files.

    Raises:
        InputError: `out` holds a comparison with other settings, or what a run raises.
    """
    out = as_path(out)
    parts = plan_parts([grids] if isinstance(grids, Grid) else grids, out)
    results = do_runs([task for part in parts for task in part.tasks()], context, begin=lambda: claim(parts))
    return write_tables({"": parts}, {task: raised(result) for task, result in results.items()}, out)


def claim(parts: Sequence[Part]) -> None:
    """Write grids into their folders, unless there is work with other settings in one.

    Raises:
        InputError: there is.
    """
    for part in parts:
        path = part.folder / "config.toml"
        if path.exists() and any(is_begun(folder) for folder in (part.folder / "runs").glob("*")):
            require_same(part.folder, part.grid.common(), Grid.load(path).common())
    for part in parts:
        remove_leftovers(part.folder, older_than_s=HOUR_S)  # younger ones may be another process's
        part.grid.save(part.folder / "config.toml")


def write_tables(
    groups: Mapping[str, Sequence[Part]], rows: Mapping[Task, Row], out: Path, *, budget: str = ""
) -> Comparison:
    """Write tables and figures of each part into its folder, and the tables of all parts into `out`.

    Args:
        groups: the parts, by a regularizer that the tables of all name, or under an empty text.
        rows: of the runs that were done; others are left out.
        out: the folder of all parts; that of the only part has the tables already.
        budget: what the tables of all say where they name regularizers.

    Returns:
        A table for each regularizer, and the paths of the files.
    """
    import pandas as pd

    files: list[Path] = []
    done: dict[str, list[Row]] = {}
    for regularizer, part in ((name, part) for name, parts in groups.items() for part in parts):
        if own := [rows[task] for task in part.tasks() if task in rows]:
            done.setdefault(regularizer, []).extend(own)
            files += _write_part(part, own)
    summaries = {regularizer: summarize(own) for regularizer, own in done.items()}
    if done and not any(part.folder == out for parts in groups.values() for part in parts):
        all_files = [out / name for name in ("results.csv", "summary.csv", "table.csv")]
        summary, layout = [], []
        for regularizer, one in summaries.items():
            names = {"regularizer": regularizer} if regularizer else {}
            summary.append(_with_columns(one, names))
            layout.append(_with_columns(paper_table(one), ({"budget": budget} if names else {}) | names))
        write_results(all_files[0], [row for own in done.values() for row in own])
        write_summary(all_files[1], pd.concat(summary))
        write_summary(all_files[2], pd.concat(layout))
        files = all_files + files
    tables = {regularizer: render_table(one) for regularizer, one in summaries.items()}
    for regularizer in filter(None, tables):
        note = ": small networks on subsets, to see that everything works" if budget == "quick" else ""
        tables[regularizer].title = f"regularizer {regularizer}, {budget} budget{note}"
    return Comparison(tuple(row for own in done.values() for row in own), tuple(tables.values()), tuple(files))


def _with_columns(frame: DataFrame, columns: Mapping[str, str]) -> DataFrame:
    """A table with columns put before the others."""
    return frame.assign(**columns)[[*columns, *frame.columns]]


def _write_part(part: Part, rows: Sequence[Row]) -> list[Path]:
    out = part.folder
    write_results(out / "results.csv", rows)
    write_summary(out / "summary.csv", summarize(rows))
    done = [task.settings for task in part.tasks() if (task.folder / "result.json").exists()]
    return [out / "results.csv", out / "summary.csv", out / "config.toml", *draw_figures(done, out)]


def draw_figures(runs: Sequence[Settings], out: Path) -> list[Path]:
    """Reliability diagram and entropy histogram of each family and quantized part, methods side by side.

    Drawn from the first seed's predictions; returns the files written.
    """
    from tsnn_uq.results.figures import (
        describe,
        entropy_histogram,
        entropy_table,
        reliability_diagram,
        reliability_table,
        save_figure,
    )

    files: list[Path] = []
    first = [run for run in runs if run.seed == 0]
    for family in dict.fromkeys(run.family for run in first):
        for part in dict.fromkeys(run.quantized_part for run in first if run.quantized_part != "none") or ["none"]:
            shown = [run for run in first if run.family == family and run.quantized_part in ("none", part)]
            predictions = {run.method.name: read_predictions(out / "runs" / run.name) for run in shown}
            name = run_name(family, *([] if part in ("none", "all") else [part]))
            facts = {"dataset": shown[0].data.name, "family": family, "quantized_part": part, "seed": 0}
            reliability = describe(reliability_table(predictions), **facts)
            entropy = describe(entropy_table(predictions), **facts)
            files += save_figure(reliability_diagram(reliability), out / f"reliability-{name}")
            files += save_figure(entropy_histogram(entropy), out / f"entropy-{name}")
    return files


def run_folder(out: Path, family: str, part: str, method: str, seed: int) -> Path:
    """Where a comparison keeps a run; one without quantized layers is there under no quantized part."""
    without = out / "runs" / run_name(family, "none", method, seed)
    return without if method == "float" or without.exists() else out / "runs" / run_name(family, part, method, seed)


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
    """Compare the methods of ``results.csv`` in `out` with float, as `compare_methods` does.

    Args:
        out: folder that `compare` wrote.

    Returns:
        The files written there: ``bayes.csv`` and the figure ``posterior``.

    Raises:
        InputError: rows that cannot be compared, or chains that did not mix.
    """
    from tsnn_uq.results.bayesian_comparison import compare_methods
    from tsnn_uq.results.figures import describe, posterior_differences, posterior_table, save_figure

    rows = read_results(out / "results.csv")
    posterior = compare_methods(rows, seed=0)
    table = posterior.table()
    write_summary(out / "bayes.csv", table)
    drawn = describe(posterior_table(table, posterior.draws), seeds=rows["seed"].nunique())
    return (out / "bayes.csv", *save_figure(posterior_differences(drawn), out / "posterior"))
