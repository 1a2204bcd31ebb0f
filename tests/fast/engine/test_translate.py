from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.helpers.spiking import fill, seeded
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.engine import BACKENDS, Engine
from tsnn_uq.fast.engine.layers import Masks
from tsnn_uq.fast.engine.translate import translate
from tsnn_uq.networks import Conv2d, Linear, OverTime, build
from tsnn_uq.neurons import LIF, LIFParameters
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.readout import Gain
from tsnn_uq.uncertainty import DropConnectLinear, Dropout, make_stochastic, mc_predict

SHAPE = (2, 6, 6)


def network(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(Coding("latency", 4), *layers)


def test_a_layer_knows_its_map_masks_and_neurons():
    neuron = LIFParameters(0.75, 2.0, "hard")
    first = [Conv2d(2, 5, (3, 2), stride=2, padding=1), LIF(neuron), Dropout(0.25, "per-step")]
    last = [OverTime(nn.MaxPool2d(3)), nn.Flatten(2), DropConnectLinear(5, 10, p=0.5), LIF(), Gain(3.0)]
    program = translate(fill(network(*first, *last)), SHAPE)
    convolution, linear = program.layers
    assert (program.coding_name, program.coding.steps) == ("0", 4)
    assert (convolution.window.kernel, convolution.window.stride, convolution.window.padding) == ((3, 2), 2, 1)
    assert (convolution.window.out_size, convolution.outputs, convolution.neuron) == ((3, 4), 5, neuron)
    assert (convolution.dropout, convolution.dropconnect, convolution.random) == (None, None, False)
    window = linear.window
    assert (window.channels, window.height, window.width, window.kernel) == (5, 3, 4, (1, 1))
    assert (window.pool, window.pool_kind, window.out_size, linear.outputs, linear.gain) == (3, "max", (1, 1), 10, 3.0)
    assert linear.dropout == Masks("3", 0.25, per_step=True)
    assert linear.dropconnect == Masks("6", 0.5)
    assert linear.random


def test_masks_have_the_names_of_the_network():
    inner = nn.Sequential(Linear(12, 4), LIF(), Dropout(0.5))
    nested = fill(nn.Sequential(nn.Sequential(Coding()), nn.Sequential(inner, nn.Sequential(Linear(4, 2)))))
    program = translate(nested)
    assert program.coding_name == "0.0"
    assert dict(nested.named_modules())["1.0.2"] is inner[2]
    assert program.layers[1].dropout == Masks("1.0.2", 0.5)


def test_ternary_weights_take_two_bits_and_float_ones_32():
    made = build("dropout", generator=seeded(0), sizes=(70, 50, 10))
    dense = Engine(made).weight_bytes
    assert dense == 4 * (70 * 64 + 50 * 32)
    ternarize(made)
    assert Engine(made).weight_bytes == 2 * 4 * (71 * 2 + 51 * 1)


@pytest.mark.parametrize("scale", ["layer", "channel", "none"])
def test_whether_the_ternary_weights_are_frozen_does_not_matter(scale):
    made = build("dropout", generator=seeded(0), sizes=(12, 40, 10))
    ternarize(made, scale=scale)
    frozen = copy.deepcopy(made)
    freeze(frozen)
    images = torch.rand(3, 12, generator=seeded(1))
    assert all(layer.planes is not None for layer in translate(made).layers)
    assert torch.equal(Engine(made)(images), Engine(frozen)(images))


def test_one_module_may_stand_at_several_places():
    neurons = LIF()
    shared = fill(network(Linear(12, 30), neurons, Linear(30, 20), neurons, Linear(20, 10), neurons))
    assert len(list(shared.children())) < len(shared)
    images = torch.rand(5, 12, generator=seeded(0))
    assert [layer.neuron is not None for layer in translate(shared).layers] == [True] * 3
    assert torch.equal(Engine(shared)(images), shared(images))


def test_what_does_nothing_is_passed_over():
    idle = [Dropout(0.0), nn.Identity(), nn.Flatten(2)]
    plain = network(Linear(12, 30), LIF(), Linear(30, 10))
    fill(plain)
    with_idle = network(*idle, plain[1], *idle, plain[2], *idle, plain[3], *idle)
    images = torch.rand(5, 12, generator=seeded(0))
    assert torch.equal(Engine(with_idle)(images), Engine(plain)(images))


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (nn.Sequential(), "at least one linear"),
        (nn.Linear(2, 2), r"a Sequential; got Linear \(.*from_nir"),
        (nn.Sequential(LIF(), Coding()), "synapses before '0', LIF"),
    ],
)
def test_what_is_no_network_is_refused(made, match):
    with pytest.raises(InputError, match=f"^network: expected {match}"):
        translate(made)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_without_a_coding_takes_currents_over_time(backend):
    layers = [Conv2d(2, 5, 3), LIF(), nn.Flatten(2), Linear(80, 40), LIF(), Linear(40, 10)]
    plain = fill(nn.Sequential(*layers), "power of two")
    currents = torch.randint(-4, 9, (4, 3, *SHAPE), generator=seeded(0)) / 8
    engine = Engine(plain, SHAPE, backend=backend)
    assert engine.steps is None
    assert torch.equal(engine(currents), plain(currents))
    torch.testing.assert_close(engine.logits(currents), plain(currents).mean(0))
    with pytest.raises(InputError, match=r"images: expected shape \[T, N, ...\] with 72 values"):
        engine(currents[0])


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((28, 28), r"expected channels, height and width; got \(28, 28\)"),
        ((), r"expected channels, height and width; got \(\)"),
        ((1, 0, 28), "expected a positive whole number; got 0"),
        ((1, 2.5, 28), "expected a positive whole number; got 2.5"),
        (None, "expected channels, height and width of an image, for convolutions; got none"),
    ],
)
def test_the_shape_of_an_image_is_checked(shape, match):
    with pytest.raises(InputError, match=rf"^input_shape: {match}$"):
        translate(network(Conv2d(1, 2, 3), LIF()), shape)


