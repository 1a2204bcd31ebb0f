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
from tsnn_uq.neurons import LI, LIF, LIFParameters
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.readout import Gain, logits_over_time
from tsnn_uq.stopping import ConformalStopping
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
    window = convolution.window
    assert (window.kernel, window.stride, window.padding) == ((3, 2), (2, 2), ((1, 1), (1, 1)))
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
        (nn.Sequential(), "at least one layer of weights or neurons"),
        (nn.Linear(2, 2), r"a Sequential; got Linear \(.*from_nir"),
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
        ((1, 1, 28, 28), "expected one to three sizes, channels"),
        ((), "expected one to three sizes, channels"),
        ((1, 0, 28), "expected a positive whole number"),
        ((1, 2.5, 28), "expected a positive whole number"),
        (None, "expected the shape of an input, which '1'"),
    ],
)
def test_the_shape_of_an_image_is_checked(shape, match):
    with pytest.raises(InputError, match=f"^input_shape: {match}"):
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
    with pytest.raises(InputError, match="network: expected at most one dropout"):
        translate(model)


TWICE = Dropout(0.5)
FAILING: dict[str, tuple[list[nn.Module], str]] = {
    "unknown": ([Linear(72, 3), nn.ReLU()], r"layers that the engine knows; got ReLU \('2'\)"),
    "torch-dropout": ([Linear(72, 3), LIF(), nn.Dropout()], r"layers that the engine knows; got Dropout \('3'\)"),
    "two-codings": ([Coding()], r"layers that the engine knows; got Coding \('1'\)"),
    "flatten-of-all": ([nn.Flatten(), Linear(72, 3)], r"layers that the engine knows; got Flatten \('1'\)"),
    "flatten-in-time": ([OverTime(nn.Flatten(2))], "outputs with one axis, the classes"),
    "map-into-linear": ([Conv2d(2, 3, 3), LIF(), Linear(48, 3)], "a Flatten between a map and '3', Linear"),
    "padding": (
        [Conv2d(2, 4, 2, padding=1, padding_mode="circular")],
        r"convolutions padded with zeros; got Conv2d\(.*\) \('1'\)",
    ),
    "nothing": ([nn.Flatten(2)], "at least one layer of weights or neurons"),
    "neurons-first": ([LIF()], "outputs with one axis, the classes"),
    "features": ([Linear(71, 3)], "72 inputs of '1'"),
    "features-inside": ([Linear(72, 5), LIF(), Linear(4, 3)], "5 inputs of '3'"),
    "channels": ([Conv2d(3, 4, 3)], "2 inputs of '1'"),
    "kernel": ([Conv2d(2, 4, 7)], r"a map as large as the kernel of '1'; got Window\(channels=2, height=6"),
    "gain-inside": (
        [Linear(72, 3), LIF(), Gain(2.0), Linear(3, 3)],
        r"Gain as the last layer; got Linear \('4'\) after it",
    ),
    "gain-twice": ([Linear(72, 3), LIF(), Gain(2.0), Gain(2.0)], r"Gain as the last layer; got Gain \('4'\) after it"),
    "neurons-in-time": (
        [Linear(72, 3), OverTime(LIF())],
        r"BatchNorm, pooling and Conv1d, and only such, in an OverTime; got LIF \('2.module'\)",
    ),
    "dropout-in-time": ([Linear(72, 3), LIF(), OverTime(Dropout())], r"in an OverTime; got Dropout \('3.module'\)"),
    "norm-without-time": ([Linear(72, 3), nn.BatchNorm1d(3)], r"in an OverTime; got BatchNorm1d \('2'\)"),
    "pooling-without-time": ([Conv2d(2, 3, 3), LIF(), nn.MaxPool2d(2)], r"in an OverTime; got MaxPool2d \('3'\)"),
    "map-at-the-end": ([Conv2d(2, 3, 3), LIF()], "outputs with one axis, the classes"),
    "pooling-at-the-end": (
        [Conv2d(2, 3, 6), LIF(), OverTime(nn.MaxPool2d(2))],
        "a map as large as the kernel of 'the last pooling'",
    ),
    "dropout-at-the-end": ([Linear(72, 3), LIF(), Dropout()], "outputs with one axis, the classes, and no dropout"),
    "dropout-on-images": (
        [Dropout(0.5), Linear(72, 3)],
        r"at most one dropout, after a layer; got it elsewhere \('1'\)",
    ),
    "dropout-on-dropout": (
        [Linear(72, 3), LIF(), Dropout(), Dropout()],
        r"after a layer; got it elsewhere \('4'\)",
    ),
    "dropout-on-both-sides-of-pooling": (
        [Conv2d(2, 3, 3), LIF(), Dropout(), OverTime(nn.MaxPool2d(2)), Dropout()],
        r"after a layer; got it elsewhere \('5'\)",
    ),
    "means-of-odd-numbers": (
        [Linear(72, 5), LIF(), OverTime(nn.AvgPool1d(2))],
        r"AvgPool1d over the same number of outputs for each class.*; got AvgPool1d\(.*\) \('3.module'\)",
    ),
    "means-that-overlap": ([Linear(72, 6), LIF(), OverTime(nn.AvgPool1d(3, 2))], "without overlap"),
    "means-of-nothing": ([OverTime(nn.AvgPool1d(2)), Linear(36, 3)], "without overlap"),
    "means-inside": (
        [Linear(72, 6), LIF(), OverTime(nn.AvgPool1d(2)), Linear(3, 3)],
        r"Gain as the last layer; got Linear \('4'\) after it",
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
    "norm-first": (
        [OverTime(nn.BatchNorm2d(2))],
        "a layer with weights right before '1.module', BatchNorm2d",
    ),
    "norm-on-spikes": (
        [Linear(72, 3), LIF(), OverTime(nn.BatchNorm1d(3))],
        "a layer with weights right before '3.module', BatchNorm1d",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_what_the_engine_cannot_run_is_refused_by_name(name):
    layers, match = FAILING[name]
    with pytest.raises(InputError, match=f"^network: expected .*{match}"):
        translate(network(*layers), SHAPE)


@pytest.mark.parametrize(
    "pooling",
    [
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d((2, 3)),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AvgPool2d(2, padding=1, count_include_pad=False),
    ],
    ids=str,
)
def test_pooling_of_another_kind_is_refused(pooling):
    wanted = "(maximum pooling in squares that do not overlap|average pooling of whole windows, padding counted)"
    with pytest.raises(InputError, match=f"^network: expected {wanted}"):
        translate(network(Conv2d(2, 4, 1), LIF(), OverTime(pooling)), SHAPE)


def ends(*layers: nn.Module, features: int) -> list[nn.Module]:
    """Layers, and a linear one behind them."""
    return [*layers, nn.Flatten(2), Linear(features, 5)]


def strided(**options: object) -> nn.Module:
    return Conv2d(2, 4, (3, 2), **options)


# Layers, and whether the kernels have them.
OTHER: dict[str, tuple[list[nn.Module], bool]] = {
    "stride": (ends(strided(stride=(1, 2)), LIF(), features=48), True),
    "padding": (ends(strided(padding=(0, 2)), LIF(), features=4 * 4 * 9), True),
    "dilation": (ends(strided(dilation=(2, 3), padding=(3, 1)), LIF(), features=4 * 8 * 5), True),
    "dilation-of-spikes": (ends(Conv2d(2, 4, 1), LIF(), Conv2d(4, 4, (3, 2), dilation=2), LIF(), features=32), True),
    "same": (ends(strided(padding="same"), LIF(), features=4 * 36), True),
    "valid": (ends(strided(padding="valid"), LIF(), features=4 * 4 * 5), True),
    "sums": (ends(strided(), LIF(), OverTime(nn.AvgPool2d(2, divisor_override=1)), features=16), True),
    "groups": (ends(strided(groups=2), LIF(), features=4 * 4 * 5), False),
    "mean-that-overlaps": (ends(strided(), LIF(), OverTime(nn.AvgPool2d(3, 1, 1)), features=80), False),
    "sum-of-rows": (ends(strided(), LIF(), OverTime(nn.AvgPool2d((2, 1), divisor_override=1)), features=40), False),
    "sum-divided": (ends(strided(), LIF(), OverTime(nn.AvgPool2d(2, divisor_override=3)), features=16), False),
    "pooling-twice": (ends(Conv2d(2, 4, 1), LIF(), *[OverTime(nn.AvgPool2d(2))] * 2, features=4), False),
    "pooling-of-images": (ends(OverTime(nn.AvgPool2d(2)), Conv2d(2, 4, 2), LIF(), features=16), False),
    "pooling-of-currents": (ends(strided(), OverTime(nn.MaxPool2d(2)), LIF(), features=16), False),
    "pooling-at-the-end": ([Conv2d(2, 4, 2), LIF(), OverTime(nn.AvgPool2d(5)), nn.Flatten(2)], False),
    "map-at-the-end": ([strided(), LIF(), nn.Flatten(2)], False),
    "neurons-first": ([LIF(), *ends(strided(), LIF(), features=80)], False),
    "neurons-twice": (ends(strided(), LIF(), LIF(), features=80), False),
    "no-neurons": (ends(strided(), Conv2d(4, 4, 2), features=48), False),
    "potentials": ([*ends(strided(), LIF(), features=80), LI(0.75, 0.5)], False),
    "synapses-with-time": (ends(strided(), LI(0.5), LIF(), features=80), False),
    "gain-of-potentials": ([*ends(strided(), LIF(), features=80), LI(0.75), Gain(3.0)], False),
    "gain-of-currents": ([*ends(strided(), LIF(), features=80), Gain(3.0)], True),
    "flatten-of-some": (
        [strided(), LIF(), nn.Flatten(2, 3), OverTime(nn.Conv1d(16, 3, 2, stride=2)), LIF(), *ends(features=6)],
        False,
    ),
    "rows-as-one": ([nn.Flatten(3), OverTime(nn.Conv1d(2, 3, 5, dilation=2)), LIF(), *ends(features=84)], False),
}


def currents(count: int = 6) -> torch.Tensor:
    return torch.randint(-4, 9, (5, count, *SHAPE), generator=seeded(0)) / 8


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", OTHER)
def test_other_layers_give_what_they_gave(name):
    layers, kernels = OTHER[name]
    made = fill(nn.Sequential(*copy.deepcopy(layers)), "power of two")
    expected = made(currents())
    assert expected.std() > 0
    engine = Engine(made, SHAPE)
    assert engine.backend == ("compiled" if kernels else "reference")
    for backend in ("compiled", "reference") if kernels else ("reference",):
        torch.testing.assert_close(Engine(made, SHAPE, backend=backend)(currents()), expected, rtol=1e-6, atol=1e-6)
    rule = ConformalStopping().fit(logits_over_time(expected).softmax(-1), expected.mean(0).argmax(-1))
    found = engine.run_until(rule, currents(), batch_size=4)
    assert all(map(torch.equal, found, rule.stop(logits_over_time(engine(currents())).softmax(-1))))


@pytest.mark.parametrize("name", ["groups", "synapses-with-time", "flatten-of-some", "no-neurons"])
@pytest.mark.parametrize("kind", ["dropout", "dropconnect"])
def test_other_layers_draw_what_they_drew(name, kind):
    made = fill(nn.Sequential(*copy.deepcopy(OTHER[name][0])), "power of two")
    chosen = [key for key, layer in made.named_modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)]
    make_stochastic(made, kind, p=0.5, layers=chosen[kind == "dropout" :])
    options = {"samples": 3, "batch_size": 4}
    expected = mc_predict(made, currents(), generator=seeded(1), batch_dim=1, **options)
    found = Engine(made, SHAPE).mc_predict(currents(), generator=seeded(1), **options)
    assert expected.var(0).sum() > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_convolutions_over_one_axis_are_compiled():
    layers = [OverTime(nn.Conv1d(2, 40, 3, stride=2, padding=1)), LIF(), nn.Flatten(2), Linear(240, 33), LIF()]
    made = fill(nn.Sequential(*layers, Linear(33, 3)), "power of two")
    inputs = torch.randint(0, 9, (5, 6, 2, 12), generator=seeded(0)) / 8
    for backend in BACKENDS:
        torch.testing.assert_close(Engine(made, (2, 12), backend=backend)(inputs), made(inputs))
    with pytest.raises(InputError, match=r"images: expected shape \[T, N, 2, 12\]"):
        Engine(made, (2, 12))(inputs.reshape(5, 6, 12, 2))
