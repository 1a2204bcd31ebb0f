"""Each field of a run is an option of a command that asks for them; what is not given is not passed on."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from tsnn_uq.checks import InputError
from tsnn_uq.cli.options import names, with_run_options
from tsnn_uq.experiments import RunConfig

OPTIONS = {item.name: item.metadata.get("option", f"--{item.name.replace('_', '-')}") for item in fields(RunConfig)}
received: list[dict[str, Any]] = []
app = typer.Typer()


@app.command()
@with_run_options("data", "seed")
def command(
    *,
    out: Annotated[Path, typer.Option(help="Where to.")],
    seed: Annotated[int, typer.Option(help="One of its own.")] = 7,
    settings: dict[str, Any],
) -> None:
    """A command."""
    received.append({"out": out, "seed": seed, "settings": settings})


def call(*arguments):
    received.clear()
    return CliRunner().invoke(app, ["--out", "folder", *arguments], env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("text", "parts"), [("", ()), ("a", ("a",)), ("a,b", ("a", "b")), (" a , b,", ("a", "b")), (",", ())]
)
def test_names_are_split_at_commas(text, parts):
    assert names(text) == parts


def test_what_is_not_given_is_not_passed_on():
    assert call().exit_code == 0
    assert received == [{"out": Path("folder"), "seed": 7, "settings": {}}]


def test_every_field_can_be_given_and_makes_the_same_run():
    default = RunConfig(hidden=(8, 4), method="direct", quantized_part="fc")
    values = {item.name: getattr(default, item.name) for item in fields(RunConfig) if item.name not in ("data", "seed")}
    text = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in values.items()
    }
    given = {name: value for name, value in values.items() if value is not False and value != ""}
    assert call(*(f"{OPTIONS[name]}={text[name]}" for name in given)).exit_code == 0
    assert received[0]["settings"] == given
    assert RunConfig(**received[0]["settings"]) == default
    assert all(type(received[0]["settings"][name]) is type(value) for name, value in given.items())


def test_switches_and_texts_can_be_given():
    assert call("--skip-bad", "--from", "some/folder").exit_code == 0
    assert received[0]["settings"] == {"skip_bad": True, "start_from": "some/folder"}


def test_the_help_says_what_each_setting_is_its_choices_and_its_default():
    text = " ".join(call("--help").output.split())
    for item in fields(RunConfig):
        assert (f"{OPTIONS[item.name]} " in text) == (item.name != "data")
        if item.name not in ("data", "seed"):
            assert item.metadata["about"][1:40] in text
            assert ", ".join(item.metadata.get("choices", ()))[:20] in text
    assert "suits data and family" in text
    assert "[default: (arctan)]" in text
    assert text.count("--seed") == 1


@pytest.mark.parametrize("value", ["8,x", "8.5", "eight"])
def test_widths_that_are_no_numbers_are_refused(value):
    with pytest.raises(InputError, match=r"hidden: expected whole numbers with commas, e\.g\. 500,500; got"):
        CliRunner().invoke(app, ["--out=x", f"--hidden={value}"], catch_exceptions=False)


@pytest.mark.parametrize("arguments", [["--epochs", "three"], ["--p", "x"], ["--epoch", "3"], ["--data", "digits"]])
def test_what_typer_refuses_is_code_2(arguments):
    assert call(*arguments).exit_code == 2
    assert received == []
