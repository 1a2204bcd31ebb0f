"""Ensembles: several networks wherever one goes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.monte_carlo import images, plain_network, seeded, spiking
from tests.helpers.peers import PEERS, peer
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.uncertainty import make_stochastic, mc_moments, mc_predict


def certain(seed: int) -> nn.Module:
    """A network in which nothing is random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))


def test_random_networks_share_the_samples_as_in_calls_one_after_the_other():
    networks = [spiking(), spiking("dropconnect"), spiking(mask="per-step")]
    generator = seeded(1)
    expected = torch.cat([mc_predict(one, images(), samples=4, generator=generator, batch_size=3) for one in networks])
    assert torch.equal(mc_predict(networks, images(), samples=12, generator=seeded(1), batch_size=3), expected)
    over_time = mc_predict(networks, images(), samples=12, generator=seeded(1), batch_size=3, per_step=True)
    torch.testing.assert_close(over_time[:, -1], expected)


@pytest.mark.parametrize("kind", [list, tuple, nn.ModuleList])
def test_one_network_in_a_list_is_that_network(kind):
    alone = mc_predict(spiking(), images(), samples=4, generator=seeded(1))
    assert torch.equal(mc_predict(kind([spiking()]), images(), samples=4, generator=seeded(1)), alone)


@pytest.mark.parametrize("samples", [None, 3])
def test_networks_without_anything_random_give_one_sample_each(samples):
    networks = [certain(seed).train() for seed in range(3)]
    probs = mc_predict(networks, images(), samples=samples, batch_size=4)
    assert all(network.training for network in networks)
    for network, one in zip(networks, probs, strict=True):
        torch.testing.assert_close(one, network.eval()(images()).softmax(-1))


@pytest.mark.parametrize("name", PEERS)
def test_networks_of_other_libraries(name):
    network, inputs, options = peer(name, 0.0)
    other, _, _ = peer(name, 0.0)
    make_stochastic(other, "dropconnect", p=0.5)
    assert mc_predict([network, network], inputs, **options).shape == (2, 6, 3)
    probs = mc_predict([other, other], inputs, samples=6, generator=seeded(1), **options)
    assert len(probs.flatten(1).unique(dim=0)) == 6


@pytest.mark.parametrize("members", [[spiking(), spiking("dropconnect")], [certain(0), certain(1)]])
def test_the_moments_are_those_of_all_samples(members):
    options = {"samples": None if len(members[0]) == 5 else 10, "generator": seeded(1), "batch_size": 3}
    probs = mc_predict(members, images(), **options).double()
    moments = mc_moments(members, images(), **(options | {"generator": seeded(1)}))
    assert moments.samples.tolist() == [len(probs)] * 7
    torch.testing.assert_close(moments.mean, probs.mean(0), rtol=0, atol=1e-12)
    for name in ("predictive_entropy", "mutual_information", "predictive_variance"):
        expected = getattr(metrics, name)(probs, reduction="none")
        torch.testing.assert_close(getattr(moments, name), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("members", "samples"), [(1, 32), (3, 33), (5, 35), (32, 32)])
def test_by_default_there_are_32_samples_or_the_next_multiple(members, samples):
    networks = [plain_network()] * members
    assert len(mc_predict(networks, torch.rand(2, 4), generator=seeded(1))) == samples
    assert len(mc_predict(networks[0], torch.rand(2, 4), generator=seeded(1))) == 32


def test_progress_counts_the_inputs_of_all_networks():
    done: list[int] = []
    mc_predict([spiking(), spiking()], images(), samples=2, generator=seeded(1), batch_size=3, progress=done.append)
    assert done == [3, 6, 9, 12, 13, 14]


@pytest.mark.parametrize("predict", [mc_predict, mc_moments])
@pytest.mark.parametrize(
    ("model", "options", "match"),
    [
        ([], {}, "^model: expected a network or a list"),
        ([1], {}, "^model: expected a network or a list"),
        (3, {}, "^model: expected a network or a list"),
        ([spiking()] * 3, {"samples": 10}, "^samples: expected a multiple of the 3 networks"),
        ([certain(0)] * 3, {"samples": 6}, "^samples: expected 3, one of each network, since nothing"),
        (
            [spiking(), certain(0), certain(1)],
            {},
            "^model: expected networks that are all random, or none",
        ),
        ([spiking(), spiking()], {"generator": None}, r"^generator: expected torch.Generator\(\)"),
        (spiking(), {"generator": None}, r"^generator: expected torch.Generator\(\)"),
        (certain(0), {}, "^model: expected a stochastic layer, .* found"),
        ([spiking()], {"samples": 0}, "^samples: expected a positive whole number"),
        ([spiking()], {"inputs": images(0)}, r"^inputs: expected at least one input along axis 0"),
    ],
)
def test_bad_ensembles_are_refused(predict, model, options, match):
    options = {"inputs": images(), "generator": seeded(1)} | options
    with pytest.raises(InputError, match=match):
        predict(model, **options)


def test_an_early_stop_is_for_one_network():
    with pytest.raises(InputError, match=r"^tolerance: expected None for 2 networks"):
        mc_moments([spiking(), spiking()], images(), generator=seeded(1), tolerance=0.1)
    assert mc_moments([spiking()], images(), generator=seeded(1), tolerance=0.5).samples.max() == 8
