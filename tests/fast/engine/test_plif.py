"""The convolutional PLIF network in the engine: BatchNorm and time constants folded, pooled masks, votes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tsnn_uq.engine import Engine
from tsnn_uq.fast.engine.engine import BACKENDS
from tsnn_uq.fast.engine.translate import translate
from tsnn_uq.networks import READOUTS, build
from tsnn_uq.neurons import PLIF, LIFParameters
from tsnn_uq.quantization import PARTS, freeze, ternarize
from tsnn_uq.uncertainty import mc_predict

SHAPE = (1, 11, 9)  # odd, so that pooling leaves an edge over


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(part="all", seed=0, **options):
    """A network with statistics and time constants as training leaves them, and with spikes in all layers."""
    neuron = LIFParameters(threshold=0.1, reset="hard")
    options = {"shape": SHAPE, "classes": 3, "hidden": (5, 6, 40), "steps": 4, "neuron": neuron, **options}
    network = build("plif", generator=seeded(seed), **options)
    generator = seeded(seed + 100)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, (low, high) in (
                (module.running_mean, (-0.2, 0.2)),
                (module.running_var, (0.05, 0.5)),
                (module.weight.data, (0.5, 2.0)),
                (module.bias.data, (-0.1, 0.5)),
            ):
                values.uniform_(low, high, generator=generator)
        if isinstance(module, PLIF):
            module.a.data.uniform_(-1, 2, generator=generator)
    if part:
        ternarize(network, part)
        freeze(network)
    return network.eval()


def images(count=7):
    return torch.rand(count, *SHAPE, generator=seeded(5))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("part", ["", *PARTS])
def test_folded_it_computes_what_the_network_computes(part, readout, backend):
    """To rounding: a spike that the last digit decides would be seen, and none is at these seeds."""
    network = trained(part, readout=readout)
    expected = network(images())
    assert expected.std() > 0.01
    torch.testing.assert_close(Engine(network, SHAPE, backend=backend)(images()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mask", ["fixed", "per-step"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_behind_pooling_are_the_networks_own(backend, mask):
    network = trained(mask=mask, p=0.4)
    expected = mc_predict(network, images(), samples=6, generator=seeded(7))
    probs = Engine(network, SHAPE, backend=backend).mc_predict(images(), samples=6, generator=seeded(7))
    assert expected.std(0).mean() > 1e-3
    torch.testing.assert_close(probs, expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_and_time_constant_are_in_scale_and_bias():
    """Of a channel: gamma / sqrt(var + eps) / tau, and (beta - mean gamma / sqrt(var + eps)) / tau."""
    network = trained()
    layer = translate(network, SHAPE).layers[0]
    norm, neurons = network[2].module, network[3]
    size = network[1].weight.abs().max()  # the one magnitude of ternary weights
    factor = norm.weight / (norm.running_var + norm.eps).sqrt() / neurons.tau
    torch.testing.assert_close(layer.scale[:5], (size * factor).detach())
    shift = norm.bias / neurons.tau - norm.running_mean * factor
    torch.testing.assert_close(layer.bias[:5], shift.detach())
    assert layer.neuron.decay == pytest.approx(1 - 1 / neurons.tau)


def test_ternary_weights_take_two_bits():
    ternary, plain = (Engine(trained(part), SHAPE).weight_bytes for part in ("all", ""))
    assert ternary < plain / 7  # rows of few channels are padded to words
