"""Data, networks, neurons, methods and terms from anybody's file; and code that nobody named is never run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from markupsafe import Markup
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from tests.helpers.experiments import contents, tiny, without_time
from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.cli import main
from tsnn_uq.components import registry as components
from tsnn_uq.experiments import (
    Context,
    Settings,
    make_settings,
    predict,
    read_predictions,
    register,
    run,
    sweep,
)
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.experiments.storage import is_finished, read_config, read_row
from tsnn_uq.training import REGULARIZERS

pytest.importorskip("spikingjelly", reason="the stranger's network is of SpikingJelly")

MINE = Path(__file__).with_name("mine.py")
COMMON = ["--data", f"{MINE}:load", "--network", f"{MINE}:build", "--network.width", "8", "--samples", "2"]
BUDGET = ["--epochs", "2", "--batch-size", "32"]
RUN = "mine-build-none-float-0"


@pytest.fixture
def call(typed, forgotten):
    return partial(typed, main, "tsnn-uq")


@pytest.fixture
def forgotten(monkeypatch):
    """A process that has not been told of anybody's code."""
    monkeypatch.setattr(components, "_REGISTERED", {kind: dict(of) for kind, of in components._REGISTERED.items()})
    for of in components._REGISTERED.values():
        for name in [name for name in of if ":" in name]:
            del of[name]
    components._module.cache_clear()
    terms = dict(REGULARIZERS)
    yield
    REGULARIZERS.clear()
    REGULARIZERS.update(terms)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison of the stranger's network, with two seeds."""
    out = tmp_path_factory.mktemp("mine") / "mine"
    words = ["compare", *COMMON, *BUDGET, "--methods", "float,direct", "--seeds", "2", "--jobs", "1", "--out", out]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tsnn-uq", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    return out


def test_a_strangers_network_on_a_strangers_images_is_compared(compared):
    config = read_config(compared / "runs" / RUN)
    assert (config["network"], config["data"], config["network.width"]) == ("mine.py:build", "mine.py:load", 8)
    row = read_row(compared / "runs" / RUN)
    assert (row["family"], row["dataset"], row["steps"]) == ("mine.py:build", "mine.py:load", 4)
    assert row["accuracy"] > 0.3
    assert row["predictive_variance"] > 0
    assert row["flops"] > 0
    probs, labels = read_predictions(compared / "runs" / RUN)
    assert probs.shape == (2, 45, 3)
    assert labels.tolist() == [index % 3 for index in range(45)]
    ternary = read_row(compared / "runs" / "mine-build-all-direct-0")
    assert 0 < ternary["sparsity"] < 1
    assert (compared / "reliability-mine-build.pdf").exists()
    assert read_predictions(compared / "runs" / "mine-build-none-float-1")[0].ne(probs).any()


def test_each_command_works_where_the_code_is_named(compared, call, tmp_path):
    code = ["--network", f"{MINE}:build"]
    folder = compared / "runs" / RUN
    row = read_row(folder)
    status, text, _ = call("evaluate", folder, *code, "--data", f"{MINE}:load")
    assert status == 0
    assert f"{row['nll']:.4f} nats" in text
    assert f"next: tsnn-uq cost {folder} --network {MINE}:build\n" in text
    status, text, _ = call("cost", folder, *code)
    assert status == 0
    assert f"next: tsnn-uq evaluate {folder} --network {MINE}:build --data {MINE}:load\n" in text
    words = ["--kind", "laplace", "--samples", "2", "--out", tmp_path / "draws"]
    assert call("posterior", folder, *words, *code, "--data", f"{MINE}:load")[0] == 0
    words = ["--config", compared / "config.toml", "--jobs", "1", "--out", compared]
    before = {path: path.stat().st_mtime_ns for path in (compared / "runs").rglob("*")}
    assert call("compare", *words, *COMMON[:4])[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (compared / "runs").rglob("*")} == before


@pytest.mark.slow
def test_a_page_and_figures_of_stored_predictions_need_no_code(compared, call, forgotten, monkeypatch, tmp_path):
    monkeypatch.setenv("MARKER", str(tmp_path / "marker"))
    monkeypatch.chdir(MINE.parent)
    monkeypatch.setattr("tsnn_uq.results.page.figure_section.inline_figure", lambda *_: Markup("<svg></svg>"))
    status, _, error = call("report", compared, "--out", tmp_path / "page.html")
    assert (status, error) == (0, "")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "mine.py:build" in page
    assert "<strong>Reliability" in page
    assert not (tmp_path / "marker").exists()


