from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tsnn_uq.checks import InputError
from tsnn_uq.networks import READOUTS, build, vgg
from tsnn_uq.neurons import LIF, LIFParameters, lif_step
from tsnn_uq.quantization import freeze, select_layers, ternarize
from tsnn_uq.readout import logits
from tsnn_uq.uncertainty import mc_predict, set_generator

EAGER = LIFParameters(threshold=0.3, reset="hard")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**options):
    options = {"shape": (3, 9, 8), "hidden": (3, 4, 5, 6), "classes": 4, "neuron": EAGER, **options}
    return build("vgg", generator=seeded(), **options)


def test_the_network_for_cifar10_has_804192_weights_and_no_biases():
    with torch.device("meta"):
        network = vgg()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    conv = [(32, 3, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3)]
    assert [tuple(layer.weight.shape) for layer in layers] == [*conv, (256, 128 * 4 * 4), (10, 256)]
    assert sum(layer.weight.numel() for layer in layers) == 804_192
    assert all(layer.bias is None for layer in layers)


@pytest.mark.parametrize(("pooling", "pool"), [("max", functional.max_pool2d), ("average", functional.avg_pool2d)])
@pytest.mark.parametrize("readout", READOUTS)
def test_it_computes_what_the_layers_say_one_step_after_the_other(readout, pooling, pool):
    network = small(readout=readout, pooling=pooling, steps=5).double().eval()
    images = torch.rand(6, 3, 9, 8, generator=seeded(1), dtype=torch.float64)
    conv = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    norm = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    full = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        full[1].weight.mul_(5)
    for layer in norm:
        layer.running_mean.uniform_(-0.1, 0.1, generator=seeded(2))
        layer.running_var.uniform_(0.1, 0.5, generator=seeded(3))
    outputs = []
    potentials: list[torch.Tensor | None] = [None] * 5

    def neurons(number, current):
        spikes, potentials[number] = lif_step(current, potentials[number], EAGER)
        return spikes

    for _ in range(5):
        x = images
        for number in range(3):
            x = neurons(number, norm[number](functional.conv2d(x, conv[number].weight, padding=1)))
            x = x if number == 0 else pool(x, 2)
        x = neurons(3, norm[3](functional.linear(x.flatten(1), full[0].weight)))
        x = functional.linear(x, full[1].weight)
        outputs.append(10 * neurons(4, x) if readout == "spikes" else x)
    expected = torch.stack(outputs)
    assert expected.std() > 0.01
    torch.testing.assert_close(network(images), expected)


def test_all_is_learned_and_neurons_are_those_that_were_asked_for():
    network = small(steps=3, p=0.5).train()
    set_generator(network, seeded())
    images = torch.rand(16, 3, 9, 8, generator=seeded(1))
    functional.cross_entropy(logits(network(images)), torch.arange(16) % 4).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    assert [layer.params for layer in network.modules() if isinstance(layer, LIF)] == [EAGER] * 4
    network.eval()
    probs = mc_predict(network, images, samples=4, generator=seeded())
    assert probs.std(0).amax() > 0


@pytest.mark.parametrize(
    ("part", "ternary"),
    [("all", "11111"), ("inner", "01110"), ("conv", "11100"), ("fc", "00011")],
)
def test_the_quantized_part_is_ternary(part, ternary):
    network = small()
    chosen = ternarize(network, part)
    freeze(network)
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    assert [len(layer.weight.unique()) <= 3 for layer in layers.values()] == [digit == "1" for digit in ternary]
    assert chosen == [name for name, digit in zip(layers, ternary, strict=True) if digit == "1"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_network_of_an_outer_layer_alone_has_no_inner_ones(count):
    with pytest.raises(InputError, match="layers: expected a choice that matches a layer"):
        select_layers(nn.Sequential(*[nn.Linear(2, 2) for _ in range(count)]), "inner")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"shape": (3, 3, 8)}, "shape: expected .* images that can be halved 2 times"),
        ({"hidden": (4,)}, "hidden: expected channels of convolutions and then"),
        ({"classes": 0}, "classes: expected a positive whole number"),
        ({"pooling": "mean"}, "pooling: expected one of"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        vgg(**{"shape": (3, 9, 8), "hidden": (3, 4, 5, 6), **options})
