"""Command-line options made from the fields of `RunConfig`: a field more is an option more."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from tsnn_uq.checks import InputError
from tsnn_uq.experiments import RunConfig
from tsnn_uq.experiments.presets import VARIABLE

__all__ = [
    "CheckpointSeconds",
    "ComparisonFolder",
    "DataDir",
    "Family",
    "FigureFolder",
    "Jobs",
    "Part",
    "Seed",
    "names",
    "with_run_options",
]

DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the data sets; else TSNN_UQ_DATA, else the user's cache.", show_default=False),
]
Jobs = Annotated[int, typer.Option(help="Runs done side by side, each in its own process.")]
CheckpointSeconds = Annotated[
    float, typer.Option(help="Least time between two checkpoints; a killed run loses no more than that.")
]

# What the scripts of analysis/ take.
ComparisonFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that tsnn-uq compare wrote.")]
FigureFolder = Annotated[Path, typer.Option(help="Folder for the PDF, the PNG and the CSV of the plotted numbers.")]
Family = Annotated[str, typer.Option(help="Network family.")]
Part = Annotated[str, typer.Option(help="Quantized part of the ternary networks.")]
Seed = Annotated[int, typer.Option(help="Seed of the runs.")]


def names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def with_run_options(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of `RunConfig` but those named.

    The command receives those that were given as a dictionary `settings`; what was not given is not in it,
    so that a configuration file or the data set's preset decides.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
        hints = get_type_hints(command, include_extras=True)
        extra = {item.name: _option(item) for item in fields(RunConfig)}
        for name in without:
            del extra[name]

        @functools.wraps(command)
        def wrapper(**arguments: Any) -> None:
            given = {name: arguments.pop(name) for name in extra}
            settings = {name: _parsed(name, value) for name, value in given.items() if value is not None}
            command(**arguments, settings=settings)

        parameters = [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in own]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in extra.items()
        ]
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate


def _option(item: Field[Any]) -> Any:
    about = item.metadata["about"][0].upper() + item.metadata["about"][1:]
    choices: Iterable[str] = item.metadata.get("choices", ())
    text = f"{about}: {', '.join(choices)}." if choices else f"{about}."
    wanted = {"int": int, "float": float, "bool": bool}.get(str(item.type), str)
    option = typer.Option(
        item.metadata.get("option") or f"--{item.name.replace('_', '-')}",
        help=text,
        show_default="suits data and family" if item.name in VARIABLE else str(item.default) or False,
        rich_help_panel="Settings of a run",
    )
    return Annotated[wanted | None, option]


def _parsed(name: str, value: Any) -> Any:
    if not isinstance(getattr(RunConfig, name), tuple):
        return value
    try:
        return tuple(int(part) for part in names(value))
    except ValueError as error:
        raise InputError(f"{name}: expected whole numbers with commas, e.g. 500,500; got {value!r}") from error
