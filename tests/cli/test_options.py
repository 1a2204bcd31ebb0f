"""Settings on the command line: every one is an option, and every option of a chosen component."""

from __future__ import annotations

import re
from functools import partial

import pytest

from tsnn_uq.checks import InputError
from tsnn_uq.cli import main
from tsnn_uq.cli.options import given_settings, names
from tsnn_uq.components import KINDS
from tsnn_uq.experiments import Settings, make_settings
from tsnn_uq.experiments.settings import chosen


@pytest.fixture
def call(typed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return partial(typed, main, "tsnn-uq")


@pytest.mark.parametrize(
    ("text", "parts"), [("", ()), ("a", ("a",)), ("a,b", ("a", "b")), (" a , b,", ("a", "b")), (",", ())]
)
def test_names_are_split_at_commas(text, parts):
    assert names(text) == parts


@pytest.mark.parametrize("method", ["float", "indirect", "distill"])
@pytest.mark.parametrize("family", ["dropout", "slayer"])
def test_all_settings_can_be_typed_and_make_the_same_run(family, method):
    settings = make_settings({"family": family, "method": method, "epochs": 7})
    words = []
    for name, value in settings.flat().items():
        option = {"start_from": "from", "teacher_from": "teacher"}.get(name, name).replace("_", "-")
        text = ",".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)
        words += [f"--{option}", text] if len(words) % 4 else [f"--{option}={text}"]
    assert make_settings(given_settings(words)) == settings


def test_short_names_are_options_too():
    given = given_settings(["--hidden", "8,4", "--p=0.1", "--family", "dropconnect", "--from", "some/folder"])
    settings = make_settings(given)
    assert (settings.family, settings.network.hidden, settings.network.p) == ("dropconnect", (8, 4), 0.1)
    assert settings.start_from == "some/folder"
    assert make_settings(given_settings(["--data", "nmnist", "--skip-bad", "--epochs", "3"])).data.skip_bad is True


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--hidden", "8,x"], r"network\.hidden: expected a valid integer"),
        (["--hidden", "8.5"], r"network\.hidden: expected a valid integer"),
        (["--hidden", "500,,500"], r"network\.hidden: expected a valid integer"),
        (["--hidden", "99999999999999999999"], r"network\.hidden: expected less than"),
        (["--epochs", "three"], "epochs: expected a valid integer"),
        (["--epoch", "3"], r"--epoch: expected an option .* did you mean --epochs\?"),
        (["--network.hiden", "3"], r"--network\.hiden: option of network dropout: .*\(did you mean 'hidden'\?\)"),
        (["--network", "nowhere.py:build"], "network: expected code that can be imported"),
        (["three"], "options: expected --name value"),
    ],
)
def test_what_cannot_be_is_one_line(words, match):
    with pytest.raises(InputError, match=match) as error:
        make_settings(given_settings(words))
    assert "\n" not in str(error.value)


def test_the_help_shows_common_settings_and_the_options_of_the_chosen_components(call):
    code, text, _ = call("train", "--network", "slayer", "--method=distill", "--help")
    assert code == 0
    settings = make_settings({"network": "slayer", "method": "distill"})
    for name, field in Settings.model_fields.items():
        option = {"start_from": "from", "teacher_from": "teacher"}.get(name, name).replace("_", "-")
        assert f"--{option} " in text
        assert field.description[1:30] in text
    for kind in KINDS:
        component = getattr(settings, kind)
        for name, field in chosen(kind, component.name).options.model_fields.items():
            assert name == "name" or f"--{kind}.{name.replace('_', '-')} " in text
            assert name == "name" or (field.description and field.description[1:20] in text)
    assert "[default: 0.01]" in text  # SLAYER's learning rate
    assert "--network.readout" not in text


def test_the_help_of_a_comparison_has_the_options_of_all_its_methods_once(call):
    code, text, _ = call("compare", "--help")
    assert code == 0
    assert "Options of method float, direct, indirect, distill" in text
    assert text.count("--method.rule ") == 1
    assert not re.search(r"--(method|seed|method\.layers) ", text)  # of one run
    assert "`" not in text
    assert re.search(r"--method\.start .*\(indirect, distill\)\. \[default: 0\.5\]", text)
    code, text, _ = call("compare", "--methods", "float,direct", "--family=slayer,plif", "--help")
    assert "Options of method float, direct " in text
    assert "Options of network slayer, plif " in text
    assert "--method.start " not in text
