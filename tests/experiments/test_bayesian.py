"""A posterior of a run: its draws are networks without any other randomness, kept at two bits where ternary."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.experiments import tiny
from tests.helpers.training import same
from tsnn_uq import __version__, data
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Context, load_network, run
from tsnn_uq.experiments.bayesian import (
    PosteriorSettings,
    load_draws_of,
    posterior_of_run,
    sparsity_of,
    without_masks,
)
from tsnn_uq.experiments.evaluation import predict_each
from tsnn_uq.files import read_json, write_json
from tsnn_uq.quantization.rules import ternary_parts

QUICK = {"epochs": 1, "samples": 3}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for method in ("float", "direct"):
        run(tiny(method=method), folder)
    return folder


def infer(runs, out, kind, *, method="float", **settings):
    return posterior_of_run(runs / tiny(method=method).name, PosteriorSettings(kind, **QUICK | settings), out)


@pytest.mark.parametrize("kind", ["ternary", "gaussian", "laplace", "swag"])
def test_what_is_measured_is_what_the_kept_draws_predict(runs, tmp_path, kind):
    values = infer(runs, tmp_path, kind)
    networks = load_draws_of(runs / tiny().name, tmp_path)
    test = data.load_test("digits")
    with torch.no_grad():
        probs = torch.stack([network(test.images).mean(0).softmax(-1) for network in networks])
    torch.testing.assert_close(predict_each(networks, test), probs)
    assert values["accuracy"] == pytest.approx((probs.mean(0).argmax(-1) == test.labels).double().mean().item())
    assert len(networks) == 3
    assert not same(networks[0], networks[1])


def test_a_posterior_of_an_older_version_is_read_if_it_is_finished(runs, tmp_path):
    """Its settings had neither a version nor the noise."""
    values = infer(runs, tmp_path, "laplace")
    path = tmp_path / "settings.json"
    settings = read_json(path)
    assert settings.pop("version") == __version__
    assert settings.pop("noise") == "auto"
    write_json(path, settings)
    assert infer(runs, tmp_path, "laplace") == values
    with pytest.raises(InputError, match="made with noise = 'weights'"):
        infer(runs, tmp_path, "laplace", noise="weights")
    (tmp_path / "result.json").unlink()
    with pytest.raises(InputError, match=f"version {__version__} began; got an older one"):
        infer(runs, tmp_path, "laplace")


def test_ternary_draws_are_ternary_and_their_zeros_are_counted(runs, tmp_path):
    values = infer(runs, tmp_path, "ternary")
    weights = [
        value
        for network in load_draws_of(runs / tiny().name, tmp_path)
        for value in network.parameters()
        if value.dim() == 2
    ]
    assert all(ternary_parts(weight) is not None for weight in weights)
    zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    assert values["sparsity"] == pytest.approx(zeros)


def test_laplace_and_swag_take_ternary_runs_too(runs, tmp_path):
    infer(runs, tmp_path / "laplace", "laplace", method="direct")
    networks = load_draws_of(runs / tiny(method="direct").name, tmp_path / "laplace")
    first = [next(network.parameters()) for network in networks]
    assert torch.equal(first[0], first[1])  # only the last layer is random
    assert sparsity_of(networks) > 0.1


def test_a_finished_one_is_read_and_the_same_settings_give_the_same_draws(runs, tmp_path):
    first = infer(runs, tmp_path / "one", "ternary")
    stamp = (tmp_path / "one" / "draws.safetensors").stat().st_mtime_ns
    assert infer(runs, tmp_path / "one", "ternary") == first
    assert (tmp_path / "one" / "draws.safetensors").stat().st_mtime_ns == stamp
    assert infer(runs, tmp_path / "two", "ternary") == first
    assert infer(runs, tmp_path / "three", "ternary", seed=1) != first


def test_an_interrupted_one_goes_on_to_the_same_numbers(runs, tmp_path):
    whole = infer(runs, tmp_path / "whole", "ternary", epochs=3)

    class Killed(Exception):
        pass

    def kill(name, stage, done, total):
        if (stage, done) == ("train", total // 2):
            raise Killed

    place, wanted = runs / tiny().name, PosteriorSettings("ternary", **QUICK | {"epochs": 3})
    with pytest.raises(Killed):
        posterior_of_run(place, wanted, tmp_path / "cut", Context(checkpoint_seconds=0, progress=kill))
    assert (tmp_path / "cut" / "checkpoint.safetensors").exists()
    assert posterior_of_run(place, wanted, tmp_path / "cut") == whole
    assert not (tmp_path / "cut" / "checkpoint.safetensors").exists()


def test_masks_are_off(runs):
    network = without_masks(load_network(runs / tiny().name))
    images = data.load_test("digits").images[:5]
    assert torch.equal(network.train()(images), network.eval()(images))


def test_the_learning_rate_suits_the_kind():
    assert PosteriorSettings("swag").learning_rate < PosteriorSettings("ternary").learning_rate == 0.02
    assert PosteriorSettings("swag", learning_rate=0.5).learning_rate == 0.5


def test_what_cannot_be_is_refused(runs, tmp_path):
    with pytest.raises(InputError, match="run: expected a float run to infer"):
        infer(runs, tmp_path, "ternary", method="direct")
    with pytest.raises(InputError, match="kind: expected"):
        PosteriorSettings("exact")
    with pytest.raises(InputError, match="temperature: expected"):
        PosteriorSettings(temperature=0.0)
    with pytest.raises(InputError, match="learning_rate: expected"):
        PosteriorSettings(learning_rate=-0.1)
    infer(runs, tmp_path, "laplace")
    with pytest.raises(InputError, match="a folder made with kind = 'swag'"):
        infer(runs, tmp_path, "swag")
