"""Runs on another device than the processor, by one that refuses what an accelerator refuses."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.experiments import contents, tiny, without_time
from tests.helpers.virtual_device import virtual_device
from tsnn_uq import devices
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Context, load_network, run
from tsnn_uq.experiments.bayesian import PosteriorSettings, posterior_of_run
from tsnn_uq.experiments.estimate import estimate_run
from tsnn_uq.experiments.evaluation import evaluate_run
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.experiments.storage import read_config
from tsnn_uq.fast import compilers


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """No compiled kernels, which only the processor has: what is left computes the same bits everywhere."""
    monkeypatch.setattr(compilers, "is_installed", lambda _: False)


@pytest.fixture
def device(monkeypatch):
    """Name of a device of this machine besides the processor."""
    monkeypatch.setattr(devices, "devices_here", lambda: ["meta", "cpu"])
    with virtual_device() as found:
        yield str(found)


def without_device(folder):
    return {name: value for name, value in read_config(folder).items() if name != "device"}


def test_a_run_gives_the_numbers_that_it_gives_on_the_processor(device, tmp_path):
    settings = {"method": "distill", "coding": "rate", "epochs": 1}
    here, there = (tiny(**settings, device=name) for name in ("cpu", "auto"))
    assert (here.device, there.device) == ("cpu", device)
    rows = [run(one, tmp_path / one.device) for one in (here, there)]
    assert without_time(rows[0]) == without_time(rows[1])
    folders = [tmp_path / one.device / one.name for one in (here, there)]
    assert contents(folders[0]) == contents(folders[1])
    assert without_device(folders[0]) == without_device(folders[1])
    assert read_config(folders[1])["device"] == device
    assert Settings.load(folders[1] / "config.toml") == there
    assert estimate_run(there) > 0


def test_a_run_on_a_device_is_evaluated_on_any(device, tmp_path):
    settings = tiny(device=device, epochs=1)
    row, folder = run(settings, tmp_path), tmp_path / settings.name
    for name in ("", "cpu"):
        assert evaluate_run(folder, context=Context(device=name))["nll"] == row["nll"]
    assert next(load_network(folder).parameters()).device.type == "cpu"
    assert next(load_network(folder, device).parameters()).device == torch.device(device)


def test_a_posterior_is_inferred_on_a_device(device, tmp_path):
    settings = tiny(device=device, epochs=1)
    run(settings, tmp_path)
    found = {}
    for name in ("", "cpu"):
        wanted = PosteriorSettings("gaussian", epochs=1, samples=2, device=name)
        out = tmp_path / f"draws-{name}"
        values = posterior_of_run(tmp_path / settings.name, wanted, out)
        draws = load_file(out / "draws.safetensors")
        found[name] = values, {key: tensor.numpy().tobytes() for key, tensor in draws.items()}
    assert found[""] == found["cpu"]


@pytest.mark.parametrize("name", ["cuda:1", "mps"])
def test_a_device_that_is_not_here_is_refused_before_any_work(name, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "devices_here", lambda: ["cuda:0", "cpu"])
    with pytest.raises(InputError, match="device: expected one of"):
        run(tiny(device=name), tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="device: expected cpu, cuda"):
        tiny(device="gpu")
    assert tiny(device="cuda") == tiny(device="cuda:0") == tiny(device="auto")
