"""One contract for every posterior, and draws of other libraries' networks."""

from __future__ import annotations

import numpy
import pytest
import torch
from torch.utils.data import DataLoader

from tests.helpers.peers import PEERS, peer
from tests.helpers.training import EAGER, Items, images, network, same
from tsnn_uq.batches import open_data
from tsnn_uq.bayes import (
    Ensemble,
    LastLayerLaplace,
    Posterior,
    Swag,
    dropconnect_posterior,
    gaussian_posterior,
    infer,
    ternary_posterior,
)
from tsnn_uq.checks import InputError
from tsnn_uq.quantization import select_layers
from tsnn_uq.state import rest
from tsnn_uq.uncertainty import mc_moments, mc_predict, set_generator


def model(seed=0):
    return network("dropout", seed=seed, neuron=EAGER)


def swag(net):
    collected = Swag(net)
    for seed in range(3):
        collected.collect(model(seed))
    return collected


POSTERIORS = {
    "ternary": ternary_posterior,
    "gaussian": gaussian_posterior,
    "dropconnect": lambda net: dropconnect_posterior(net, p=0.3),
    "laplace": lambda net: LastLayerLaplace(net, images()),
    "swag": swag,
    "ensemble": lambda net: Ensemble([net, model(1), model(2)]),
}
posteriors = pytest.mark.parametrize("name", POSTERIORS)


@posteriors
def test_a_draw_is_a_copy_in_evaluation_mode_that_repeats(name, generator):
    net = model().train()
    set_generator(net, generator)
    posterior = POSTERIORS[name](net)
    assert isinstance(posterior, Posterior)
    one, again = (posterior.sample(torch.Generator().manual_seed(3)) for _ in range(2))
    assert same(one, again)
    assert not any(module.training for module in one.modules())
    assert net.training
    assert len({module.generators for module in net.modules() if hasattr(module, "generators")} - {()}) == 1
    before = [parameter.clone() for parameter in net.parameters()]
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
    assert all(torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))
    assert same(again, posterior.sample(torch.Generator().manual_seed(3)))


@posteriors
def test_predictions_are_probabilities_of_several_networks(name, generator):
    posterior = POSTERIORS[name](model())
    probs = posterior.predict(images()[0], samples=3, generator=generator)
    assert probs.shape == (3, 16, 3)
    torch.testing.assert_close(probs.sum(-1), torch.ones(3, 16))
    assert (probs[0] != probs[1]).any()
    assert torch.equal(probs, posterior.predict(images()[0], samples=3, generator=generator.manual_seed(0)))


