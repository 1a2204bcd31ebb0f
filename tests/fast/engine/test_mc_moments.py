"""Streamed Monte Carlo prediction by the engine, against its `mc_predict` and the network's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.monte_carlo import images, seeded, spiking
from tsnn_uq.checks import InputError
from tsnn_uq.engine import BACKENDS, Engine
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.uncertainty import Moments, mc_moments


def ternary(family: str = "dropout", **options: Any) -> nn.Module:
    network = spiking(family, **options)
    ternarize(network)
    freeze(network)
    return network


def engine(family: str = "dropout", backend: str = "reference", **options: Any) -> Engine:
    if backend == "compiled":
        pytest.importorskip("numba")
    return Engine(ternary(family, **options), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("coding", ["constant", "rate"])
@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_statistics_are_those_of_the_samples(family, coding, backend):
    runs = engine(family, backend, coding=coding)
    options: dict[str, Any] = {"samples": 40, "batch_size": 3}
    whole = Moments.of(runs.mc_predict(images(), generator=seeded(3), **options))
    assert whole.predictive_variance.max() > 1e-4
    for memory_limit in (2**28, 3_000, 1):
        moments = runs.mc_moments(images(), generator=seeded(3), memory_limit=memory_limit, **options)
        assert torch.equal(moments.samples, whole.samples)
        for name in ("mean", "variance", "surprise", "mutual_information"):
            torch.testing.assert_close(getattr(moments, name), getattr(whole, name), rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_it_stops_where_the_network_does(family):
    options: dict[str, Any] = {"samples": 200, "batch_size": 2, "tolerance": 0.04}
    moments = engine(family).mc_moments(images(), generator=seeded(3), **options)
    expected = mc_moments(ternary(family), images(), generator=seeded(3), **options)
    assert torch.equal(moments.samples, expected.samples)
    torch.testing.assert_close(moments.mean, expected.mean, rtol=0, atol=1e-6)
    assert moments.samples.min() < 200
    assert moments.standard_error[moments.samples < 200].max() < 0.04


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_more_than_32_samples_are_run_at_once(backend, monkeypatch):
    runs = engine("dropout", backend)
    sample, sizes = runs._sample_outputs, []

    def noting(*arguments: Any) -> Any:
        for chunk in sample(*arguments):
            sizes.append(len(chunk))
            yield chunk

    monkeypatch.setattr(runs, "_sample_outputs", noting)
    runs.mc_moments(images(), samples=100, generator=seeded(1))
    assert sizes == [32, 32, 32, 4]


def test_progress_counts_the_images_that_are_done():
    done: list[int] = []
    engine().mc_moments(images(), samples=2, generator=seeded(1), batch_size=3, progress=done.append)
    assert done == [3, 6, 7]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tolerance": 0}, "^tolerance: expected a positive number"),
        ({"tolerance": True}, "^tolerance: expected a positive number"),
        ({"samples": 0}, "^samples: expected a positive whole number"),
        ({"memory_limit": -1}, "^memory_limit: expected a positive number"),
        ({"generator": 3}, "^generator: expected a torch.Generator"),
    ],
)
def test_bad_arguments_are_refused(changes, match):
    arguments = {"images": images(), "generator": seeded(0)} | changes
    with pytest.raises(InputError, match=match):
        engine().mc_moments(arguments.pop("images"), **arguments)
