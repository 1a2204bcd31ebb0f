"""Scripts of analysis/ that need no network draw anybody's arrays; the others say in a line what they need."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

from tests.helpers.checkout import need_folder
from tests.helpers.studies import tiny_runs
from tsnn_uq.cli.main import run_command
from tsnn_uq.results.prediction_files import write_prediction_file
from tsnn_uq.results.studies.run_selection import read_run_predictions

ANALYSIS = need_folder("analysis")
S, T, N, M, C = 3, 4, 60, 50, 5
DRAWN = [
    ("anytime", ["--repeats", "2", "--outlier", "far set"]),
    ("digits", []),
    ("doubt", ["--resamples", "5"]),
    ("entropy", ["--outlier", "far set"]),
    ("foreign", []),
    ("reliability", []),
    ("selective", ["--outlier", "far set"]),
    ("stopping", []),
    ("variance", ["--resamples", "9", "--temperature", "fitted"]),
]
NEEDS = [
    ("corruption", [], "whose networks can be run"),
    ("doubt", [], "an array answers"),
    ("entropy", ["--outlier", "far set"], "foreign_far set_probs"),
    ("foreign", [], "near, far: expected names"),
    ("quantization", [], "whose networks can be run"),
    ("shift", [], "whose networks can be run"),
    ("stopping", [], "validation_probs"),
    ("variance", ["--temperature", "fitted"], "validation_probs"),
]
OF_TABLES = {"differences", "firing_rates", "posteriors", "regularizers", "tradeoff"}  # or of folders of runs


def call(typed, script, *words):
    spec = importlib.util.spec_from_file_location(script, ANALYSIS / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return typed(lambda: run_command(module.main), script, *words)


def drawn(rng, labels, sharp):
    """Logits [S, T, n, C] of inputs with these labels; surer and surer over time."""
    noise = rng.normal(size=(len(labels), C)) + 0.5 * rng.normal(size=(S, T, len(labels), C))
    return sharp * np.linspace(0.5, 1, T)[:, None, None] * np.eye(C)[labels] + noise


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two networks in files with everything, and the same two with predictions and labels alone."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    labels, held_out = rng.integers(0, C, N), rng.integers(0, C, M)
    for name, sharp in (("float", 3.0), ("ternary", 2.0)):
        logits = drawn(rng, labels, sharp)
        arrays = {"logits": logits, "labels": labels, "inputs": rng.random((N, 1, 6, 6))}
        arrays |= {"validation_logits": drawn(rng, held_out, sharp), "validation_labels": held_out}
        arrays |= {"foreign_far set_logits": rng.normal(size=(S, T, M, C))}
        for prefix, count in (("", N), ("validation_", M), ("foreign_far set_", M)):
            arrays[f"{prefix}features"] = rng.normal(size=(count, 3))
        arrays["answers"] = 20 * np.eye(C)[labels] + rng.integers(0, 9, (N, C))
        np.savez(folder / f"{name}.npz", **arrays)
        np.savez(folder / f"{name}-plain.npz", logits=logits[:, -1], labels=labels)
    return folder


@pytest.mark.parametrize(("script", "options"), DRAWN)
def test_arrays_alone_draw_it_under_any_names(script, options, files, typed, tmp_path):
    words = [f"my net={files / 'float.npz'}", f"yours={files / 'ternary.npz'}", "--out", tmp_path, *options]
    code, _, error = call(typed, script, *words)
    assert (code, error) == (0, "")
    (table,) = tmp_path.glob(f"{script}-my-net-yours*.csv")
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".pdf", ".png"}
    assert set(pd.read_csv(table)["method"]) <= {"my net", "yours", "people"}


@pytest.mark.parametrize(("script", "options", "reason"), NEEDS)
def test_what_arrays_lack_is_one_line(script, options, reason, files, typed, tmp_path):
    words = [f"{name}={files / name}-plain.npz" for name in ("float", "ternary")]
    code, _, error = call(typed, script, *words, "--out", tmp_path, *options)
    assert code == 2
    assert reason in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_no_script_is_left_out():
    tried = {script for script, *_ in [*DRAWN, *NEEDS]} | OF_TABLES
    assert tried == {path.stem for path in ANALYSIS.glob("*.py")}


@pytest.fixture(scope="module")
def runs_and_files(tmp_path_factory):
    """A folder of runs, the same run by run, and their predictions in files; each as the words that name them."""
    out = tmp_path_factory.mktemp("runs")
    runs = tiny_runs(out / "runs").folders
    for method, folder in runs.items():
        write_prediction_file(out / f"{method}.safetensors", read_run_predictions(folder))
    files = [f"{method}={out / method}.safetensors" for method in runs]
    return {"a": [out / "runs"], "b": files, "c": [f"{method}={folder}" for method, folder in runs.items()]}


@pytest.mark.slow
@pytest.mark.parametrize("script", ["reliability", "variance", "digits"])
def test_a_folder_and_its_predictions_in_files_give_the_same_numbers(script, runs_and_files, typed, tmp_path):
    tables = []
    for place, sources in runs_and_files.items():
        code, _, error = call(typed, script, *sources, "--out", tmp_path / place)
        assert (code, error) == (0, "")
        (path,) = (tmp_path / place).glob("*.csv")
        tables.append(pd.read_csv(path))
    known = [name for name in tables[1] if name in tables[0] and name != "noise"]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table[known], tables[0][known], check_exact=True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a={files}/float.npz", "b"], "NAME=FILE"),
        (["a={files}/float.npz", "a={files}/ternary.npz"], "got a twice"),
        (["a={files}/float.npz", "b={files}/absent.npz"], "there is none"),
        (["a={files}/float.npz", "b={files}"], "the folder of a single run"),
        (["a={files}/float.npz", "--reference", "b"], "reference: expected one of"),
        (["a={files}/float.npz", "--methods", "b"], "methods: expected one of"),
        (["a={files}/float.npz", "--seed", "1"], "seed: expected 0 to 0 for a"),
    ],
)
def test_wrong_words_are_one_line(words, reason, files, typed, tmp_path):
    given = [word.format(files=files) for word in words]
    code, _, error = call(typed, "reliability", *given, "--out", tmp_path)
    assert code == 2
    assert reason in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
