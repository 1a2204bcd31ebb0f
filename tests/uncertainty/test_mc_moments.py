"""Streamed Monte Carlo prediction against `mc_predict`: draws, memory, and when it stops."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.monte_carlo import TRIED, count_inputs, exact, images, plain_network, seeded, spiking
from tests.helpers.peers import PEERS, peer
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.uncertainty import MASK_MODES, Dropout, Moments, mc_moments, mc_predict


def check(moments: Moments, probs: Tensor) -> None:
    """The statistics are those of these samples [S, N, C]."""
    assert moments.samples.tolist() == [len(probs)] * probs.shape[1]
    wide = probs.double()
    torch.testing.assert_close(moments.mean, wide.mean(0), rtol=0, atol=1e-12)
    for name in ("predictive_entropy", "expected_entropy", "mutual_information", "predictive_variance"):
        expected = getattr(metrics, name)(wide, reduction="none")
        torch.testing.assert_close(getattr(moments, name), expected, rtol=0, atol=1e-12)
    assert moments.predictive_variance.max() > 1e-4


@pytest.mark.parametrize(
    ("family", "mask", "coding"),
    [
        ("dropout", MASK_MODES[0], "constant"),
        ("dropout", MASK_MODES[1], "rate"),
        ("dropconnect", MASK_MODES[0], "rate"),
    ],
)
def test_the_draws_are_those_of_mc_predict(family, mask, coding):
    network = spiking(family, mask=mask, coding=coding)
    options = {"samples": 70, "batch_size": 3}
    probs = mc_predict(network, images(), generator=seeded(3), **options)
    for memory_limit in (2**28, 40_000, 1):
        check(mc_moments(network, images(), generator=seeded(3), memory_limit=memory_limit, **options), probs)


def mixed() -> nn.Module:
    """A dropout of ours and one of torch's."""
    return exact(nn.Sequential(Coding(steps=3), nn.Flatten(2), Dropout(0.5), nn.Linear(12, 5), nn.Dropout(0.5)))


@pytest.mark.parametrize("memory_limit", [2**28, 20_000])
@pytest.mark.parametrize("make", [plain_network, mixed])
def test_the_draws_of_other_libraries_are_those_of_mc_predict_too(make, memory_limit):
    network, inputs = make(), images() if make is mixed else torch.rand(7, 4, generator=seeded(0))
    options = {"samples": 70, "batch_size": 3, "memory_limit": memory_limit}
    probs = mc_predict(network, inputs, generator=seeded(3), **options)
    check(mc_moments(network, inputs, generator=seeded(3), **options), probs)


@pytest.mark.parametrize("name", PEERS)
def test_networks_of_other_libraries(name):
    network, inputs, options = peer(name, 0.5)
    options |= {"samples": 20, "batch_size": 4}
    probs = mc_predict(network, inputs, generator=seeded(1), **options)
    check(mc_moments(network, inputs, generator=seeded(1), **options), probs)


def test_the_generator_advances_by_one_draw_as_with_mc_predict():
    one, other = seeded(1), seeded(1)
    mc_moments(spiking(), images(), samples=3, generator=one)
    mc_predict(spiking(), images(), samples=3, generator=other)
    assert torch.equal(one.get_state(), other.get_state())


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_no_pass_grows_with_the_number_of_samples(family):
    largest = {}
    for samples in (32, 1000):
        network = spiking(family)
        folded = count_inputs(network[-1], axis=1)
        mc_moments(network, images(2), samples=samples, generator=seeded(1))
        assert sum(folded) == sum(TRIED) + 2 * samples
        largest[samples] = max(folded)
    assert largest[1000] <= 2 * 32
    assert folded[2:5] == [2, 2 * 31, 2 * 32]


_PEAK = """
import resource, sys, torch
from tsnn_uq.networks import build
from tsnn_uq.uncertainty import mc_moments
torch.set_num_threads(1)

def show():
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))

network = build("dropout", sizes=(4, 8, 500), steps=1, generator=torch.Generator().manual_seed(0))
for samples in (32, 1000):
    mc_moments(network, torch.rand(40, 4), samples=samples, generator=torch.Generator().manual_seed(1))
    show()

class Zeros(torch.utils.data.Dataset):
    # Items of half a mebibyte.
    def __init__(self, count):
        self.count = count
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        return torch.zeros(2**17)

network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.AdaptiveAvgPool1d(10))
for count in (20, 150):
    mc_moments(network, Zeros(count), samples=2, generator=torch.Generator().manual_seed(1), batch_size=4)
    show()
"""


@pytest.mark.slow
def test_the_peak_of_memory_grows_with_neither_samples_nor_inputs_of_a_dataset():
    pytest.importorskip("resource")  # not on Windows
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc then gives back at once what is freed
    command = [sys.executable, "-c", _PEAK]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    few_samples, samples, few_inputs, inputs = map(int, output.split())
    assert samples - few_samples < 1000 * 40 * 500 * 4 / 8  # an eighth of what all samples take
    assert inputs - few_inputs < 150 * 2**19 / 8  # and of what all inputs take


