"""What is printed where standard output has no characters but those of ASCII."""

from __future__ import annotations

import io
import runpy
import sys
from functools import partial

import pytest
from rich.table import Table

from tests.helpers.checkout import need_folder
from tsnn_uq.cli import main
from tsnn_uq.cli.main import app
from tsnn_uq.cli.text_encoding import HANDLER, OutputConsole, accept_any_text

TINY = ["--hidden=8", "--steps=2", "--epochs=1", "--batch-size=32", "--train-limit=64", "--samples=2"]


@pytest.fixture
def printed(monkeypatch):
    """Run a command with streams of an encoding; gives exit code, standard output and standard error."""

    def run(start, *words, encoding="ascii"):
        streams = {name: io.TextIOWrapper(io.BytesIO(), encoding, errors="strict") for name in ("stdout", "stderr")}
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", [str(word) for word in words])
            for name, stream in streams.items():
                patched.setattr(sys, name, stream)
            with pytest.raises(SystemExit) as stop:
                start()
        texts = []
        for stream in streams.values():
            stream.flush()
            texts.append(stream.buffer.getvalue().decode(encoding))
        return stop.value.code or 0, *texts

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_tables_are_aligned_in_every_encoding(encoding):
    table = Table("x ± y", "z")
    for cell in ("98.80 ± 0.32", "98.61 ± 0.00", "5"):
        table.add_row(cell, "\u2212" + "1 \u00d7 2")
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors=HANDLER)
    OutputConsole(file=stream, width=60).print(table)
    stream.flush()
    lines = stream.buffer.getvalue().decode(encoding).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert ("98.80 ± 0.32" if encoding != "ascii" else "98.80 +- 0.32") in "".join(lines)
    assert "1 x 2" in "".join(lines).replace("\u00d7", "x")


def test_characters_have_their_nearest_or_an_escape():
    text = "±\u00d7\u2212\u2013…•ä\u2502\U0001f600\udcff"
    assert text.encode("ascii", HANDLER) == rb"+-x--...*\xe4\u2502\U0001f600\udcff"
    assert "\udcff".encode("utf-8", HANDLER) == rb"\udcff"
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", HANDLER)


def test_streams_of_other_programs_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as under pythonw
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    accept_any_text()


def every_command(typer_app=app, before=()):
    yield before
    for command in typer_app.registered_commands:
        yield (*before, command.name or command.callback.__name__)
    for group in typer_app.registered_groups:
        yield from every_command(group.typer_instance, (*before, group.name))


def test_the_help_of_every_command(printed):
    commands = list(every_command())
    assert len(commands) > 8
    for command in commands:
        code, text, _ = printed(main, "tsnn-uq", *command, "--help")
        assert code == 0
        assert "Usage" in text


@pytest.mark.slow
def test_every_command_in_a_folder_of_another_alphabet(printed, tmp_path):
    out = tmp_path / "Größe ± Ω"
    run = out / "runs" / "dropout-none-float-0"
    arguments = ["--data", "digits", "--methods", "float", "--seeds", "1", "--jobs", "1", *TINY]
    call = partial(printed, main, "tsnn-uq")
    code, text, error = call("compare", "--out", out, *arguments)
    assert (code, error) == (0, "")
    assert "+- sample standard deviation" in text
    assert r"Gr\xf6\xdfe +- \u03a9" in text
    for words in (
        ("evaluate", run),
        ("cost", run),
        ("report", out, "--out", out / "page.html"),
        ("data", "--data-dir", tmp_path),
    ):
        code, text, error = call(*words)
        assert (code, error) == (0, ""), words
        assert text
    code, _, error = call("report", tmp_path / "ä", "--out", out / "page.html")
    assert code == 2
    assert error.startswith("tsnn-uq: ")
    script = need_folder("analysis") / "reliability.py"
    code, text, error = printed(
        partial(runpy.run_path, str(script), run_name="__main__"), script, out, "--out", tmp_path / "é"
    )
    assert (code, error) == (0, "")
    assert len(text.split()) == 3
