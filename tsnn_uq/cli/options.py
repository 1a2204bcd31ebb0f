"""Options of commands: those that several have, and the settings of a run, made from the components that are chosen."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

__all__ = [
    "MACHINE",
    "OUTPUT",
    "WHAT",
    "CheckpointSeconds",
    "Data",
    "DataDir",
    "Device",
    "DryRun",
    "Family",
    "FigureFolder",
    "Jobs",
    "Log",
    "Network",
    "Part",
    "Reference",
    "RunDevice",
    "Seed",
    "SettingsCommand",
    "Sources",
    "follow_names",
    "given_settings",
    "named_files",
    "names",
    "option_of",
    "own_options",
    "takes_settings",
    "with_examples",
]

# Headings of the help.
WHAT, OUTPUT, MACHINE = "Inputs and settings", "What to write", "Where and how"

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the data sets; else TSNN_UQ_DATA, else the user's cache.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
Jobs = Annotated[int, typer.Option(help="Runs done side by side, each in its own process.", rich_help_panel=MACHINE)]
CheckpointSeconds = Annotated[
    float,
    typer.Option(
        help="Least time between two checkpoints; a killed run loses no more than that.", rich_help_panel=MACHINE
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say how long it will take, by a few real steps of each kind of run.",
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where networks run: cpu, cuda, cuda:1, mps, or auto, the first available; by default where each was "
        "trained.",
        rich_help_panel=MACHINE,
    ),
]
RunDevice = Annotated[
    str,
    typer.Option("--device", help="Where networks run: cpu, cuda, cuda:1, mps, or auto.", rich_help_panel=MACHINE),
]
Log = Annotated[
    str,
    typer.Option(
        "--log",
        help="Write how each training goes into its folder, with commas: csv, tensorboard.",
        rich_help_panel=OUTPUT,
    ),
]
Network = Annotated[
    str,
    typer.Option(
        "--network", help="The network's code, FILE.py:name, if the run has one from there.", rich_help_panel=WHAT
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="The data's code, FILE.py:name, if the run was trained on data from a file.",
        rich_help_panel=WHAT,
    ),
]

# What the scripts of analysis/ take.
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="FOLDER | NAME=FILE...",
        help="Folder that tsnn-uq compare or train wrote; or by any names files of predictions (.npz, .safetensors) or "
        "single runs, of several seeds with commas.",
        show_default=False,
    ),
]
Reference = Annotated[str, typer.Option(help="Network that the others are compared with; else the first.")]
FigureFolder = Annotated[
    Path | None,
    typer.Option(help="Folder for the PDF, the PNG and the CSV of the plotted numbers; by default figures/ in FOLDER."),
]
Family = Annotated[str, typer.Option("--family", "--network", help="Network; else the first of the folder.")]
Part = Annotated[str, typer.Option(help="Quantized part of the ternary networks; else all, or what the folder has.")]
Seed = Annotated[
    int | None, typer.Option(help="Seed of the runs, or place among the files of a name; else 0 or the first there is.")
]

SHORT = {"from": "start_from", "teacher": "teacher_from"}
LONG = {name: option for option, name in SHORT.items()}


def names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(option: str, text: str) -> list[float]:
    """Split a comma-separated list of numbers.

    Raises:
        InputError: a part is not a number; the message names `option`.
    """
    from tsnn_uq.checks import InputError

    try:
        return [float(part) for part in names(text)]
    except ValueError as error:
        raise InputError(f"{option}: expected numbers separated by commas, such as 0,30,60; got {text!r}") from error


def named_files(sources: Sequence[str]) -> dict[str, list[Path]] | None:
    """The files or run folders of each name, where words are ``NAME=FILE,FILE``; None for a single folder.

    Raises:
        InputError: a word of another form, or a name twice.
    """
    from tsnn_uq.checks import InputError

    if len(sources) == 1 and (Path(sources[0]).exists() or "=" not in sources[0]):
        return None
    found: dict[str, list[Path]] = {}
    for word in sources:
        name, equals, files = word.partition("=")
        if not (name.strip() and equals and names(files)):
            raise InputError(f"sources: expected one folder, or NAME=FILE for each network; got {word!r}")
        if name in found:
            raise InputError(f"sources: expected each name once; got {name} twice (several seeds: {name}=FILE,FILE)")
        found[name] = [Path(file) for file in names(files)]
    return found


def follow_names(kind: str, text: str) -> str:
    """Import the code that a user names, in a list with commas, and return the names that settings have for it.

    Other names are returned as they are, and so is a shift after the name of a data set.
    """
    from tsnn_uq.components import follow
    from tsnn_uq.data import split_shift

    parts = [split_shift(name) for name in names(text)]
    found = [(follow(kind, name), shift) for name, shift in parts]
    return ",".join(f"{name}:{shift}" if shift else name for name, shift in found)


class SettingsCommand(TyperCommand):
    """A command that also takes settings of a run, which `given_settings` reads; its help shows them."""

    words: tuple[str, ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what was typed, for the help."""
        self.words = tuple(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The command's own options, the common settings, and the options of the chosen components."""
        super().format_help(ctx, formatter)
        print_settings(self.words, own_options(ctx))


def takes_settings(*examples: str) -> dict[str, Any]:
    """What makes a command one that takes settings, for ``@app.command``; its help ends with examples."""
    context = {"ignore_unknown_options": True, "allow_extra_args": True}
    return {"cls": SettingsCommand, "context_settings": context} | with_examples(*examples)


def with_examples(*examples: str) -> dict[str, Any]:
    """Examples at the end of a command's help, for ``@app.command``."""
    return {"epilog": "\n\n".join(f"Example: {example}" for example in examples)}


def option_of(name: str) -> str:
    """The option that sets a setting: ``--learning-rate``."""
    return f"--{LONG.get(name, name).replace('_', '-')}"


def own_options(ctx: Any) -> set[str]:
    """The options of a command itself."""
    return {option for parameter in ctx.command.get_params(ctx) for option in parameter.opts}


def given_settings(words: list[str], own: Collection[str] = (), **chosen: str) -> dict[str, Any]:
    """The settings on a command line, by dotted or short names.

    Code that is named there is imported.

    Args:
        words: options and values that are not the command's own.
        own: the command's own options, to suggest where a word is no option.
        chosen: components that the command's own options name, by kind, with commas; empty for none.

    Raises:
        InputError: a word that is no option, or what importing the code raises.
    """
    from tsnn_uq.checks import InputError
    from tsnn_uq.components import KINDS, follow
    from tsnn_uq.components.option_models import Text
    from tsnn_uq.experiments.settings import ALIASES, Settings

    settings = [*Settings.model_fields, *ALIASES]
    given: dict[str, Any] = {}
    left = list(words)
    while left:
        option, equals, value = left.pop(0).partition("=")
        if not option.startswith("--"):
            raise InputError(f"options: expected --name value; got {option!r}")
        name = option.removeprefix("--").replace("-", "_")
        if not equals:
            value = left.pop(0) if left and not left[0].startswith("--") else "true"
        name = SHORT.get(name, name)
        if "." not in name and name not in settings:
            near = difflib.get_close_matches(option, [*own, *(option_of(one) for one in settings)], n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"{option}: expected an option of this command; {hint}--help shows all")
        given[name] = Text(value)
        given[name].option = option
    for kind, text in chosen.items():
        follow_names(kind, text)
        if text and kind in given:
            raise InputError(f"{kind}: expected once; got it twice")
    for name, value in given.items():
        kind = ALIASES.get(name, (name,))[0]
        if kind in KINDS:
            given[name] = Text(follow(kind, value))
            given[name].option = value.option
    return given


def print_settings(words: tuple[str, ...], own: set[str]) -> None:
    """Print the settings of a run and the options of the components that are named among `words`."""
    from rich.panel import Panel
    from rich.table import Table

    from tsnn_uq.cli.text_encoding import OutputConsole
    from tsnn_uq.components import KINDS
    from tsnn_uq.experiments import make_settings
    from tsnn_uq.experiments.plan import AXES
    from tsnn_uq.training import METHODS

    named = _named_components(words)
    if "--methods" in own:  # of a comparison, which has lists in place of some settings
        named = {"method": tuple(METHODS)} | named
        own = own | {option_of(name) for name in AXES}
    first = {kind: of[0] for kind, of in named.items()}
    settings = make_settings(first)
    console = OutputConsole(file=sys.stdout, width=None if sys.stdout.isatty() else 120)

    def show(title: str, chosen: Sequence[Any], prefix: str) -> None:
        """Show the options of components, each once; one that not all have says which have it."""
        table = Table.grid(padding=(0, 2))
        for name in dict.fromkeys(name for one in chosen for name in type(one).model_fields):
            option = option_of(f"{prefix}{name}")
            if option in own or name == "name":
                continue
            having = [one for one in chosen if name in type(one).model_fields]
            value, about = getattr(having[0], name), type(having[0]).model_fields[name].description or ""
            about += "" if having == chosen else f" ({', '.join(one.name for one in having)})"
            default = getattr(value, "name", value)
            default = ",".join(map(str, default)) if isinstance(default, tuple) else default
            says = "" if default in ("", None) else f" [dim]\\[default: {default}][/]"
            table.add_row(f"[cyan]{option}[/]", f"{about[:1].upper()}{about[1:]}.{says}" if about else says.strip())
        if table.row_count:
            console.print(Panel(table, title=title, title_align="left", border_style="dim"))

    show("Settings of a run", [settings], "")
    for kind in KINDS:
        made = [make_settings(first | {kind: name}) for name in named.get(kind, ())] or [settings]
        if chosen := [options for one in made if (options := getattr(one, kind)) is not None]:
            show(f"Options of {kind} {', '.join(one.name for one in chosen)}", chosen, f"{kind}.")


def _named_components(words: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """By kind, the components that are named among `words`, whose code is imported."""
    from tsnn_uq.components import KINDS

    options = {"--methods": "method", "--family": "network", **{f"--{kind}": kind for kind in KINDS}}
    named = {}
    for word, following in zip(words, (*words[1:], ""), strict=True):
        option, equals, value = word.partition("=")
        kind, text = options.get(option), value if equals else following
        if kind and text and text != "all":
            named[kind] = names(follow_names(kind, text))
    return named
