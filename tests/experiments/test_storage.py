from __future__ import annotations

import shutil

import pytest
import torch

from tests.helpers.experiments import tiny
from tests.helpers.training import same
from tsnn_uq import data, training
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Settings, load_network, read_predictions, run
from tsnn_uq.experiments.storage import build_network, fingerprint, is_begun, is_finished, read_row, require_same
from tsnn_uq.files import write_tensors
from tsnn_uq.quantization.weight_files import save_weights


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    config = tiny(method="direct")
    run(config, runs)
    return config, runs / config.name


@pytest.fixture
def copy(done, tmp_path):
    return shutil.copytree(done[1], tmp_path / done[1].name)


def test_initial_weights_belong_to_the_seed():
    one, again, other = (build_network(tiny(seed=seed), shape=(1, 8, 8), classes=10) for seed in (0, 0, 1))
    assert same(one, again)
    assert not same(one, other)


def test_the_settings_reach_the_network():
    settings = dict(family="dropconnect", hidden=(8, 4), p=0.3, mask="per-step", coding="latency", readout="spikes")
    neurons = dict(decay=0.25, threshold=2.0, reset="hard", sharpness=3.0, steps=5)
    text = repr(build_network(tiny(**settings, **neurons), shape=(1, 8, 8), classes=10))
    for part in ("'latency', steps=5", "in_features=64, out_features=8", "p=0.3, mask=per-step", "Gain"):
        assert part in text
    for part in ("decay=0.25", "threshold=2.0", "hard"):
        assert part in text


@pytest.mark.parametrize("settings", [{}, {"sharpness": 4.0}, {"surrogate": "sigmoid"}])
def test_the_surrogate_gradient_is_the_chosen_one(settings):
    def gradient(**chosen):
        network = build_network(tiny(threshold=0.1, **chosen), shape=(1, 8, 8), classes=10).eval()
        network(torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)).square().sum().backward()
        return next(network.parameters()).grad

    assert torch.equal(gradient(**settings), gradient()) == (not settings)


def test_a_loaded_network_is_the_trained_one(done):
    _, folder = done
    model = load_network(folder)
    assert not model.training
    test = data.load_test("digits")
    assert training.accuracy(model, test.images, test.labels) == read_row(folder)["point_accuracy"]


def test_predictions_come_back(done):
    probs, labels = read_predictions(done[1])
    assert probs.shape == (2, 360, 10)
    assert torch.equal(labels, data.load_test("digits").labels)
    probs, labels = read_predictions(done[1], "validation")
    assert probs.shape == (2, 180, 10)
    assert torch.equal(labels, data.load("digits", seed=done[0].seed).validation.labels)


def test_predictions_that_are_not_there_are_named(copy, done):
    header = {"kind": "predictions", "run": fingerprint(done[0].flat())}
    write_tensors(copy / "predictions.safetensors", {"test_probs": torch.zeros(1)}, header)
    with pytest.raises(InputError, match="predictions of the validation part"):
        read_predictions(copy, "validation")


def test_a_folder_is_begun_with_its_checkpoint_and_finished_with_all_its_files(copy, tmp_path):
    assert not is_begun(tmp_path / "absent")
    (tmp_path / "config.toml").touch()
    (tmp_path / ".part-checkpoint-1.safetensors").touch()
    assert not is_begun(tmp_path)
    (tmp_path / "checkpoint.safetensors").touch()
    assert is_begun(tmp_path)
    assert not is_finished(tmp_path)
    assert is_finished(copy)
    (copy / "predictions.safetensors").unlink()
    assert is_begun(copy)
    assert not is_finished(copy)


def test_settings_that_differ_are_named(tmp_path):
    require_same(tmp_path, {"epochs": 2, "p": 0.1}, {"epochs": 2, "p": 0.1})
    match = r"runs: expected a folder made with epochs = 2, p = 0\.1"
    with pytest.raises(InputError, match=match):
        require_same(tmp_path / "runs", {"epochs": 2, "p": 0.1, "seed": 0}, {"epochs": 3, "p": 0.2, "seed": 0})


def test_a_folder_without_a_run_is_one_line(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a finished"):
        load_network(tmp_path)
    with pytest.raises(InputError, match="expected a predictions file; there is none"):
        read_predictions(tmp_path)
    with pytest.raises(InputError, match=r"config\.toml: expected a readable TOML file; No such file"):
        read_row(tmp_path)


def test_damaged_weights_are_one_line(copy):
    path = copy / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"weights\.safetensors: expected a weights file; it is damaged"):
        load_network(copy)


def test_weights_of_another_network_are_one_line(copy, done):
    other = build_network(tiny(hidden=(9,)), shape=(1, 8, 8), classes=10)
    ours = {"run": fingerprint(done[0].flat())}
    save_weights(copy / "weights.safetensors", other, header={"size": {"shape": [1, 8, 8], "classes": 10}} | ours)
    with pytest.raises(InputError, match=r"expected weights of the network in config\.toml"):
        load_network(copy)
    save_weights(copy / "weights.safetensors", other, header=ours)
    with pytest.raises(InputError, match=r"expected weights of the network in config\.toml"):
        load_network(copy)
    write_tensors(copy / "weights.safetensors", {}, {"kind": "predictions"})
    with pytest.raises(InputError, match="expected a weights file of tsnn-uq"):
        load_network(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"column": 1}'])
def test_a_damaged_result_is_one_line(copy, text):
    (copy / "result.json").write_text(text)
    assert not is_finished(copy)
    with pytest.raises(InputError, match="json: expected the result of a run"):
        read_row(copy)


def test_a_folder_from_before_there_were_devices_is_as_good(copy):
    text = (copy / "config.toml").read_text(encoding="utf-8")
    settings = Settings.load(copy / "config.toml")
    (copy / "config.toml").write_text(text.replace('device = "cpu"\n', ""), encoding="utf-8")
    assert (copy / "config.toml").read_text(encoding="utf-8") != text
    assert Settings.load(copy / "config.toml") == settings
    assert is_finished(copy, settings.flat())
