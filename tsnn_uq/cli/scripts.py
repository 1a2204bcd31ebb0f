"""Scripts that draw trained runs: what they have in common, so that each says only what it draws."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from tsnn_uq.checks import InputError
from tsnn_uq.cli.main import CORES, console
from tsnn_uq.cli.options import (
    DataDir,
    Device,
    Family,
    FigureFolder,
    Jobs,
    Part,
    Reference,
    Seed,
    Sources,
    follow_names,
    named_files,
    names,
)
from tsnn_uq.cli.progress import RunBars
from tsnn_uq.results.figures import describe, save_plot
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.studies import Runs, RunsOrPredictions, read_named, require_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    Drawing = tuple[Callable[[DataFrame], Figure], DataFrame]
    """A function that draws a table, and the table."""
else:
    Drawing = tuple  # matplotlib and pandas wait until something is drawn

__all__ = ["Drawing", "figure_folder", "figure_script", "seeds_name"]


def figure_folder(out: Path | None, source: Path) -> Path:
    """Where a figure goes: to `out`, or else beside what it is drawn from, a folder or a file of results."""
    return (source if source.is_dir() else source.parent) / "figures" if out is None else out


def seeds_name(table: DataFrame) -> str:
    """The number of seeds of a table, in the file name of its figure: ``"1-seed"``, ``"3-seeds"``."""
    count = int(table["seeds"].max())
    return f"{count}-seed" if count == 1 else f"{count}-seeds"


def figure_script(name: str, *, variants: Sequence[str] = ()) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Make a function of runs or predictions and options of its own, which returns a `Drawing`, a script's command.

    The type of the function's first argument says what it needs: `NamedPredictions` of runs or of anybody's files;
    `Runs`, whose networks predict anew; or `RunsOrPredictions`, either of them.

    The command has the function's own options and those with which runs are found, or trained where they are missing;
    it describes the table, draws it, and writes a CSV, a PDF and a PNG called ``<name>-<data>-<family>-seed<seed>``.
    The figure is drawn from what the CSV holds, and from nothing else. The function itself is the command's
    `__wrapped__`.

    Args:
        name: of the figure.
        variants: options of the function that choose another figure. A value that is not the default is added to the
            files' name, ``<name>-<data>-<family>-seed<seed>-<value>``, so that one figure does not overwrite another.

    Example:
        >>> @figure_script("nothing")
        ... def main(runs: Runs, bins: int = 15) -> Drawing:
        ...     '''Draw nothing.'''
        >>> list(inspect.signature(main).parameters)[:3]
        ['sources', 'bins', 'out']
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., None]:
        defaults = inspect.signature(function).parameters

        @functools.wraps(function)
        def command(**arguments: Any) -> None:
            out = figure_folder(arguments.pop("out"), _place(arguments["sources"]))
            for option in {"outlier", "near", "far"} & arguments.keys():
                arguments[option] = follow_names("data", arguments[option])
            found = _take_source(arguments)
            runs = _suited(found, hints[first.name], name)
            draw, table = function(runs, **arguments)
            table = describe(table, **found.facts, foreign=arguments.get("outlier"))
            chosen = [arguments[option] for option in variants if arguments[option] != defaults[option].default]
            file = out / "-".join([name, runs.file_name, *chosen]).replace(":", "-")
            for path in save_plot(draw(table), table, file):
                print(path)

        first, *own = inspect.signature(function).parameters.values()
        hints = get_type_hints(function, include_extras=True)
        common = list(inspect.signature(_options, eval_str=True).parameters.values())
        parameters = [common[0], *(p.replace(annotation=hints[p.name]) for p in own), *common[1:]]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _options(
    sources: Sources,
    out: FigureFolder = None,
    family: Family = "",
    part: Part = "",
    seed: Seed = None,
    methods: Annotated[str, typer.Option(help="Methods or names, with commas; else those that are there.")] = "",
    reference: Reference = "",
    train: Annotated[
        bool, typer.Option("--train", help="Train what is missing, after saying how long it will take.")
    ] = False,
    data: Annotated[
        str, typer.Option(help="Data set to train on where the folder does not say, else digits; or its FILE.py:name.")
    ] = "",
    data_dir: DataDir = None,
    device: Device = "",
    jobs: Jobs = CORES,
) -> None:
    """The options that all such scripts have."""


def _place(sources: Sequence[str]) -> Path:
    """Where figures go by default: the folder of runs, or the first of the files."""
    files = named_files(sources)
    return Path(sources[0]) if files is None else next(iter(files.values()))[0]


def _take_source(arguments: dict[str, Any]) -> RunsOrPredictions:
    common = inspect.signature(_options).parameters
    given = {name: arguments.pop(name) for name in common if name in arguments}
    sources, methods = given.pop("sources"), names(given.pop("methods"))
    files = named_files(sources)
    if files is not None:
        networks = read_named(files, reference=given["reference"], data=given["data"])
        return networks.select(methods, seed=given["seed"] or 0)
    given |= {"family": follow_names("network", given["family"]), "data": follow_names("data", given["data"])}
    return require_runs(sources[0], methods=methods, watch=partial(RunBars, console), **given)


def _suited(source: RunsOrPredictions, wanted: Any, name: str) -> RunsOrPredictions:
    """The source as a script takes it: runs, their predictions, or either."""
    if wanted is NamedPredictions and isinstance(source, Runs):
        return source.predictions()
    if wanted is Runs and not isinstance(source, Runs):
        wanted = "the folder of a comparison, whose networks can be run"
        raise InputError(f"{name}: expected {wanted}; got predictions alone")
    return source
