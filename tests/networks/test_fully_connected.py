from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.coding import CODINGS
from tsnn_uq.networks import READOUTS, build, dropconnect, dropout
from tsnn_uq.neurons import LIF, LIFParameters, lif_step
from tsnn_uq.uncertainty import MASK_MODES, set_generator, stochastic_layers

SIZES = (6, 8, 7, 3)
FAMILIES = ("dropconnect", "dropout")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_network_of_the_paper_has_897000_weights_and_no_biases(family):
    network = build(family, generator=seeded())
    shapes = [tuple(parameter.shape) for parameter in network.parameters()]
    assert shapes == [(500, 784), (500, 500), (500, 500), (10, 500)]
    assert sum(parameter.numel() for parameter in network.parameters()) == 897_000


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("mask", MASK_MODES)
@pytest.mark.parametrize("coding", [coding for coding in CODINGS if coding != "events"])
@pytest.mark.parametrize("family", FAMILIES)
def test_images_go_in_and_outputs_over_time_come_out(family, coding, mask, readout):
    network = build(
        family, generator=seeded(), sizes=SIZES, steps=5, mask=mask, coding=coding, readout=readout, p=0.4
    ).train()
    set_generator(network, seeded())
    outputs = network(torch.rand(4, 1, 2, 3, generator=seeded(1)))
    assert outputs.shape == (5, 4, 3)
    outputs.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert {layer.p for layer in stochastic_layers(network).values() if hasattr(layer, "p")} == {0.4}
    assert {layer.mask for layer in stochastic_layers(network).values() if hasattr(layer, "mask")} == {mask}


def by_hand(weights: list[Tensor], image: Tensor, steps: int, params: LIFParameters, spikes_out: bool) -> Tensor:
    """A fully connected network of LIF neurons, step by step, input by input."""
    potentials: list[Tensor | None] = [None] * len(weights)
    outputs = []
    for _ in range(steps):
        signal = image.flatten()
        for number, weight in enumerate(weights):
            current = weight @ signal
            if number == len(weights) - 1 and not spikes_out:
                signal = current
                break
            signal, potentials[number] = lif_step(current, potentials[number], params)
        outputs.append(10 * signal if spikes_out else signal)
    return torch.stack(outputs)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_without_masks_both_families_are_a_network_by_hand(family, readout):
    params = LIFParameters(0.75, 1.0, "hard")
    network = build(family, generator=seeded(), sizes=SIZES, steps=6, readout=readout, neuron=params).eval().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randint(-3, 6, parameter.shape, generator=seeded(1)) / 4)
    images = torch.randint(0, 9, (4, 1, 2, 3), generator=seeded(2)).double() / 8
    outputs = network(images).detach()
    weights = [parameter.detach() for parameter in network.parameters()]
    for number, image in enumerate(images):
        expected = by_hand(weights, image, 6, params, readout == "spikes")
        assert torch.equal(outputs[:, number], expected)
    assert outputs.std() > 0


def test_dropout_follows_each_hidden_layer_and_dropconnect_is_in_each():
    assert list(stochastic_layers(dropout(SIZES))) == ["4", "7"]
    assert list(stochastic_layers(dropconnect(SIZES))) == ["2", "4", "6"]
    assert not any(isinstance(layer, nn.Linear) and layer.bias is not None for layer in dropconnect(SIZES))


def test_all_neurons_are_of_the_kind_asked_for():
    params = LIFParameters(decay=0.9)
    neurons = [layer for layer in dropout(SIZES, neuron=params, readout="spikes") if isinstance(layer, LIF)]
    assert [layer.params for layer in neurons] == [params] * 3


@pytest.mark.parametrize("family", [dropout, dropconnect])
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sizes": (784,)}, "^sizes: expected at least the numbers of pixels"),
        ({"sizes": (784, 0, 10)}, "^sizes: expected a positive whole number"),
        ({"steps": 0}, "^steps: expected a positive whole number"),
        ({"p": 1.0}, "^p: expected 0 <= value < 1"),
        ({"mask": "each"}, "^mask: expected one of"),
        ({"coding": "rat"}, "^kind: expected one of"),
        ({"readout": "spike"}, "^readout: expected one of"),
    ],
)
def test_bad_options_are_refused(family, options, match):
    with pytest.raises(InputError, match=match):
        family(**({"sizes": SIZES} | options))


def test_images_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"^inputs: expected shape \[T, N, 6\]"):
        dropout(SIZES)(torch.zeros(2, 7))