@pytest.mark.parametrize("coding", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "mask"), [("dropout", "fixed"), ("dropout", "per-step"), ("dropconnect", "fixed")])
def test_what_make_stochastic_puts_on_is_drawn_alike(kind, mask, backend, coding):
    layers = [Conv2d(2, 33, 3), LIF(), OverTime(nn.MaxPool2d(2)), Conv2d(33, 20, 2), LIF(), nn.Flatten(2)]
    made = fill(nn.Sequential(*[Coding("latency", 4)] * coding, *layers, Linear(20, 40), LIF(), Linear(40, 10)), "none")
    chosen = [name for name, layer in made.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)][1:]
    make_stochastic(made, kind, p=0.5, layers=chosen, mask=mask)
    images = (torch.rand(5, *SHAPE, generator=seeded(0)) > 0.5).float()
    inputs = images if coding else images.expand(4, *images.shape)
    options = {"samples": 3, "generator": seeded(1), "batch_size": 2}
    expected = mc_predict(made.eval(), inputs, **options, batch_dim=0 if coding else 1)
    found = Engine(made.train(), SHAPE, backend=backend).mc_predict(inputs, **options | {"generator": seeded(1)})
    assert expected.var(0).sum() > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_dropout_on_the_input_itself_is_refused():
    made = make_stochastic(model := build("dropout", generator=seeded(0), sizes=(12, 40, 10)), layers="all")
    assert made
    with pytest.raises(InputError, match="network: expected dropout on spikes"):
        translate(model)


