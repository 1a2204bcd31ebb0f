from __future__ import annotations

import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.experiments import FILES, contents, tiny, without_time
from tsnn_uq import __version__, data, training
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import (
    Context,
    Settings,
    evaluate,
    load_network,
    make_settings,
    read_predictions,
    run,
    sweep,
)
from tsnn_uq.experiments.storage import is_finished, read_row
from tsnn_uq.files import read_json, read_tensors_header
from tsnn_uq.networks import FAMILIES
from tsnn_uq.quantization import select_layers
from tsnn_uq.results.measure_predictions import after_temperature
from tsnn_uq.results.studies import Runs
from tsnn_uq.training import METHODS

PREDICTED = [("predict", done, 540) for done in (180, 436, 540)]  # validation part, then test set


class Killed(BaseException):
    """What no handler for errors catches."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and row of a run."""
    runs = tmp_path_factory.mktemp("finished")
    row = run(tiny(), runs)
    return runs / tiny().name, row


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_row_says_what_the_files_hold(tmp_path, family, method):
    config = tiny(family=family, method=method, seed=2)
    row = run(config, tmp_path)
    folder = tmp_path / config.name
    assert names_in(folder) == FILES
    assert row == read_json(folder / "result.json")["row"]

    probs, labels = read_predictions(folder)
    network, history = load_network(folder), read_json(folder / "history.json")
    splits = data.load("digits", seed=2)
    weights = torch.cat([layer.weight.flatten() for layer in select_layers(network).values()])
    expected = evaluate(probs, labels) | {
        "dataset": "digits",
        "family": family,
        "quantized_part": "none" if method == "float" else "all",
        "method": method,
        "seed": 2,
        "sparsity": (weights == 0).double().mean().item(),
        "point_accuracy": training.accuracy(network, splits.test.images, splits.test.labels),
        "validation_accuracy": history["validation_accuracy"][-1],
        "train_seconds": history["seconds"],
        "epochs": 2,
        "steps": config.network.steps,
        "samples": 2,
        **after_temperature(read_predictions(folder, "validation"), probs, labels),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert history["validation_accuracy"][-1] == training.accuracy(
        network, splits.validation.images, splits.validation.labels
    ) or method in ("direct", "indirect", "distill")  # whose last quantization comes after the last epoch
    assert all((len(layer.weight.unique()) <= 3) == (method != "float") for layer in select_layers(network).values())
    assert row["storage_bytes"] < 4 * weights.numel() or method == "float"


@pytest.mark.parametrize("method", METHODS)
def test_rate_coding_and_a_regularizer_go_with_every_method(tmp_path, method):
    settings = {"coding": "rate", "p": 0.0, "regularizer": "variance", "regularizer_weight": 0.5, "train_limit": 63}
    rows = [run(tiny(method=method, **settings), tmp_path / name) for name in ("one", "two")]
    assert without_time(rows[0]) == without_time(rows[1])
    assert rows[0]["predictive_variance"] > 0


def test_a_distilled_run_trains_its_teacher_first(tmp_path):
    config = tiny(method="distill")
    run(config, tmp_path)
    assert names_in(tmp_path) == [config.name, config.teacher().name]
    alone = run(config.teacher(), tmp_path / "alone")
    assert without_time(alone) == without_time(run(config.teacher(), tmp_path))


@pytest.mark.parametrize(
    ("method", "before"),
    [
        pytest.param("indirect", True, id="indirect-before"),
        pytest.param("distill", False, id="distill-after"),
        pytest.param("indirect", False, id="indirect-after", marks=pytest.mark.slow),
        pytest.param("distill", True, id="distill-before", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_file_it_goes_on_to_the_same_numbers(tmp_path, monkeypatch, method, before):
    """A run is killed before, or after, the n-th file comes to its place, for every n, and called again."""
    config = tiny(method=method, epochs=1)
    expected = run(config, tmp_path / "whole")
    replace, unlink = Path.replace, Path.unlink
    for kill in itertools.count(1):
        runs, count, dead = tmp_path / str(kill), itertools.count(1), []

        def killing(path, target, count=count, kill=kill, dead=dead):
            now = next(count) == kill
            dead += [now] * now
            if not (now and before):
                replace(path, target)
            if now:
                raise Killed

        def removing(path, missing_ok=False, dead=dead):
            if not dead:  # the dead remove nothing
                unlink(path, missing_ok)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", killing)
            patched.setattr(Path, "unlink", removing)
            try:
                run(config, runs, Context(checkpoint_seconds=0))
            except Killed:
                pass
            else:
                break
        row = run(config, runs)
        assert without_time(row) == without_time(expected)
        assert contents(runs / config.name) == contents(tmp_path / "whole" / config.name)
        assert names_in(runs / config.name) == FILES
    steps = 2  # checkpoints, and the five files
    assert kill > (steps + 5) * (2 if method == "distill" else 1)


def test_a_finished_run_is_read_and_not_done_again(tmp_path, monkeypatch):
    config = tiny()
    first = run(config, tmp_path)
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("data were loaded"))
    assert run(config, tmp_path) == first


def test_folders_may_be_given_as_text(finished, tmp_path, monkeypatch):
    folder, row = finished
    monkeypatch.setenv("HOME", str(folder.parent.parent))
    runs = f"~/{folder.parent.name}"
    assert run(tiny(), runs) == run(tiny(), str(folder.parent)) == sweep([tiny()], runs)[0] == row
    assert isinstance(load_network(f"{runs}/{folder.name}"), nn.Module)
    assert len(read_predictions(str(folder))) == 2
    assert make_settings({}, f"{runs}/{folder.name}/config.toml") == tiny()
    probs, _ = Runs({"float": f"{runs}/{folder.name}"}, "dropout", "all", 0).predictions().pairs()["float"]
    assert len(probs) == 2


def test_a_folder_with_other_settings_is_refused_and_stays_as_it_is(tmp_path):
    run(tiny(), tmp_path)
    folder = tmp_path / tiny().name
    before = {path: path.read_bytes() for path in folder.iterdir()}
    match = r"made with network\.p = 0\.1, epochs = 3; got one with network\.p = 0\.2, epochs = 2"
    with pytest.raises(InputError, match=match):
        run(tiny(epochs=3, p=0.1), tmp_path)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_checkpoint_does_not_pass_for_one_of_a_configuration_put_beside_it(tmp_path):
    def stop(name, stage, done, total):
        raise Killed

    with pytest.raises(Killed):
        run(tiny(), tmp_path, Context(checkpoint_seconds=0, progress=stop))
    tiny(threshold=2.0).save(tmp_path / tiny().name / "config.toml")
    with pytest.raises(InputError, match="expected a checkpoint of the same"):
        run(tiny(threshold=2.0), tmp_path)


@pytest.mark.parametrize("version", ["", '"0.1.9"'])
def test_what_another_version_began_is_not_resumed_and_what_it_finished_is_kept(tmp_path, version):
    """Its row has the version that did it; a finished run is read as it is."""
    folder = tmp_path / tiny().name
    row = run(tiny(), tmp_path)
    assert row["version"] == __version__
    path = folder / "config.toml"
    given = path.read_text(encoding="utf-8")
    assert given.startswith(f'version = "{__version__}"\n')
    rest = given.split("\n", 1)[1]
    path.write_text(f"version = {version}\n{rest}" if version else rest, encoding="utf-8")
    before = contents(folder)
    assert run(tiny(), tmp_path) == row
    (folder / "result.json").unlink()
    with pytest.raises(InputError, match=f"version {__version__} began; got {version[1:-1] or 'an older one'}"):
        run(tiny(), tmp_path)
    assert contents(folder) == {name: content for name, content in before.items() if name != "result.json"}
    path.write_text(given, encoding="utf-8")
    assert run(tiny(), tmp_path) == row


def test_a_folder_claimed_but_not_begun_is_free(tmp_path):
    folder = tmp_path / tiny().name
    folder.mkdir()
    run(tiny(), tmp_path)
    for number, text in enumerate(("", "half a line = ", "epochs = 3")):
        other = tmp_path / str(number)
        (other / tiny().name).mkdir(parents=True)
        (other / tiny().name / "config.toml").write_text(text)
        (other / tiny().name / ".part-checkpoint-x.safetensors").write_text("half")
        run(tiny(), other)
        assert contents(other / tiny().name) == contents(folder)
        assert names_in(other / tiny().name) == FILES


NOISE = bytes(range(256)) * 8


@pytest.mark.parametrize("content", [None, b"", NOISE, "half"], ids=["removed", "emptied", "noise", "half"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_damaged_is_made_again(finished, tmp_path, name, content):
    folder = shutil.copytree(finished[0], tmp_path / finished[0].name)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(before[name][: len(before[name]) // 2] if content == "half" else content)
    assert without_time(run(tiny(), tmp_path)) == without_time(finished[1])
    assert names_in(folder) == FILES
    assert contents(folder) == contents(finished[0])
    assert is_finished(folder)
    assert Settings.load(folder / "config.toml") == tiny()


@pytest.mark.parametrize(
    "name", ["config.toml", "history.json", "predictions.safetensors", "result.json", "weights.safetensors"]
)
def test_a_file_of_another_run_is_refused_by_name(finished, tmp_path, name):
    """Of a run with another seed, and of one that is called alike."""
    folder = shutil.copytree(finished[0], tmp_path / finished[0].name)
    for other in (tiny(seed=1), tiny(epochs=1)):
        run(other, tmp_path / "other")
        shutil.copy(tmp_path / "other" / other.name / name, folder / name)
        with pytest.raises(InputError, match=r"another run|settings of dropout-none-float-0|made with epochs"):
            run(tiny(), tmp_path)
    if name != "history.json":  # which is there to be looked at
        with pytest.raises(InputError, match=r"another run|settings of dropout-none-float-0|made with"):
            load_network(folder), read_predictions(folder), read_row(folder)


def test_folders_whose_names_were_exchanged_are_refused(finished, tmp_path):
    ours, theirs = tmp_path / tiny().name, tmp_path / tiny(seed=1).name
    shutil.copytree(finished[0], theirs)
    run(tiny(seed=1), tmp_path / "other")
    shutil.copytree(tmp_path / "other" / theirs.name, ours)
    for folder in (ours, theirs):
        for read in (load_network, read_predictions, read_row, is_finished):
            with pytest.raises(InputError, match=f"expected settings of {folder.name}"):
                read(folder)
    with pytest.raises(InputError, match="expected settings of dropout-none-float-0"):
        run(tiny(), tmp_path)


def test_a_configuration_cut_short_states_no_facts(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / finished[0].name)
    for text in ("", "epochs = 2\n"):
        (folder / "config.toml").write_text(text)
        for read in (load_network, read_predictions, read_row, is_finished):
            with pytest.raises(InputError, match=r"config\.toml: expected all settings of a run"):
                read(folder)


def test_a_loss_that_is_not_finite_is_one_line_and_the_folder_stays_free(tmp_path):
    with pytest.raises(InputError, match="loss: expected a finite number"):
        run(tiny(learning_rate=1e38), tmp_path)
    run(tiny(), tmp_path)


def test_a_part_that_the_network_has_not_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="quantized_part: expected layers of the kind 'conv'"):
        run(tiny(method="direct", quantized_part="conv"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_data_leave_nothing_behind(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise InputError("mnist: fetching failed; place the file in the folder")

    monkeypatch.setattr(data, "load", fail)
    with pytest.raises(InputError, match="mnist: fetching failed"):
        run(tiny(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_large_a_limit_is_refused(tmp_path):
    with pytest.raises(InputError, match="train_limit: expected at most 1257"):
        run(tiny(train_limit=2000), tmp_path)


def test_options_of_the_training_reach_it(tmp_path, monkeypatch):
    def note(*_, **options):
        seen.append((options["settings"].loss_over_time, options["settings"].batchnorm_inputs, options["augment"]))
        raise Killed

    seen: list[object] = []
    monkeypatch.setattr(training, "fit", note)
    augmented = replace(data.load("digits"), augment=data.crop_and_flip)
    for options in ({}, {"loss_over_time": "1,2", "batchnorm_inputs": 40}):
        with pytest.raises(Killed):
            run(tiny(**options), tmp_path / str(len(seen)))
        monkeypatch.setattr(data, "load", lambda *_, **__: augmented)
    assert seen == [((), 0, None), ((1, 2), 40, data.crop_and_flip)]


def test_threads_are_the_runs_own_and_put_back(tmp_path, monkeypatch):
    seen, before = [], torch.get_num_threads()

    def note(*_, **__):
        seen.append(torch.get_num_threads())
        raise Killed

    monkeypatch.setattr(data, "load", note)
    with pytest.raises(Killed):
        run(tiny(threads=before + 1), tmp_path)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_progress_is_told_to_the_end(tmp_path):
    calls = []
    run(tiny(), tmp_path, Context(progress=lambda name, *call: calls.append(call)))
    assert calls == [*(("train", step, 4) for step in range(1, 5)), *PREDICTED]


def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path, monkeypatch):
    """The device is full at the n-th file, for every n; with room again, the same call goes on."""
    expected = run(tiny(), tmp_path / "whole")
    fsync = os.fsync
    for full in itertools.count(1):
        runs, count = tmp_path / str(full), itertools.count(1)

        def failing(descriptor, count=count, full=full):
            if next(count) >= full:
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", failing)
            try:
                run(tiny(), runs, Context(checkpoint_seconds=0))
            except InputError as error:
                said = str(error)
            else:
                break
        assert said.endswith("writing failed (No space left on device); free some space or choose another folder")
        assert not list(runs.rglob(".*"))
        assert without_time(run(tiny(), runs)) == without_time(expected)
    assert full > 9


def test_logs_of_a_training_are_in_its_folder(tmp_path):
    pytest.importorskip("tensorboard", reason="one of the logs is for it")
    run(tiny(), tmp_path, Context(logs=("csv", "tensorboard")))
    folder = tmp_path / tiny().name
    history = read_tensors_header(folder / "weights.safetensors", "weights")["history"]
    lines = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "epoch,loss,validation_accuracy"
    assert [float(line.split(",")[1]) for line in lines[1:]] == history["loss"]
    assert [path.name[:7] for path in (folder / "tensorboard").iterdir()] == ["events."]
    with pytest.raises(InputError, match="log: expected one of"):
        run(tiny(seed=1), tmp_path, Context(logs=("excel",)))
    assert not (tmp_path / tiny(seed=1).name).exists()
