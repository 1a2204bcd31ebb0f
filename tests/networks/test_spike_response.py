from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tsnn_uq.checks import InputError
from tsnn_uq.coding import pack_spikes
from tsnn_uq.networks import build, slayer
from tsnn_uq.neurons import SRMParameters, srm_scan
from tsnn_uq.readout import logits
from tsnn_uq.uncertainty import set_generator

SHAPE = (2, 5, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**options):
    srm = SRMParameters(threshold=2.0, step_ms=2.0)
    return build(
        "slayer", generator=seeded(), **{"shape": SHAPE, "hidden": (12,), "steps": 30, "neuron": srm, **options}
    )


def recordings(count=6, steps=30):
    """Spikes [N, T, 2, H, W] and the same packed to bits."""
    spikes = torch.bernoulli(torch.full((count, steps, *SHAPE), 0.3), generator=seeded(1))
    return spikes, pack_spikes(spikes.flatten(2))


def test_the_network_of_the_paper_has_1188864_weights_and_no_biases():
    network = slayer()
    assert [tuple(parameter.shape) for parameter in network.parameters()] == [(512, 2312), (10, 512)]
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_188_864


def test_logits_are_the_numbers_of_output_spikes():
    network = small().eval()
    spikes, packed = recordings()
    first, second = network.parameters()
    params = network[3].params
    hidden = srm_scan(functional.linear(spikes.flatten(2).transpose(0, 1), first), params)
    expected = srm_scan(functional.linear(hidden, second), params).sum(0)
    assert expected.sum() > 0
    torch.testing.assert_close(logits(network(packed)), expected)


def test_weights_are_a_linear_layers_times_the_threshold():
    plain = [build("slayer", generator=seeded(), neuron=SRMParameters(threshold=theta)) for theta in (1.0, 10.0)]
    for one, ten in zip(*(network.parameters() for network in plain), strict=True):
        torch.testing.assert_close(10 * one, ten)


@pytest.mark.parametrize("coding", ["latency", "constant", "rate"])
def test_images_may_be_its_input(coding):
    network = small(coding=coding, shape=(1, 4, 4)).train()
    set_generator(network, seeded())
    loss = functional.cross_entropy(logits(network(torch.rand(5, 1, 4, 4, generator=seeded(2)))), torch.arange(5))
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_dropout_stands_behind_hidden_layers_alone():
    assert [type(layer).__name__ for layer in small()] == [
        *("Coding", "Flatten", "Linear", "SRM", "Dropout", "Linear", "SRM", "Gain")
    ]


def test_gradients_reach_the_weights_through_packed_spikes():
    network = small().train()
    set_generator(network, seeded())
    functional.cross_entropy(logits(network(recordings()[1])), torch.arange(6)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    assert isinstance(network[2], nn.Linear)


def test_bad_input_is_refused():
    network = small()
    packed = recordings(steps=29)
    for images in (packed[1], packed[0].flatten(2)):
        with pytest.raises(InputError, match="images: expected recordings"):
            network(images)
    with pytest.raises(InputError, match=r"packed: expected uint8 of shape \[..., 5\]"):
        network(recordings()[1][..., :4])
    with pytest.raises(InputError, match="hidden: expected at least one width"):
        slayer(hidden=())
    with pytest.raises(InputError, match="sizes: expected a positive whole number"):
        slayer(classes=0)
