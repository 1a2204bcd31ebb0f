"""Every script of analysis/ draws the runs of a stranger's network on a stranger's images, or says why not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.experiments.test_components import BUDGET, COMMON, MINE
from tests.helpers.checkout import need_folder
from tsnn_uq.cli import main
from tsnn_uq.cli.main import run_command

ANALYSIS = need_folder("analysis")
NAMED = ["--network", f"{MINE}:build", "--data", f"{MINE}:load"]
# Script, its options, and what its one line says if it cannot draw such runs.
CALLS = [
    ("anytime", [*NAMED, "--repeats", "2"], ""),
    ("corruption", [*NAMED, "--kinds", "fog,contrast", "--samples", "2"], ""),
    ("differences", [], "seeds"),
    ("digits", NAMED, ""),
    ("doubt", NAMED, "expected predictions of cifar10"),
    ("entropy", [*NAMED, "--outlier", f"{MINE}:load:rotate=90"], ""),
    ("firing_rates", NAMED, ""),
    ("foreign", NAMED, "near, far: expected names"),
    ("foreign", [*NAMED, "--near", f"{MINE}:load:rotate=90", "--scores", "entropy,energy,mahalanobis"], ""),
    ("quantization", [*NAMED, "--show", "weights"], ""),
    ("quantization", [*NAMED, "--show", "sparsity", "--inputs", "9"], ""),
    ("quantization", [*NAMED, "--show", "potentials", "--inputs", "9"], "neurons of tsnn_uq"),
    ("quantization", [*NAMED, "--show", "raster"], ""),
    ("regularizers", [], "tsnn-uq ablation"),
    ("posteriors", [], "tsnn-uq ablation"),
    ("reliability", [], ""),
    ("selective", [], ""),
    ("shift", [*NAMED, "--rotate", "0,90", "--noise", "0.5", "--blur", ""], ""),
    ("stopping", NAMED, ""),
    ("tradeoff", [], ""),
    ("variance", [], ""),
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("mine") / "mine"
    words = ["compare", *COMMON, *BUDGET, "--methods", "float,direct", "--seeds", "1", "--jobs", "1", "--out", out]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tsnn-uq", *map(str, words)])
        with pytest.raises(SystemExit, match="0"):
            main()
    return out


def test_no_script_is_left_out():
    assert {script for script, _, _ in CALLS} == {path.stem for path in ANALYSIS.glob("*.py")}


@pytest.mark.parametrize(("script", "options", "reason"), CALLS)
def test_it_draws_them_or_says_why_not(script, options, reason, compared, typed, tmp_path):
    spec = importlib.util.spec_from_file_location(script, ANALYSIS / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    status, text, error = typed(lambda: run_command(module.main), script, compared, "--out", tmp_path, *options)
    if reason:
        assert status == 2
        assert reason in error
        assert len(error.splitlines()) == 1
        assert not list(tmp_path.iterdir())
    else:
        assert (status, error) == (0, "")
        assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".pdf", ".png"}
        assert text.split() == [str(path) for path in map(Path, text.split()) if path.exists()]