TWICE = Dropout(0.5)
FAILING: dict[str, tuple[list[nn.Module], str]] = {
    "unknown": ([Linear(72, 3), nn.ReLU()], r"layers that the engine knows; got ReLU \('2'\)"),
    "torch-dropout": ([Linear(72, 3), LIF(), nn.Dropout()], r"layers that the engine knows; got Dropout \('3'\)"),
    "two-codings": ([Coding()], r"layers that the engine knows; got Coding \('1'\)"),
    "gain-of-currents": ([Linear(72, 3), Gain(2.0)], r"layers that the engine knows; got Gain \('2'\)"),
    "flatten-of-all": ([nn.Flatten(), Linear(72, 3)], r"layers that the engine knows; got Flatten \('1'\)"),
    "flatten-of-some": ([nn.Flatten(2, 3), Linear(72, 3)], r"layers that the engine knows; got Flatten \('1'\)"),
    "flatten-in-time": ([OverTime(nn.Flatten(2))], r"layers that the engine knows; got Flatten \('1.module'\)"),
    "nothing": ([nn.Flatten(2)], "at least one linear or convolutional layer; got none"),
    "no-spikes": ([Linear(72, 5), Linear(5, 3)], "spiking neurons before '2', Linear; got none"),
    "neurons-first": ([LIF()], "synapses before '1', LIF; got something else"),
    "neurons-twice": ([Linear(72, 3), LIF(), LIF()], "synapses before '3', LIF; got something else"),
    "features": ([Linear(71, 3)], "72 inputs of '1'; got 71"),
    "features-inside": ([Linear(72, 5), LIF(), Linear(4, 3)], "5 inputs of '3'; got 4"),
    "channels": ([Conv2d(3, 4, 3)], "2 inputs of '1'; got 3"),
    "kernel": ([Conv2d(2, 4, 7)], r"a map as large as the kernel of '1'; got Window\(channels=2, height=6"),
    "gain-inside": (
        [Linear(72, 3), LIF(), Gain(2.0), Linear(3, 3)],
        r"Gain as the last layer; got Linear \('4'\) behind it",
    ),
    "gain-twice": ([Linear(72, 3), LIF(), Gain(2.0), Gain(2.0)], r"Gain as the last layer; got Gain \('4'\) behind it"),
    "neurons-in-time": (
        [Linear(72, 3), OverTime(LIF())],
        r"BatchNorm and pooling, and only such, in an OverTime; got LIF \('2.module'\)",
    ),
    "dropout-in-time": ([Linear(72, 3), LIF(), OverTime(Dropout())], r"in an OverTime; got Dropout \('3.module'\)"),
    "norm-without-time": ([Linear(72, 3), nn.BatchNorm1d(3)], r"in an OverTime; got BatchNorm1d \('2'\)"),
    "pooling-without-time": ([Conv2d(2, 3, 3), LIF(), nn.MaxPool2d(2)], r"in an OverTime; got MaxPool2d \('3'\)"),
    "map-at-the-end": ([Conv2d(2, 3, 3), LIF()], "the last layer to give one value a class; got a map, or more behind"),
    "pooling-at-the-end": ([Conv2d(2, 3, 6), LIF(), OverTime(nn.MaxPool2d(2))], "the last layer to give one value"),
    "dropout-at-the-end": ([Linear(72, 3), LIF(), Dropout()], "the last layer to give one value a class"),
    "dropout-on-images": (
        [Dropout(0.5), Linear(72, 3)],
        r"dropout on spikes, once; got it elsewhere \('1'\)",
    ),
    "dropout-on-currents": ([Linear(72, 3), Dropout(0.5), LIF()], r"on spikes, once; got it elsewhere \('2'\)"),
    "dropout-on-dropout": (
        [Linear(72, 3), LIF(), Dropout(), Dropout()],
        r"on spikes, once; got it elsewhere \('4'\)",
    ),
    "dropout-on-both-sides-of-pooling": (
        [Conv2d(2, 3, 3), LIF(), Dropout(), OverTime(nn.MaxPool2d(2)), Dropout()],
        r"on spikes, once; got it elsewhere \('5'\)",
    ),
    "means-of-odd-numbers": (
        [Linear(72, 5), LIF(), OverTime(nn.AvgPool1d(2))],
        r"means of as many outputs for each class, which do not overlap; got AvgPool1d\(.*\) \('3.module'\)",
    ),
    "means-that-overlap": ([Linear(72, 6), LIF(), OverTime(nn.AvgPool1d(3, 2))], "which do not overlap; got AvgPool1d"),
    "means-of-nothing": ([OverTime(nn.AvgPool1d(2)), Linear(36, 3)], "which do not overlap; got AvgPool1d"),
    "means-inside": (
        [Linear(72, 6), LIF(), OverTime(nn.AvgPool1d(2)), Linear(3, 3)],
        r"Gain as the last layer; got Linear \('4'\) behind it",
    ),
    "masks-per-step": (
        [DropConnectLinear(72, 3, p=0.5, mask="per-step")],
        r"dropconnect masks that are fixed over time and shared by the inputs; got DropConnectLinear\(.*\) \('1'\)",
    ),
    "masks-per-input": ([DropConnectLinear(72, 3, p=0.5, per_input=True)], "masks that are fixed over time and shared"),
    "masks-twice": (
        [Linear(72, 5), LIF(), TWICE, Linear(5, 5), LIF(), TWICE, Linear(5, 3)],
        "each random layer once, since its masks go by its name; got one twice",
    ),
    "norm-without-statistics": (
        [Linear(72, 3), OverTime(nn.BatchNorm1d(3, track_running_stats=False))],
        r"BatchNorm with running statistics; got one without \('2.module'\)",
    ),
    "norm-of-a-map": (
        [Conv2d(2, 1, 3), nn.Flatten(2), OverTime(nn.BatchNorm1d(16))],
        r"BatchNorm of the 1 channels before it; got one of 16 \('3.module'\)",
    ),
    "norm-first": ([OverTime(nn.BatchNorm2d(2))], "synapses before '1.module', BatchNorm2d; got something else"),
    "norm-on-spikes": ([Linear(72, 3), LIF(), OverTime(nn.BatchNorm1d(3))], "synapses before '3.module', BatchNorm1d"),
}