def test_commands_that_need_code_say_how_to_name_it(compared, call, forgotten, monkeypatch, tmp_path):
    monkeypatch.setenv("MARKER", str(tmp_path / "marker"))
    monkeypatch.chdir(MINE.parent)
    folder, out = compared / "runs" / RUN, tmp_path / "out"
    for words in (
        ["evaluate", folder],
        ["cost", folder],
        ["posterior", folder, "--kind", "laplace", "--out", out],
        ["train", "--config", folder / "config.toml", "--out", out],
        ["compare", "--config", compared / "config.toml", "--out", out],
        ["compare", "--config", compared / "config.toml", "--out", compared],
    ):
        status, _, error = call(*words)
        assert status == 2
        assert "expected code that you name yourself" in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "marker").exists()


def test_a_strangers_folder_cannot_run_code(call, tmp_path, monkeypatch):
    run(tiny(), tmp_path / "runs")
    folder = tmp_path / "runs" / tiny().name
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\ndef build(**_): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = (folder / "config.toml").read_text()
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("os.system was called"))
    parts = (("network", "dropout"), ("data", "digits"), ("method", "float"), ("regularizer", "none"))
    for name, some in (("os:system", parts[:1]), ("evil:build", parts[1:2]), ("evil.py:build", parts)):
        for kind, old in some:
            wrong = text.replace(f'[{kind}]\nname = "{old}"', f'[{kind}]\nname = "{name}"')
            assert wrong != text
            (folder / "config.toml").write_text(wrong)
            for words in (
                ["evaluate", folder],
                ["report", tmp_path],
                ["train", "--config", folder / "config.toml", "--out", tmp_path / "new"],
                ["train", "--out", tmp_path / "runs"],
            ):
                status, _, error = call(*words)
                assert status == 2
                assert len(error.splitlines()) == 1
            (tmp_path / "flat.toml").write_text(f'{kind} = "{name}"\n')
            status, _, error = call("train", "--config", tmp_path / "flat.toml", "--out", tmp_path / "new")
            assert status == 2
            assert name in error
    assert not (tmp_path / "marker").exists()


