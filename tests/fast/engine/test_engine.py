from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.spiking import fill, seeded
from tsnn_uq import data, training
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.engine import BACKENDS, Engine
from tsnn_uq.fast import compilers
from tsnn_uq.networks import Conv2d, Linear, OverTime, build
from tsnn_uq.neurons import LIF
from tsnn_uq.quantization import ternarize
from tsnn_uq.uncertainty import Dropout

SHAPE = (3, 8, 6)


def convolutional(part: str = "all", coding: str = "constant") -> nn.Module:
    """A network with everything in it, all or a part of it ternary."""
    front = [Coding(coding, 5), Conv2d(3, 40, 3, padding=1, bias=False), OverTime(nn.BatchNorm2d(40)), LIF()]
    middle = [Dropout(0.5), OverTime(nn.MaxPool2d(2)), Conv2d(40, 33, (3, 1)), LIF(), OverTime(nn.AvgPool2d(2))]
    back = [nn.Flatten(2), Linear(33, 70, bias=False), OverTime(nn.BatchNorm1d(70)), LIF(), Linear(70, 10)]
    network = fill(nn.Sequential(*front, *middle, *back), "channel")
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv2d if part == "fc" else nn.Linear) and part != "all":
                layer.weight.normal_(0, 0.3, generator=seeded(1))
    return network


def images(count: int = 7) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=seeded(2))