@posteriors
def test_predictions_over_other_data_are_those_for_one_tensor(name, generator):
    posterior, data, done = POSTERIORS[name](model()), images(), []
    options = {"samples": 3, "generator": generator, "batch_size": 6}
    whole = posterior.predict(data[0], **options)
    for train in (Items(*data), DataLoader(Items(*data), 5)):
        generator.manual_seed(0)
        probs, labels = posterior.predict(train, progress=done.append, **options)
        assert torch.equal(probs, whole)
        assert torch.equal(labels, data[1])
    assert done == [6, 12, 16, 22, 28, 32, 38, 44, 48] * 2
    generator.manual_seed(0)
    moments, labels = posterior.moments(Items(*data), **options)
    assert moments.samples.tolist() == [3] * 16
    torch.testing.assert_close(moments.mean, whole.double().mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(moments.variance, whole.double().var(0, correction=0), rtol=0, atol=1e-12)
    assert torch.equal(labels, data[1])


class Unseeded(Items):
    """Items that are others each time."""

    def __getitem__(self, index):
        inputs, label = super().__getitem__(index)
        return inputs + numpy.random.default_rng().random(dtype=numpy.float32), label


SHUFFLED = {
    "its own generator": lambda data: DataLoader(Items(*data), 5, shuffle=True, generator=torch.Generator()),
    "random items": lambda data: Unseeded(*data),
    "random items of a DataLoader": lambda data: DataLoader(Unseeded(*data), 5),
    "fewer each time": lambda data: DataLoader(Items(*data), 5, sampler=iter(range(16))),
}


@pytest.mark.parametrize("kind", SHUFFLED)
def test_predictions_for_inputs_in_several_orders_are_not_mixed(kind, generator):
    posterior = Ensemble([model(), model(1)])
    with pytest.raises(InputError, match="images: expected the same inputs"):
        posterior.predict(SHUFFLED[kind](images()), samples=2, generator=generator)


def test_an_order_drawn_from_the_global_generator_is_the_same_each_time(generator):
    posterior, data = Ensemble([model(), model(1)]), images()
    options = {"samples": 2, "generator": generator}
    probs, labels = posterior.predict(DataLoader(Items(*data), 5, shuffle=True), **options)
    seen = torch.cat([batch.inputs for batch in open_data("data", DataLoader(Items(*data), 5, shuffle=True)).blocks(5)])
    assert not torch.equal(seen, data[0])
    generator.manual_seed(0)
    assert torch.equal(probs, posterior.predict(seen, **options))
    assert labels.bincount().tolist() == data[1].bincount().tolist()


@posteriors
def test_draws_go_where_networks_go(name, generator):
    """Ensembles of `tsnn_uq.uncertainty`."""
    draws = POSTERIORS[name](network("dropout", p=0.0, neuron=EAGER)).samples(4, generator)
    for drawn in draws:
        for module in drawn.modules():
            if hasattr(module, "p"):
                module.p = 0.0
    probs = mc_predict(draws, images()[0])
    moments = mc_moments(draws, images()[0])
    torch.testing.assert_close(moments.mean, probs.mean(0), check_dtype=False)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("make", [ternary_posterior, gaussian_posterior], ids=["ternary", "gaussian"])
def test_networks_of_other_libraries_have_posteriors_too(name, make, generator):
    net, inputs, options = peer(name, p=0.0)
    posterior = make(net)
    probs = posterior.predict(inputs, samples=3, generator=generator, **options)
    assert probs.shape == (3, 6, 3)
    assert (probs[0] != probs[1]).any()
    drawn = posterior.sample(generator)
    for layer, family in posterior.weights.items():
        values = select_layers(drawn)[layer].weight.unique()
        assert make is gaussian_posterior or values.abs().max() == family.scale


OF_ANY_NETWORK = {
    "ternary": lambda net, train: ternary_posterior(net),
    "gaussian": lambda net, train: gaussian_posterior(net),
    "dropconnect": lambda net, train: dropconnect_posterior(net, p=0.3),
    "laplace": LastLayerLaplace,
    "swag": lambda net, train: Swag(net),
    "ensemble": lambda net, train: Ensemble([net, net]),
}


@pytest.mark.parametrize("kind", OF_ANY_NETWORK)
@pytest.mark.parametrize("name", ["snntorch hidden", "spikingjelly single", "norse loop"])
def test_a_network_that_holds_the_graph_of_a_training_step_has_every_posterior(name, kind, generator):
    net, inputs, _ = peer(name, p=0.0)
    train = inputs, torch.arange(6) % 3
    expected = [one for one in OF_ANY_NETWORK[kind](net, train).network.parameters()] if kind != "ensemble" else []
    net(inputs).sum().backward()
    posterior = OF_ANY_NETWORK[kind](net, train)
    if kind == "swag":
        posterior.collect(net)
        posterior.collect(net)
    drawn = posterior.sample(generator)
    rest(net)
    rest(drawn)
    assert drawn(inputs).shape == net(inputs).shape
    if expected:
        assert all(map(torch.equal, expected, posterior.network.parameters()))


@pytest.mark.parametrize("name", ["snntorch hidden", "norse loop"])
def test_networks_that_call_a_layer_for_each_step_are_not_trained(name):
    net, inputs, _ = peer(name, p=0.0)
    with pytest.raises(InputError, match="inputs: expected all steps of the network's"):
        infer(ternary_posterior(net), (inputs, torch.arange(6) % 3), seed=0)