def test_a_loose_tolerance_stops_early_and_the_standard_error_is_below_it():
    options = {"samples": 400, "batch_size": 1}
    network = spiking()
    probs = mc_predict(network, images(), generator=seeded(3), **options).double()
    moments = mc_moments(network, images(), generator=seeded(3), tolerance=0.04, **options)
    assert moments.samples.unique().numel() > 1  # each block on its own
    assert moments.samples.max() < 400
    for i, drawn in enumerate(moments.samples.tolist()):
        errors = {n: (probs[:n, i].std(0) / n**0.5).max().item() for n in range(8, 401, 8)}
        assert drawn == next(n for n, error in errors.items() if error < 0.04)
        torch.testing.assert_close(moments.mean[i], probs[:drawn, i].mean(0), rtol=0, atol=1e-12)
        assert moments.standard_error[i].max().item() == pytest.approx(errors[drawn])
    assert moments.standard_error.max() < 0.04


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_the_memory_limit_does_not_change_where_it_stops(family):
    def stopped(memory_limit: int) -> Moments:
        options = {"samples": 100, "batch_size": 2, "memory_limit": memory_limit}
        return mc_moments(spiking(family), images(), generator=seeded(3), tolerance=0.05, **options)

    plenty = stopped(2**28)
    assert plenty.samples.min() < 100
    for memory_limit in (1, 8_000):
        assert torch.equal(stopped(memory_limit).samples, plenty.samples)


@pytest.mark.parametrize("make", [spiking, mixed])
def test_an_impossible_tolerance_never_stops(make):
    moments = mc_moments(make(), images(), samples=50, generator=seeded(3), tolerance=1e-9)
    assert moments.samples.tolist() == [50] * 7
    assert moments.standard_error.max() > 1e-3


def test_eight_samples_are_the_least_unless_fewer_are_asked_for():
    for samples, drawn in ((100, 8), (8, 8), (5, 5), (1, 1)):
        moments = mc_moments(spiking(), images(), samples=samples, generator=seeded(3), tolerance=10.0)
        assert moments.samples.tolist() == [drawn] * 7


def test_networks_of_plain_torch_stop_early_too():
    inputs = torch.rand(6, 4, generator=seeded(0))
    moments = mc_moments(plain_network(), inputs, samples=1000, generator=seeded(1), tolerance=0.01)
    assert moments.samples.max() < 1000
    assert moments.standard_error.max() < 0.01
    probs = mc_predict(plain_network(), inputs, samples=4000, generator=seeded(2)).double()
    assert (moments.mean - probs.mean(0)).abs().max() < 5 * 0.01


def test_the_model_is_left_as_it_was_even_if_it_stops_early_or_progress_fails():
    network = spiking().train()
    modes = [module.training for module in network.modules()]
    mine = seeded(8)
    for layer in network.modules():
        if isinstance(layer, Dropout):
            layer.generators = (mine,)

    def fail(_: int) -> None:
        raise RuntimeError("enough")

    mc_moments(network, images(), samples=100, generator=seeded(1), tolerance=10.0)
    with pytest.raises(RuntimeError, match="enough") as caught:
        mc_moments(network, images(), samples=3, generator=seeded(1), progress=fail)
    assert caught.tb  # which keeps all frames alive: what is restored is not restored for want of references
    assert [module.training for module in network.modules()] == modes
    assert all(layer.generators == (mine,) for layer in network.modules() if isinstance(layer, Dropout))
    assert not any(module._forward_hooks for module in network.modules())


def test_progress_counts_the_inputs_that_are_done():
    done: list[int] = []
    mc_moments(spiking(), images(), samples=2, generator=seeded(1), batch_size=3, progress=done.append)
    assert done == [3, 6, 7]


def test_no_gradient_is_kept():
    assert not mc_moments(spiking(), images(), samples=2, generator=seeded(1)).mean.requires_grad


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tolerance": 0}, "^tolerance: expected a positive number"),
        ({"tolerance": -0.1}, "^tolerance: expected a positive number"),
        ({"tolerance": True}, "^tolerance: expected a positive number"),
        ({"tolerance": torch.tensor(0.1)}, "^tolerance: expected a positive number"),
        ({"samples": 0}, "^samples: expected a positive whole number"),
        ({"batch_size": 0}, "^batch_size: expected a positive whole number"),
        ({"memory_limit": 0}, "^memory_limit: expected a positive number"),
        ({"generator": 3}, "^generator: expected a torch.Generator"),
        ({"inputs": images(0)}, "^inputs: expected at least one input along axis 0"),
        ({"model": spiking(p=0.0)}, "^model: expected a stochastic layer"),
    ],
)
def test_bad_arguments_are_refused(changes, match):
    arguments = {"model": spiking(), "inputs": images(), "generator": seeded(0)} | changes
    with pytest.raises(InputError, match=match):
        mc_moments(arguments.pop("model"), arguments.pop("inputs"), **arguments)
