from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tsnn_uq.checks import InputError
from tsnn_uq.networks import READOUTS, build, plif
from tsnn_uq.neurons import PLIF, LIFParameters, lif_step
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.readout import logits
from tsnn_uq.uncertainty import set_generator

EAGER = LIFParameters(threshold=0.2, reset="hard")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**options):
    return build("plif", generator=seeded(), **{"shape": (1, 8, 8), "hidden": (3, 4, 6), "neuron": EAGER, **options})


def test_the_network_of_the_paper_has_13198464_weights_and_no_biases():
    with torch.device("meta"):
        network = plif()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    shapes = [tuple(layer.weight.shape) for layer in layers]
    assert shapes == [(128, 1, 3, 3), (128, 128, 3, 3), (2048, 6272), (100, 2048)]
    assert sum(layer.weight.numel() for layer in layers) == 13_198_464
    assert all(layer.bias is None for layer in layers)


@pytest.mark.parametrize("readout", READOUTS)
def test_it_computes_what_the_layers_say_one_step_after_the_other(readout):
    network = small(readout=readout, steps=5).double().eval()
    images = torch.rand(4, 1, 8, 8, generator=seeded(1), dtype=torch.float64)
    conv = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    norm = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    full = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    for layer in norm:
        layer.running_mean.uniform_(-0.1, 0.1, generator=seeded(2))
        layer.running_var.uniform_(0.1, 0.5, generator=seeded(3))
    outputs = []
    potentials: list[torch.Tensor | None] = [None] * 4

    def neurons(number, current):
        spikes, potentials[number] = lif_step(current / 2, potentials[number], EAGER)
        return spikes

    for _ in range(5):
        x = images
        for number in range(2):
            x = neurons(number, norm[number](functional.conv2d(x, conv[number].weight, padding=1)))
            x = functional.max_pool2d(x, 2)
        x = neurons(2, functional.linear(x.flatten(1), full[0].weight))
        x = functional.linear(x, full[1].weight)
        x = 10 * neurons(3, x) if readout == "spikes" else x
        outputs.append(x.unflatten(1, (10, 10)).mean(2))
    expected = torch.stack(outputs)
    assert expected.std() > 0.01
    torch.testing.assert_close(network(images), expected)


def test_all_is_learned_time_constants_too():
    network = small(steps=3).train()
    set_generator(network, seeded())
    functional.cross_entropy(
        logits(network(torch.rand(16, 1, 8, 8, generator=seeded(1)))), torch.arange(16) % 10
    ).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    assert sum(isinstance(layer, PLIF) for layer in network.modules()) == 4


@pytest.mark.parametrize("part", ["conv", "fc", "all"])
def test_the_quantized_part_is_ternary_the_first_convolution_included(part):
    network = small()
    ternarize(network, part)
    freeze(network)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    ternary = [len(layer.weight.unique()) <= 3 for layer in layers]
    assert ternary == [part in ("conv", "all")] * 2 + [part in ("fc", "all")] * 2


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"shape": (1, 3, 8)}, "shape: expected .* images that can be halved 2 times"),
        ({"shape": (8, 8)}, "shape: expected channels, height and width of images"),
        ({"shape": (1, 8, 0)}, "shape: expected a positive whole number"),
        ({"hidden": (4,)}, "hidden: expected channels of convolutions and then"),
        ({"hidden": (4, 0)}, "hidden: expected a positive whole number"),
        ({"classes": 0}, "classes: expected a positive whole number"),
        ({"readout": "spike"}, "readout: expected one of"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        plif(**options)
