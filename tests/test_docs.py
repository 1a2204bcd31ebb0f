"""The examples of README and docs run and give what they show; links, commands and tables are right."""

from __future__ import annotations

import doctest
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

pytest.importorskip("docs.tables", reason="needs a checkout: docs/ is not beside tests/")

from docs.tables import PAGES, filled
from tests.helpers.checkout import python_examples
from tests.helpers.peers import library, peer
from tsnn_uq import __version__
from tsnn_uq.checks import InputError
from tsnn_uq.cli.main import app
from tsnn_uq.cli.options import SettingsCommand, given_settings, own_options
from tsnn_uq.engine import Engine
from tsnn_uq.experiments import make_settings
from tsnn_uq.training import REGULARIZERS, forward_batch, make_regularizer, regularizer_terms

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
LIBRARIES = ("snntorch", "spikingjelly", "norse", "nir")


SESSIONS = {name: "\n".join(found) for name, text in TEXTS.items() if ">>>" in "".join(found := python_examples(text))}
"""Pages whose examples are one session, with the output."""
SCRIPTS = {
    f"{name}-{number}": example
    for name, text in TEXTS.items()
    if name not in SESSIONS
    for number, example in enumerate(python_examples(text))
}
"""Examples that run by themselves."""
SLOW = {"README.md-1", "docs/posteriors.md-0", "docs/python.md-0"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SESSIONS)
def test_the_session_of_a_page_gives_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for peer_name in LIBRARIES:
        if peer_name == Path(name).stem or re.search(rf"(import|from) {peer_name}\b", SESSIONS[name]):
            library("norse.torch" if peer_name == "norse" else peer_name)
    test = doctest.DocTestParser().get_doctest(SESSIONS[name], {}, name, name, 0)
    assert test.examples
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' own
        report: list[str] = []
        failures, _ = doctest.DocTestRunner().run(test, out=report.append)
    assert failures == 0, "".join(report)


@pytest.mark.parametrize(
    "example",
    [pytest.param(example, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, example in SCRIPTS.items()],
)
def test_an_example_runs(example, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' own
        exec(compile(example, "example", "exec"), {})


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for link in re.findall(r"\]\(([^)]+)\)", TEXTS[name]):
        if "://" not in link:
            path, _, section = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not section or section in sections(target), link


def sections(page: Path) -> set[str]:
    """The names by which links lead to a page's sections."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_tables_are_those_of_the_committed_rows(name):
    """`python -m docs.tables` fills them."""
    assert filled(TEXTS[name]) == TEXTS[name]


def commands(text: str) -> list[str]:
    """The arguments of `tsnn-uq` in the examples of a page that need no code of a user's own."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ")
    lines = (line.partition("#")[0].strip() for line in blocks.splitlines())
    return [line.removeprefix("tsnn-uq ") for line in lines if line.startswith("tsnn-uq ") and ".py:" not in line]


@pytest.mark.parametrize("command", dict.fromkeys(line for text in TEXTS.values() for line in commands(text)))
def test_commands_of_pages_have_options_that_there_are(command):
    words = shlex.split(command)
    found: Any = typer.main.get_command(app)
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    context = found.make_context(command, words)
    if isinstance(found, SettingsCommand):
        given = given_settings(context.args, own_options(context))
        for kind in ("data", "network"):
            if names := context.params.get(kind):
                given[kind] = names.split(",")[0]
        if methods := context.params.get("methods"):
            given["method"] = methods.split(",")[-1]
        make_settings({name: value for name, value in given.items() if value != "all"})


def test_make_targets_that_pages_name_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {target for text in TEXTS.values() for target in re.findall(r"^make ([\w-]+)", text, flags=re.MULTILINE)}
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("name", TEXTS)
def test_modules_and_scripts_that_pages_name_are_there(name):
    modules = set(re.findall(r"python (?:-W ignore )?-m ((?:tests|paper|docs)\.[\w.]+)", TEXTS[name]))
    files = {module.replace(".", "/") + ".py" for module in modules}
    for file in files | set(re.findall(r"(?:analysis|docs|figures|paper|tests|tsnn_uq)/[\w./-]+\.\w+", TEXTS[name])):
        assert (ROOT / file).exists() or "NAME" in file, file


def test_changelog_and_citation_name_the_version():
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)[1] == __version__
    newest, *sections = re.findall(r"^###? (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest == __version__
    assert sections == ["Added", "Changed", "Fixed", "Removed", "Numbers that changed"]


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 130
    assert len(TEXTS["README.md"].split()) <= 1300


OWN_LOOP = next(example for example in SCRIPTS.values() if "make_regularizer" in example)


@pytest.mark.parametrize("name", [*REGULARIZERS, "variance:5+outliers:0.5+membrane:0.1"])
def test_a_training_loop_of_ones_own_takes_every_term(name):
    """Two steps; the term has a gradient, and one that needs more than logits says so."""
    loop = OWN_LOOP.replace('"default"', repr(name)).replace(".split(128)", ".split(128)[:2]")
    assert f"make_regularizer({name!r})" in loop
    found: dict[str, Any] = {}
    exec(compile(loop, "loop", "exec"), found)
    assert found["loss"].isfinite()
    term = found["regularizer"].term(found["forward"])
    assert term.isfinite()
    assert term.requires_grad == (name != "none")
    needs = TEXTS["docs/regularizers.md"].partition("Five terms need more than")[2].partition("The others")[0]
    mc_logits = torch.zeros(2, 128, 10)
    if set(re.findall("`([a-z-]+)`", needs)) & set(regularizer_terms(name)):
        with pytest.raises(InputError, match="got only logits"):
            found["regularizer"](mc_logits, found["labels"])
    else:
        assert found["regularizer"](mc_logits, found["labels"]).isfinite()


@pytest.mark.parametrize("name", ["snntorch hidden", "spikingjelly multi", "norse loop"])
def test_what_knows_our_networks_alone_refuses_others_and_names_the_remedy(name):
    model, inputs, _ = peer(name, 0.5)
    if name != "spikingjelly multi":  # a Sequential, which the engine takes
        with pytest.raises(InputError, match="from_nir"):
            Engine(model)
    with pytest.raises(InputError, match="from_nir"):
        forward_batch(model, inputs, torch.zeros(6, dtype=torch.long), make_regularizer("membrane"), seed=0, step=0)
