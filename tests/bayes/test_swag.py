from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.peers import library
from tests.helpers.training import TINY, images, method, mlp, network, same
from tsnn_uq.bayes import CollectSwag, Ensemble, Swag
from tsnn_uq.checks import InputError
from tsnn_uq.quantization.rules import ternary_parts
from tsnn_uq.training import Float, fit
from tsnn_uq.uncertainty import mc_predict


class Stop(Exception):
    """An interruption."""


def wandering(generator, count=6):
    """Networks whose weights walk about, and the weights [count, P]."""
    nets, rows = [], []
    for _ in range(count):
        net = nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_(mean=2.0, generator=generator)
        nets.append(net)
        rows.append(nn.utils.parameters_to_vector(net.parameters()).detach().double())
    return nets, torch.stack(rows)


@pytest.mark.parametrize("rank", [2, 10])
def test_draws_have_mean_and_covariance_of_maddox(generator, rank):
    nets, rows = wandering(generator)
    swag = Swag(nets[0], rank=rank)
    for net in nets:
        swag.collect(net)
    running = torch.stack([rows[: i + 1].mean(0) for i in range(len(rows))])
    deviations = (rows - running)[-rank:]
    variances = (rows**2).mean(0) - rows.mean(0) ** 2
    expected = (variances.diag() + deviations.T @ deviations / (len(deviations) - 1)) / 2
    draws = [nn.utils.parameters_to_vector(swag.sample(generator).parameters()) for _ in range(2000)]
    drawn = torch.stack(draws).detach().double()
    scale = expected.diagonal().max().item()
    torch.testing.assert_close(torch.cov(drawn.T), expected, atol=0.12 * scale, rtol=0)
    std = expected.diagonal().sqrt()
    assert ((drawn.mean(0) - rows.mean(0)).abs() < 5 * std / 2000**0.5).all()


def test_draws_repeat_and_need_two_networks(generator):
    nets, _ = wandering(generator)
    swag = Swag(nets[0])
    swag.collect(nets[0])
    with pytest.raises(InputError, match="swag: expected at least 2 collected networks"):
        swag.sample(generator)
    swag.collect(nets[1])
    assert same(*(swag.sample(torch.Generator().manual_seed(1)) for _ in range(2)))
    with pytest.raises(InputError, match="network: expected the parameters of the first"):
        swag.collect(nn.Linear(2, 7))
    with pytest.raises(InputError, match="rank: expected at least 2"):
        Swag(nets[0], rank=1)


def test_batch_norm_statistics_are_those_of_the_draw(generator):
    model, x = mlp(), images()[0]
    with pytest.raises(InputError, match="images: expected inputs, since the network"):
        Swag(model)
    swag = Swag(model, images=x, batch_size=16)
    swag.collect(model)
    swag.collect(mlp(seed=1))
    drawn = swag.sample(generator)
    before = drawn[0](x)
    torch.testing.assert_close(drawn[1].running_mean, before.mean((0, 2, 3)))
    torch.testing.assert_close(drawn[1].running_var, before.transpose(0, 1).flatten(1).var(1))
    assert not any(module.training for module in drawn.modules())
    assert drawn[1].momentum == model[1].momentum


@pytest.mark.parametrize("count", [8, 7, 5])
def test_batch_norm_statistics_of_a_network_with_state_are_taken_at_rest(generator, count):
    snn = library("snntorch")
    net = nn.Sequential(nn.Linear(3, 3), snn.Leaky(beta=0.9, init_hidden=True), nn.Linear(3, 2), nn.BatchNorm1d(2))
    inputs = 3 * torch.rand(count, 3, generator=generator)
    swag = Swag(net, images=inputs, batch_size=4)
    for _ in range(2):
        swag.collect(net)
    drawn = swag.sample(generator)
    means = []
    for block in inputs.split(4) if count > 5 else [inputs]:  # the fifth cannot be normalized alone
        drawn[1].reset_mem()
        means.append(drawn[:3](block).mean(0))
    torch.testing.assert_close(drawn[3].running_mean, torch.stack(means).mean(0))


def test_a_last_image_that_can_be_normalized_is_a_batch_of_its_own(generator):
    model, x = mlp(), images()[0]
    swag = Swag(model, images=x, batch_size=5)
    for _ in range(2):
        swag.collect(model)
    drawn = swag.sample(generator)
    means = [drawn[0](block).mean((0, 2, 3)) for block in x.split(5)]
    torch.testing.assert_close(drawn[1].running_mean, torch.stack(means).mean(0))


def test_images_for_batch_norm_come_from_any_data():
    def swag(train):
        collect = CollectSwag(Float(), count=3, rank=2)
        fit(mlp(), train, seed=0, settings=TINY, method=collect)
        return collect.swag

    data = images()
    draws = [
        swag(train).sample(torch.Generator().manual_seed(0))
        for train in (data, [(one, int(label)) for one, label in zip(*data, strict=True)])
    ]
    assert same(*draws)


@pytest.mark.parametrize("name", ["float", "direct", "indirect", "distill"])
@pytest.mark.parametrize("net", [lambda: network("dropout"), lambda: network("plif")])
def test_swag_is_collected_in_a_training_and_resumes(tmp_path, generator, name, net):
    def run(stop=None, **options):
        collect, model = CollectSwag(method(name), start=0.3, count=4, rank=3), net()

        def progress(done, total):
            if done == stop:
                raise Stop

        fit(model, images(), seed=0, method=collect, settings=TINY, progress=progress, **options)
        return model, collect.swag

    model, swag = run()
    assert swag.count == 4
    plain = net()
    fit(plain, images(), seed=0, method=method(name), settings=TINY)
    assert same(plain, model)  # collecting changes nothing
    with pytest.raises(Stop):
        run(4, checkpoint=tmp_path / "run", checkpoint_seconds=0)
    _, resumed = run(checkpoint=tmp_path / "run", checkpoint_seconds=0)
    draws = [one.sample(torch.Generator().manual_seed(2)) for one in (swag, resumed)]
    assert same(*draws)
    if name == "direct":
        assert ternary_parts(draws[0].get_submodule("2" if "2.weight" in plain.state_dict() else "1").weight)
    assert list(draws[0].state_dict()) == list(plain.state_dict())


def test_an_ensemble_takes_its_networks_in_turn(generator):
    nets = [network("dropout", seed=seed, p=0.0) for seed in range(3)]
    ensemble = Ensemble(nets)
    assert [same(one, other) for one, other in zip(ensemble.samples(4, generator), [*nets, nets[0]], strict=True)]
    probs = ensemble.predict(images()[0], samples=3, generator=generator)
    torch.testing.assert_close(probs, mc_predict(nets, images()[0]))
    drawn = [ensemble.sample(generator) for _ in range(40)]
    assert all(any(same(one, net) for one in drawn) for net in nets)
    assert drawn[0] is not drawn[1]
    for wrong in ([], [1]):
        with pytest.raises(InputError, match="networks: expected at least one network"):
            Ensemble(wrong)
    with pytest.raises(InputError, match="samples: expected a positive whole number"):
        ensemble.predict(images()[0], samples=0, generator=generator)