@pytest.mark.parametrize("name", FAILING)
def test_what_the_engine_cannot_run_is_refused_by_name(name):
    layers, match = FAILING[name]
    with pytest.raises(InputError, match=f"^network: expected .*{match}"):
        translate(network(*layers), SHAPE)


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 2},
        {"dilation": 2},
        {"padding": 1, "padding_mode": "circular"},
        {"stride": (1, 2)},
        {"padding": (0, 1)},
        {"padding": "same"},
        {"padding": "valid"},
    ],
    ids=str,
)
def test_a_convolution_of_another_kind_is_refused(options):
    wanted = "a convolution without groups and dilation, stride and padding alike in both directions"
    with pytest.raises(InputError, match=rf"^network: expected {wanted}; got Conv2d\(.*\) \('1'\)$"):
        translate(network(Conv2d(2, 4, 2, **options)), SHAPE)


@pytest.mark.parametrize(
    "pooling",
    [
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d((2, 3)),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
        nn.AvgPool2d(2, divisor_override=1),
        nn.AvgPool2d(3, 2),
        nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d(2)),
    ],
    ids=str,
)
def test_pooling_of_another_kind_is_refused(pooling):
    wanted = "pooling of spikes, once, in squares that do not overlap"
    with pytest.raises(InputError, match=rf"^network: expected {wanted}; got .*Pool2d\("):
        translate(network(Conv2d(2, 4, 1), LIF(), OverTime(pooling)), SHAPE)


@pytest.mark.parametrize("before", [[], [Conv2d(2, 4, 1)]])
def test_pooling_of_anything_but_spikes_is_refused(before):
    with pytest.raises(InputError, match=r"^network: expected pooling of spikes"):
        translate(network(*before, OverTime(nn.AvgPool2d(2))), SHAPE)