@pytest.fixture(scope="module")
def trained():
    digits = data.load("digits")
    network = build("dropout", sizes=(64, 100, 64, 10), steps=4, generator=seeded(0))
    settings = training.FitSettings(epochs=6, batch_size=64, learning_rate=0.01)
    training.fit(
        network, (digits.train.images, digits.train.labels), method=training.Direct(), settings=settings, seed=0
    )
    return network.eval(), digits.test


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trained_network_decides_as_it_did(trained, backend):
    network, test = trained
    engine = Engine(network, backend=backend)
    with torch.no_grad():
        outputs = network(test.images)
    logits = engine.logits(test.images)
    assert (outputs.mean(0).argmax(1) == test.labels).float().mean() > 0.9
    assert torch.equal(logits.argmax(1), outputs.mean(0).argmax(1))
    torch.testing.assert_close(logits, engine(test.images).mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(engine(test.images), outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("coding", ["constant", "latency"])
@pytest.mark.parametrize("part", ["all", "conv", "fc"])
def test_a_convolutional_network_gives_what_it_gave(part, coding, backend):
    network = convolutional(part, coding)
    with torch.no_grad():
        expected = network(images())
    assert expected.std() > 0.1
    # Sums of floats may decide otherwise at the threshold; none of these does.
    torch.testing.assert_close(Engine(network, SHAPE, backend=backend)(images()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", ["all", "conv", "fc"])
def test_an_output_does_not_depend_on_the_images_beside_it(part):
    engine = Engine(convolutional(part), SHAPE)
    together = engine(images())
    for i in range(7):
        assert torch.equal(together[:, i : i + 1], engine(images()[i : i + 1]))
    order = torch.tensor([4, 2, 0, 6, 1, 5, 3])
    assert torch.equal(engine(images()[order]), together[:, order])


@pytest.mark.parametrize("part", ["all", "conv", "fc"])
def test_an_output_does_not_depend_on_the_number_of_threads(part):
    engine = Engine(convolutional(part), SHAPE)
    outputs, threads = engine(images()), torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            assert torch.equal(engine(images()), outputs)
            assert torch.equal(Engine(convolutional(part), SHAPE).logits(images()), engine.logits(images()))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_stays_behind_from_one_call_to_the_next(backend):
    engine = Engine(convolutional(), SHAPE, backend=backend)
    first, given = engine(images()), images()
    engine(1 - images())
    engine.mc_predict(images(3), samples=2, generator=seeded(0))
    assert torch.equal(engine(given), first)
    assert torch.equal(given, images())


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_network_stays_as_it_was_and_later_changes_are_not_seen(backend):
    network = convolutional().train()
    ternarize(network, layers=["10"])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    names = [name for name, _ in network.named_modules()]
    engine = Engine(network, SHAPE, backend=backend)
    outputs = engine(images())
    engine.mc_predict(images(), samples=2, generator=seeded(0))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [name for name, _ in network.named_modules()] == names
    assert all(module.training for module in network.modules())
    with torch.no_grad():
        for value in network.state_dict().values():
            value.zero_()
    assert torch.equal(engine(images()), outputs)


def test_rate_coding_draws_from_the_generator():
    engine = Engine(convolutional(coding="rate"), SHAPE)
    first, again, other = (engine(images(), generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(InputError, match=r"^generator: expected a torch.Generator"):
        engine(images())


def test_images_may_need_gradients_or_be_integers():
    engine = Engine(convolutional(), SHAPE)
    whole = (images() * 4).round()
    assert torch.equal(engine(whole.to(torch.uint8)), engine(whole))
    assert torch.equal(engine(whole.clone().requires_grad_()), engine(whole))
    assert not engine(whole.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (torch.rand(3, 144, 1, 2), "with 144 values each"),
        (torch.rand(0, *SHAPE), "with 144 values each"),
        (torch.rand(144), "with 144 values each"),
        ([1.0], "with 144 values each"),
        (torch.rand(4, 8, 6, 3), r"\[N, 3, 8, 6\]"),
        (torch.rand(4, 144), r"\[N, 3, 8, 6\]"),
    ],
)
def test_images_of_another_shape_are_refused(given, match):
    engine = Engine(convolutional(), SHAPE)
    for call in (engine, engine.logits, lambda given: engine.mc_predict(given, generator=seeded(0))):
        with pytest.raises(InputError, match=rf"^images: expected shape .*{match}"):
            call(given)


def test_images_on_another_device_are_refused():
    with pytest.raises(InputError, match=r"^images: expected them on cpu"):
        Engine(convolutional(), SHAPE)(images().to("meta"))


def test_a_fully_connected_network_takes_images_of_any_shape():
    network = fill(build("dropout", sizes=(144, 30, 10), generator=seeded(0)))
    engine = Engine(network)
    assert torch.equal(engine(images()), engine(images().flatten(1)))
    assert torch.equal(Engine(network, SHAPE)(images()), engine(images()))


def test_the_compiled_backend_is_chosen_where_it_can_run():
    assert Engine(convolutional(), SHAPE).backend == "compiled"
    assert Engine(convolutional(), SHAPE, backend="reference").backend == "reference"
    many = nn.Sequential(Coding(), nn.Flatten(2), Linear(2**15, 2))
    assert Engine(many).backend == "reference"
    with pytest.raises(InputError, match=r"^backend: expected 'reference' here, .* at most 32,767 inputs of a neuron"):
        Engine(many, backend="compiled")


def test_without_numba_the_reference_runs(monkeypatch):
    monkeypatch.setattr(compilers, "is_installed", lambda compiler: False)
    engine = Engine(convolutional(), SHAPE)
    assert engine.backend == "reference"
    assert engine(images()).shape == (5, 7, 10)
    match = "^backend: expected 'reference' here, since the compiled"
    with pytest.raises(InputError, match=match):
        Engine(convolutional(), SHAPE, backend="compiled")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"samples": 0}, "^samples: expected a positive whole number"),
        ({"batch_size": 2.5}, "^batch_size: expected a positive whole number"),
        ({"memory_limit": -1}, "^memory_limit: expected a positive number"),
        ({"generator": 0}, r"^generator: expected a torch\.Generator"),
    ],
)
def test_the_settings_of_a_prediction_are_checked(options, match):
    with pytest.raises(InputError, match=match):
        Engine(convolutional(), SHAPE).mc_predict(images(), **{"generator": seeded(0)} | options)


def test_a_prediction_needs_something_random():
    network = fill(build("dropout", sizes=(144, 30, 10), p=0.0, generator=seeded(0)))
    match = "^network: expected a stochastic layer"
    with pytest.raises(InputError, match=match):
        Engine(network).mc_predict(images(), generator=seeded(0))


def test_an_unknown_backend_is_refused():
    match = "^backend: expected one of"
    with pytest.raises(InputError, match=match):
        Engine(convolutional(), SHAPE, backend="complied")
