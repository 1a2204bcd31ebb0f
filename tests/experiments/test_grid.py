from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.experiments import tiny
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Grid, RunConfig, make_grid, preset
from tsnn_uq.quantization import PARTS
from tsnn_uq.training import METHODS

NOTHING = {"data": None, "families": (), "parts": (), "methods": (), "seeds": None, "settings": {}}


ALIKE = ("dropconnect", "dropout")  # one set of settings suits both


def some(names):
    return st.lists(st.sampled_from(list(names)), min_size=1, unique=True).map(tuple)


@given(some(ALIKE), some(PARTS), some(METHODS), st.integers(1, 3))
def test_each_combination_is_one_run_and_comes_back_from_toml(tmp_path_factory, families, parts, methods, seeds):
    grid = Grid(families, parts, methods, seeds, tiny(epochs=7))
    runs = grid.runs()
    kinds = {(run.family, run.method, run.quantized_part, run.seed) for run in runs}
    ternary = [method for method in methods if method != "float"]
    assert len(runs) == len(kinds) == len(families) * seeds * (("float" in methods) + len(ternary) * len(parts))
    assert all(run.epochs == 7 for run in runs)
    path = tmp_path_factory.mktemp("grid") / "config.toml"
    grid.save(path)
    assert Grid.load(path) == grid
    assert make_grid(path, **NOTHING) == grid


def test_what_is_given_goes_before_the_file_and_that_before_the_preset(tmp_path):
    assert make_grid(None, **NOTHING) == Grid(run=RunConfig(**preset("digits")))
    assert make_grid(None, **{**NOTHING, "data": "mnist"}).run == RunConfig(**preset("mnist"))
    path = tmp_path / "config.toml"
    path.write_text('seeds = 2\nfamilies = ["dropconnect"]\n[run]\ndata = "mnist"\nepochs = 5\n')
    grid = make_grid(path, **{**NOTHING, "methods": ("float",), "seeds": 4, "settings": {"steps": 8}})
    assert grid == Grid(
        ("dropconnect",), ("all",), ("float",), 4, RunConfig(**preset("mnist") | {"epochs": 5, "steps": 8})
    )
    moved = make_grid(path, **{**NOTHING, "data": "digits", "settings": {"batch_size": 7}})
    assert (moved.run.hidden, moved.run.epochs, moved.run.batch_size) == ((128, 128), 60, 7)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('familys = ["dropout"]', r"toml: key: expected one of families, .*; got 'familys' \(did you mean 'families'"),
        ('families = "dropout"', "toml: families: expected a list; got 'dropout'"),
        ('families = ["dropot"]', r"toml: families: expected one of .*; got 'dropot' \(did you mean 'dropout'\?\)"),
        (
            'methods = ["float", "float"]',
            r"toml: methods: expected at least one name, each once; got \['float', 'float'",
        ),
        ("parts = []", r"toml: parts: expected at least one name, each once; got \[\]"),
        ("seeds = 0", "toml: seeds: expected a positive whole number; got 0"),
        ("seeds = 1.5", r"toml: seeds: expected a whole number; got 1\.5"),
        ("run = 3", r"toml: expected a table \[run\]; got 3"),
        ("[run]\nepoch = 3", r"toml: key: expected one of .*; got 'epoch' \(did you mean 'epochs'\?\)"),
        ('[run]\nmethod = "direct"', r"toml: \[run\]: expected no method; write methods = \.\.\. above \[run\]"),
        ("[run]\nepochs = 0", "toml: epochs: expected a positive whole number; got 0"),
        ("[run", "toml: expected a TOML file; it is damaged or foreign"),
    ],
)
def test_a_bad_file_is_one_line_with_its_name(tmp_path, text, match):
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(InputError, match=match) as error:
        Grid.load(tmp_path / "my.toml")
    assert "\n" not in str(error.value)


def test_settings_that_do_not_suit_all_methods_are_refused_before_any_run():
    grid = make_grid(None, **{**NOTHING, "settings": {"rule": "learned"}})
    with pytest.raises(InputError, match="rule: expected one that is not learned for method indirect; choose another"):
        grid.runs()
