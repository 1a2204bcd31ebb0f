"""The commands as a user types them, in this process: what they print, write and return."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from functools import partial

import pandas as pd
import pytest

import tsnn_uq
from tests.helpers.experiments import FILES, undrawn
from tsnn_uq.cli import ablation, main
from tsnn_uq.cli.main import app
from tsnn_uq.files import read_json

TINY = ["--hidden=8", "--steps=2", "--epochs=2", "--batch-size=32", "--train-limit=64", "--samples=2"]
COLUMNS = ["accuracy", "nll", "brier", "ece", "predictive_entropy", "mutual_information", "energy_pj"]


@pytest.fixture
def call(typed):
    """Run the command; gives exit code, standard output and standard error."""
    return partial(typed, main, "tsnn-uq")


def interrupted(*_, **__):
    raise KeyboardInterrupt


def told(error):
    """The one line that an error is."""
    assert len(error.splitlines()) == 1
    assert error.startswith("tsnn-uq: ")
    return error


def test_version(call):
    assert call("--version")[:2] == (0, tsnn_uq.__version__ + "\n")


def test_the_help_has_groups_and_examples(call):
    code, text, _ = call("--help")
    assert code == 0
    assert all(f"─ {title} ─" in text for title in ("Train and compare", "Look at what there is"))
    for command in (*app.registered_commands, *ablation.registered_commands):
        assert command.epilog.startswith("Example: tsnn-uq "), command.callback
    code, text, _ = call("compare", "--help")
    assert all(f"─ {title} ─" in text for title in ("Inputs and settings", "What to write", "Where and how"))


def test_the_shell_completes_commands_and_options(monkeypatch):
    """As bash asks for it, with the script that --install-completion writes, whatever the command was started as."""

    def completed(line):
        environment = {**os.environ, "_TSNN_UQ_COMPLETE": "complete_bash", "COMP_WORDS": line}
        environment["COMP_CWORD"] = str(len(line.split()) - 1)
        command = [sys.executable, "-m", "tsnn_uq"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout.split()

    assert completed("tsnn-uq comp") == ["compare"]
    assert completed("tsnn-uq compare --dry") == ["--dry-run"]


@pytest.mark.parametrize("command", ["compare", "train", "evaluate", "data"])
def test_help_of_each_command(call, command):
    code, text, _ = call(command, "--help")
    assert code == 0
    assert f"tsnn-uq {command}" in text
    assert "--data-dir" in text


def test_train_then_evaluate(call, tmp_path):
    code, text, _ = call("train", "--method", "direct", *TINY, "--out", tmp_path)
    assert code == 0
    assert re.search(r"point accuracy +│ +\d+\.\d\d %", text)
    assert re.search(r"scaled mutual information +│ .* nats", text)
    folder = tmp_path / "dropout-all-direct-0"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for name in ("digits", "digits:noise=0.5"):
        code, text, _ = call("evaluate", folder, "--data", name)
        assert code == 0
        assert re.search(r"accuracy +│ +\d+\.\d\d %", text)
    values = json.loads(call("--json", "evaluate", folder)[1])
    assert values["accuracy"] == read_json(folder / "result.json")["row"]["accuracy"]
    assert call("--quiet", "evaluate", folder)[:2] == (0, "")


def test_compare_and_again_from_its_configuration(call, tmp_path):
    code, text, _ = call(
        "compare", "--methods", "float,direct", "--seeds", 1, *TINY, "--jobs", 1, "--out", tmp_path / "a"
    )
    assert code == 0
    assert all(word in text for word in ("float", "direct", "accuracy", "results.csv", "reliability-dropout.pdf"))
    results = pd.read_csv(tmp_path / "a" / "results.csv")
    assert len(results) == 2
    assert set(COLUMNS) <= set(results.columns)
    with undrawn():
        code, _, _ = call("compare", "--config", tmp_path / "a" / "config.toml", "--jobs", 1, "--out", tmp_path / "b")
    assert code == 0
    again = pd.read_csv(tmp_path / "b" / "results.csv")
    pd.testing.assert_frame_equal(results.drop(columns="train_seconds"), again.drop(columns="train_seconds"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--family", "dropuot"], r"network: expected one of .*did you mean 'dropout'"),
        (["compare", "--methods", "flaot"], r"got 'flaot' \(did you mean 'float'\?\)"),
        (["compare", "--data", "mnits"], "data: expected one of"),
        (["compare", "--seeds", "0"], "seeds: expected a positive whole number"),
        (["train", "--method", "direct", "--quantized-part", "conv"], r"quantized_part: .*the family dropout has none"),
        (["train", "--hidden", "8,x"], r"network\.hidden: expected a valid integer"),
        (["train", "--p", "1"], "p: expected 0 <= value < 1"),
        (["train", "--p", "0"], r"expected a stochastic layer"),
        (["train", "--epochs", "three"], "epochs: expected a valid integer"),
        (["train", "--epoch", "3"], r"--epoch: .*did you mean --epochs\?"),
        (["train", "--dry-rnu"], r"--dry-rnu: .*did you mean --dry-run\?"),
        (["compare", "--learning_rat", "1"], r"--learning_rat: .*did you mean --learning-rate\?"),
        (["train", "--tau-s", "3"], "--tau-s: option of neuron lif: expected one of"),
        (["compare", "--methods", "float", "--start", "0.1"], "--start: expected no option of method float"),
        (["compare", "--method", "direct"], "--method: expected no method; a comparison has methods"),
        (["compare", "--seed", "5"], "--seed: expected no seed; a comparison has seeds"),
        (["compare", "--method.layers", "fc"], r"--method\.layers: expected no method\.layers; a comparison has parts"),
        (["compare", "--hidden", "99999999999999999999"], "hidden: expected less than"),
        (["compare", "--hidden", "500,,500"], "hidden: expected a valid integer"),
        (["train", "--regularizer", "variance"], r"regularizer_weight: expected"),
        (["train", "--learning-rate", "1e9", "--epochs", "1"], "loss: expected a finite number"),
    ],
)
def test_bad_settings_are_one_line_and_code_2(call, tmp_path, arguments, message):
    code, _, error = call(*arguments, "--out", tmp_path / "out")
    assert code == 2
    assert re.search(message, told(error))


def test_dry_runs_say_how_long_each_kind_takes_and_write_nothing(call, tmp_path, monkeypatch):
    monkeypatch.setattr("tsnn_uq.experiments.estimate.estimate_run", lambda *_: 60.0)
    out = ("--out", tmp_path / "out", "--dry-run", "--jobs", 1)
    code, text, _ = call("compare", "--methods", "float,direct", "--seeds", 2, *TINY, *out)
    assert code == 0
    assert text.startswith("4 runs to train, about 4 min\n")
    assert re.search(r"digits +dropout +all +direct +none +2 +60 s +2 min", text)
    found = json.loads(call("--json", "compare", "--methods", "float,direct", "--seeds", 2, *TINY, *out)[1])
    assert (found["runs"], found["seconds"], len(found["kinds"])) == (4, 240.0, 2)
    assert call("train", *TINY, *out[:3])[1].startswith("1 run to train, about 60 s\n")
    code, text, _ = call("ablation", "screening", "--methods", "direct", "--seeds", 3, *out)
    assert code == 0  # 2 x 3 without a term, 18 terms at four weights, then two more seeds of one weight each
    assert text.startswith(f"{6 + 18 * 4 + 18 * 2} runs to train, about ")
    words = ("--data", "digits", "--network", "dropconnect", "--terms", "consistency,variance:1,variance:3")
    code, text, _ = call("ablation", "screening", *words, "--methods", "direct", "--seeds", 1, *out)
    assert text.startswith(f"{2 + 4 + 2} runs to train, about ")
    assert re.search(r"digits +dropconnect +all +direct +variance:3 +1", text)
    mine = tmp_path.with_suffix(".py")
    mine.write_text("from tsnn_uq.networks import dropout as build")
    words = ("--data", "digits", "--network", f"{mine}:build", "--terms", "variance:1")
    text = call("ablation", "finals", *words, "--seeds", 1, *out)[1]
    assert re.search(rf"digits +{mine.name}:build +all +direct +variance:1 +1", text)
    code, text, _ = call("ablation", "finals", "--terms", "variance:5", "--families", "dropout", *out)
    assert text.startswith("terms: variance:5\n12 runs to train, about ")
    code, text, _ = call("ablation", "posteriors", *out)
    assert text.startswith("16 runs to train, about 16 min, and then posteriors of their weights")
    text = call("--json", "ablation", "posteriors", "--epochs", 2, "--members", 0, *out)[1]
    assert json.loads(text)["runs"] == 12
    assert re.search("temperatures: expected", call("ablation", "posteriors", "--temperatures", "cold", *out)[2])
    assert list(tmp_path.iterdir()) == []


def test_terms_are_chosen_for_several_data_sets(call, tmp_path):
    common = {"family": "dropout", "method": "direct", "seed": 0, "calibration": "temperature", "validation_aurc": 0.01}
    for dataset, accuracy in {"mnist": 0.97, "fashion-mnist": 0.80}.items():
        texts = {"none": (0.97, 4), "variance:1": (accuracy, 2), "entropy:1": (0.97, 3)}
        rows = [
            common
            | {"dataset": dataset, "term": text.partition(":")[0], "regularizer": text}
            | {"validation_accuracy": accurate, "validation_predictive_variance_correct": variance}
            for text, (accurate, variance) in texts.items()
        ]
        pd.DataFrame(rows).to_csv(tmp_path / f"{dataset}.csv", index=False)
    tables = [tmp_path / "mnist.csv", tmp_path / "fashion-mnist.csv"]
    code, text, _ = call("ablation", "choose", *tables)
    assert code == 0
    lines = text.splitlines()
    assert re.match(r" *entropy:1 +True 0.250", lines[1])
    assert lines[2].endswith("fashion-mnist dropout: accuracy -17.00 points")
    few = pd.read_csv(tables[1], keep_default_na=False).query("term != 'entropy'")
    few.to_csv(tables[1], index=False)
    found = json.loads(call("--json", "ablation", "choose", *tables)[1])
    assert {one["regularizer"]: one["fashion-mnist dropout"] for one in found} == {"variance:1": 0.5, "entropy:1": None}


def told_next(text):
    """The commands that a command names at its end, as words."""
    assert "\x1b" not in text
    return [shlex.split(line, comments=True) for line in re.findall(r"^next: tsnn-uq (.*)$", text, re.MULTILINE)]


def test_commands_say_what_to_do_next(call, tmp_path):
    words = ("--methods", "float", "--seeds", 1, *TINY, "--jobs", 1, "--out", tmp_path / "a b")
    with undrawn():
        code, text, _ = call("compare", *words)
    assert code == 0
    report, evaluate = told_next(text)
    assert report == ["report", str(tmp_path / "a b"), "--out", str(tmp_path / "a b.html")]
    run = evaluate[1]
    (cost,) = told_next(call("evaluate", run)[1])
    assert cost == ["cost", run]
    assert told_next(call(*cost)[1]) == [["evaluate", run]]
    code, text, _ = call("posterior", run, "--kind", "laplace", "--samples", 2, "--out", tmp_path / "draws")
    assert told_next(text) == [["evaluate", run]]


def test_a_folder_that_cannot_be_written_is_told_before_any_work(call, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, error = call("train", *TINY, "--out", tmp_path / "file" / "below")
    assert code == 2
    assert "cannot write here" in told(error)


def test_a_folder_made_with_other_settings_is_refused_and_kept(call, tmp_path):
    with undrawn():
        call("compare", "--methods", "float", "--seeds", 1, *TINY, "--jobs", 1, "--out", tmp_path)
    before = (tmp_path / "config.toml").read_bytes()
    code, _, error = call(
        "compare", "--methods", "float", "--seeds", 1, *TINY, "--steps=3", "--jobs", 1, "--out", tmp_path
    )
    assert code == 2
    assert "made with network.steps = 3; got one with network.steps = 2" in told(error)
    assert (tmp_path / "config.toml").read_bytes() == before


def test_an_unknown_key_in_a_configuration_is_told_with_the_nearest(call, tmp_path):
    (tmp_path / "c.toml").write_text("epoch = 3\n")
    code, _, error = call("train", "--config", tmp_path / "c.toml", "--out", tmp_path / "out")
    assert code == 2
    assert "got 'epoch' (did you mean 'epochs'?)" in told(error)


@pytest.mark.parametrize("damage", [lambda text: text[:100], lambda text: b"PK\x03\x04" + text], ids=["cut", "foreign"])
def test_damaged_weights_are_one_line(call, tmp_path, damage):
    call("train", *TINY, "--out", tmp_path)
    weights = tmp_path / "dropout-none-float-0" / "weights.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    code, _, error = call("evaluate", weights.parent)
    assert code == 2
    assert "it is damaged or of another format" in told(error)


@pytest.mark.parametrize("damage", [lambda text: text[:500], lambda text: b"{}"], ids=["cut", "foreign"])
def test_a_damaged_checkpoint_is_one_line_and_its_remedy_helps(call, tmp_path, monkeypatch, damage):
    loop = sys.modules["tsnn_uq.training.loop"]
    with monkeypatch.context() as patched:
        patched.setattr(loop, "accuracy", interrupted)  # after the first epoch
        assert call("train", *TINY, "--checkpoint-seconds=0", "--out", tmp_path)[0] == 130
    checkpoint = tmp_path / "dropout-none-float-0" / "checkpoint.safetensors"
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    code, _, error = call("train", *TINY, "--out", tmp_path)
    assert code == 2
    assert "checkpoint.safetensors: expected a checkpoint file; it is damaged" in told(error)
    assert "delete it to start afresh" in error
    checkpoint.unlink()
    assert call("train", *TINY, "--out", tmp_path)[0] == 0


def test_a_data_file_with_a_wrong_checksum_is_one_line_and_leaves_nothing(call, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"no images")
    code, _, error = call("train", "--data", "mnist", "--data-dir", tmp_path, "--out", tmp_path / "out")
    assert code == 2
    assert str(tmp_path / "train-images-idx3-ubyte") in told(error)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "--out"],
        ["tain"],
    ],
)
def test_what_typer_refuses_is_code_2_without_a_traceback(call, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, _, error = call(*arguments)
    assert code == 2
    assert "Error" in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_run_and_a_shift_that_is_none(call, tmp_path):
    code, _, error = call("evaluate", tmp_path)
    assert code == 2
    assert "expected the folder of a finished" in told(error)
    call("train", *TINY, "--out", tmp_path)
    code, _, error = call("evaluate", tmp_path / "dropout-none-float-0", "--data", "digits:rotat=3")
    assert code == 2
    assert "did you mean 'rotate'?" in told(error)


def test_ctrl_c_says_that_it_can_go_on(call, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["tsnn_uq.experiments.runner"], "do_run", interrupted)
    code, _, error = call("train", *TINY, "--out", tmp_path)
    assert code == 130
    assert "the same command resumes" in error


def test_data_lists_what_there_is(call, tmp_path):
    code, text, _ = call("data", "--data-dir", tmp_path)
    assert code == 0
    for word in ("digits", "mnist", "fashion-mnist", "missing", "tsnn-uq data mnist"):
        assert word in text