@pytest.mark.slow
def test_killed_it_resumes_to_the_same_numbers(compared, tmp_path):
    """By kill -9, from a checkpoint of every step."""
    name = "mine-build-all-direct-0"
    words = ["train", *COMMON, *BUDGET, "--method", "direct", "--out", str(tmp_path), "--checkpoint-seconds", "0"]
    code = "import time, tsnn_uq.training.loop as loop; save = loop.save_checkpoint\n"
    code += "def slow(*a): save(*a); time.sleep(0.5)\nloop.save_checkpoint = slow\n"
    command = [sys.executable, "-c", code + "from tsnn_uq.cli import main; main()", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (tmp_path / name / "checkpoint.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / name / "weights.safetensors").exists()
    settings = Settings.load(tmp_path / name / "config.toml")
    assert without_time(run(settings, tmp_path)) == without_time(read_row(compared / "runs" / name))
    assert contents(tmp_path / name) == contents(compared / "runs" / name)


@pytest.mark.slow
def test_workers_know_what_this_process_was_told(compared, tmp_path):
    config = read_config(compared / "runs" / RUN)
    settings = [Settings.of(config | {"seed": seed}) for seed in (0, 1)]
    rows = sweep(settings, tmp_path, Context(jobs=2))
    expected = [read_row(compared / "runs" / f"mine-build-none-float-{seed}") for seed in (0, 1)]
    assert [without_time(row) for row in rows] == [without_time(row) for row in expected]


def small(shape, classes, *, width: int = 4):
    """One hidden layer.

    Args:
        shape: of an input.
        classes: their number.
        width: of the hidden layer.
    """
    size = torch.Size(shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.Dropout(0.2), nn.Linear(width, classes))


def as_tensors(inputs, labels):
    return TensorDataset(torch.from_numpy(inputs), torch.from_numpy(labels))


def halves(seed: int = 0):
    """Two kinds of vectors, as arrays."""
    inputs = torch.rand(60, 5, generator=torch.Generator().manual_seed(seed))
    part = inputs.numpy(), (inputs.sum(1) > 2.5).long().numpy()
    return {"train": part, "validation": part, "test": part}


def test_a_family_a_data_set_and_a_term_cost_a_registration_each(forgotten, call, tmp_path):
    from tests.experiments.mine import Spread

    register("network", "small", small, suits={"": {"epochs": 2, "batch_size": 30}})
    register("data", "halves", halves)
    register("regularizer", "spread", Spread)
    given = {"data": "halves", "network": "small", "width": 3, "regularizer": "spread:0.5", "samples": 2}
    with pytest.raises(InputError, match="key: expected one of"):
        make_settings(given)
    given["network.width"] = given.pop("width")
    settings = make_settings({**given, "regularizer.power": 2.0})
    assert (settings.epochs, settings.batch_size, settings.neuron) == (2, 30, None)
    row = run(settings, tmp_path)
    assert (row["dataset"], row["family"], row["regularizer"], row["steps"]) == ("halves", "small", "spread:0.5", 1)
    assert is_finished(tmp_path / settings.name)
    assert run(settings.replace(folds=3, seed=1), tmp_path)["accuracy"] >= 0
    with pytest.raises(InputError, match="decay: expected no neuron, since small takes"):
        make_settings(given | {"decay": 0.5})
    assert "halves" in call("data", "--data-dir", tmp_path)[1]


def test_items_are_loaded_when_they_are_needed_and_give_the_numbers_of_tensors(forgotten, tmp_path):
    loaded = []

    class Lazy(Dataset):
        def __init__(self, inputs, labels):
            self.inputs, self.labels = inputs, labels

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            loaded.append(index)
            return self.inputs[index], self.labels[index]  # arrays

    register("network", "small", small)
    found = []
    for number, form in enumerate((lambda *part: part, as_tensors, Lazy)):
        register("data", "halves", lambda seed=0, form=form: {part: form(*of) for part, of in halves(seed).items()})
        settings = make_settings({"data": "halves", "network": "small", "epochs": 2, "batch_size": 7, "samples": 2})
        made = []
        for changes in ({"train_limit": 50}, {"folds": 3, "seed": 1}):
            row = run(settings.replace(**changes), tmp_path / str(number))
            made += [without_time(row), contents(tmp_path / str(number) / settings.replace(**changes).name)]
        found.append(made)
    assert found[0] == found[1] == found[2]
    splits = load_splits(settings)
    loaded.clear()
    assert len(splits.train.subset(40).joined(splits.test)) == 100
    assert splits.train.subset(2).shape == (5,)
    assert len(loaded) == 1
    before = list(loaded)
    network = small((5,), 2)
    probs = predict(network, splits.test, samples=2, seed=0)
    assert loaded == [*before, *range(60)]  # once, in their order
    assert torch.equal(probs, predict(network, splits.test.loaded(), samples=2, seed=0))


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (lambda: 3, "data: expected tsnn_uq.data.Splits or a dictionary of train"),
        (lambda: {"train": 1}, "data: expected tsnn_uq.data.Splits or a dictionary"),
        (lambda: halves() | {"test": (torch.zeros(4, 6), torch.zeros(4))}, "data: expected inputs of one shape"),
        (lambda: halves() | {"test": (torch.zeros(4, 5), torch.zeros(3))}, "data: expected as many labels as inputs"),
        (lambda: halves() | {"test": "x"}, "for test; got"),
        (lambda: 1 / 0, "data: expected options that .* takes"),
    ],
)
def test_data_that_cannot_be_are_one_line(made, match, forgotten, tmp_path):
    register("data", "bad", made)
    with pytest.raises(InputError, match=match):
        run(tiny(data="bad", train_limit=0), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda shape, classes: 3, "network: expected a torch.nn.Module from bad"),
        (lambda shape, classes, *, width: nn.Linear(1, width), "width: expected a value"),
        (lambda shape, classes: nn.Linear(64, 10), "expected a stochastic layer"),
    ],
)
def test_networks_that_cannot_be_are_one_line(build, match, forgotten, tmp_path):
    register("network", "bad", build)
    with pytest.raises(InputError, match=match):
        run(make_settings({"network": "bad"}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_name_is_one_file(forgotten, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text("def build(shape, classes): ...\n")
    assert components.follow("network", f"{tmp_path}/one/net.py:build") == "net.py:build"
    with pytest.raises(InputError, match=r"network: expected one net\.py:build"):
        components.follow("network", f"{tmp_path}/two/net.py:build")
    with pytest.raises(InputError, match="network: expected a function or class absent"):
        components.follow("network", f"{tmp_path}/one/net.py:absent")


def test_the_runs_seed_draws_the_weights_of_anybodys_network_and_leaves_torchs_alone(forgotten):
    from tsnn_uq.experiments.storage import build_network

    register("network", "small", small)
    before = torch.get_rng_state()
    one, two, other = (
        build_network(make_settings({"network": "small", "seed": seed}), (1, 8, 8), 10) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one[1].weight, two[1].weight)
    assert not torch.equal(one[1].weight, other[1].weight)


def test_stored_settings_are_plain_json(compared):
    assert json.dumps(read_config(compared / "runs" / RUN))
    assert data.load("digits").name == "digits"
