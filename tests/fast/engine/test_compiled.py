"""The compiled kernels against the reference, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from tests.helpers.spiking import Case, connected, convolutional, fill, seeded
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.engine import Engine
from tsnn_uq.fast.engine.compiled import Compiled
from tsnn_uq.fast.engine.layers import WORD, Layer, drop_weights
from tsnn_uq.fast.engine.reference import Reference
from tsnn_uq.fast.engine.sums import MAX_BYTE_SUM
from tsnn_uq.fast.engine.translate import translate
from tsnn_uq.networks import Conv2d, Linear, OverTime
from tsnn_uq.neurons import LIF
from tsnn_uq.uncertainty import Dropout

CASES = connected() | convolutional()


def both(case: Case) -> tuple[Engine, Engine]:
    compiled, reference = (Engine(case.network, case.shape, backend=name) for name in ("compiled", "reference"))
    return compiled, reference


def bits(words: np.ndarray, like: Tensor) -> Tensor:
    """Spikes [T, N, height, width, channels] of words [N, T, words]; none may be past the channels."""
    steps, count, height, width, channels = like.shape
    places = words.reshape(count, steps, height, width, -1, 1) >> np.arange(WORD, dtype=np.uint32) & 1
    assert not places.reshape(count, steps, height, width, -1)[..., channels:].any()
    return torch.from_numpy(places.reshape(count, steps, height, width, -1)[..., :channels]).transpose(0, 1).float()


def coded(case: Case, layer: Layer) -> Tensor:
    """Input [T, N, height, width, channels]."""
    window = layer.window
    inputs = case.network[0].code(case.images, (seeded(7),))
    held = inputs[:1] if case.network[0].kind == "constant" else inputs
    shape = window.channels, window.height, window.width
    return held.reshape(*held.shape[:2], *shape).permute(0, 1, 3, 4, 2)


@given(CASES)
def test_outputs_are_those_of_the_reference(case):
    compiled, reference = both(case)
    outputs = compiled(case.images, generator=seeded(7))
    assert torch.equal(outputs, reference(case.images, generator=seeded(7)))
    assert outputs.shape == (compiled.steps, len(case.images), outputs.shape[2])
    mean = compiled.logits(case.images, generator=seeded(7))
    assert torch.equal(mean, reference.logits(case.images, generator=seeded(7)))
    torch.testing.assert_close(mean, outputs.mean(0))


@given(CASES)
def test_spikes_of_every_layer_are_those_of_the_reference(case):
    program = translate(case.network, case.shape)
    steps, inputs = program.coding.steps, coded(case, program.layers[0])
    for number, layer in enumerate(program.layers, start=1):
        if layer.neuron is not None:
            words = Compiled(program.layers[:number]).spikes(inputs, steps)
            expected = Reference(program.layers[:number]).spikes(inputs, steps)
            assert torch.equal(bits(words, expected), expected)


@given(CASES)
def test_other_weights_take_the_place_of_the_first(case):
    """Ternary ones in bits and in bytes, and floats; the first runner keeps its own."""
    layers = translate(case.network, case.shape).layers
    fewer = [
        replace(layer, weights=layer.weights / 2)
        if layer.planes is None
        else replace(layer, planes=drop_weights(layer.planes, torch.full_like(layer.planes[:-1, 0], 0x55555555)))
        for layer in layers
    ]
    runner, before = Compiled(layers), Compiled(layers).constants
    changed = runner.with_weights(fewer)
    for ours, expected in zip(changed.constants, Compiled(fewer).constants, strict=True):
        assert np.array_equal(ours, expected)
    assert all(map(np.array_equal, runner.constants, before))
    assert (changed.layers, runner.layers) == (tuple(fewer), tuple(layers))


@given(CASES)
def test_a_network_may_be_cut_behind_any_spikes(case):
    program = translate(case.network, case.shape)
    steps, inputs = program.coding.steps, coded(case, program.layers[0])
    whole = Compiled(program.layers).outputs(inputs, steps)
    for number in range(1, len(program.layers)):
        words = Compiled(program.layers[:number]).spikes(inputs, steps)
        assert torch.equal(Compiled(program.layers[number:]).outputs(words, steps), whole)


@given(CASES)
def test_predictions_with_masks_are_those_of_the_reference(case):
    compiled, reference = both(case)
    layers = translate(case.network, case.shape).layers
    if not any(layer.random for layer in layers) and case.network[0].kind != "rate":
        return
    for per_step in (False, True):
        if layers[-1].outputs // layers[-1].votes == 1:
            with pytest.raises(InputError, match="at least two classes"):
                compiled.mc_predict(case.images, generator=seeded(2), per_step=per_step)
            continue
        probs, expected = (
            engine.mc_predict(case.images, samples=2, generator=seeded(2), per_step=per_step, batch_size=3)
            for engine in (compiled, reference)
        )
        assert torch.equal(probs, expected)


@pytest.mark.parametrize("inputs", [7, 15, 16, 17, MAX_BYTE_SUM, MAX_BYTE_SUM + 1, 127, 128, 255, 256, 4096, 32767])
@pytest.mark.parametrize("outputs", [3, 33, 64, 65, 128, 129])
def test_counters_hold_as_many_inputs_as_there_are(inputs, outputs):
    network = fill(nn.Sequential(Coding("latency", 1), nn.Flatten(2), Linear(inputs, outputs, bias=False)), "none")
    images = torch.ones(2, inputs)
    images[1, inputs // 2 :] = 0
    codes = torch.arange(outputs) % 3 - 1
    with torch.no_grad():
        network[2].weight[:] = codes[:, None]
    expected = torch.stack([inputs * codes, inputs // 2 * codes]).float()
    assert torch.equal(Engine(network, backend="compiled")(images)[0], expected)


def mixed(part: str) -> Case:
    """Convolution and linear layers, one kind of them ternary and the other float."""
    pooling = OverTime(nn.AvgPool2d(2))
    front = [Coding("latency", 4), Conv2d(2, 40, 3, padding=1), OverTime(nn.BatchNorm2d(40)), LIF(), Dropout(0.5)]
    network = fill(nn.Sequential(*front, pooling, nn.Flatten(2), Linear(360, 50), LIF(), Linear(50, 10)))
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv2d if part == "fc" else nn.Linear):
                layer.weight.normal_(0, 0.3, generator=seeded(1))
    return Case(network, torch.rand(5, 2, 6, 6, generator=seeded(0)), (2, 6, 6))


@pytest.mark.parametrize("part", ["conv", "fc"])
def test_float_layers_agree_up_to_rounding(part):
    case = mixed(part)
    program = translate(case.network, case.shape)
    assert [layer.planes is not None for layer in program.layers] == [part == "conv", part == "fc", part == "fc"]
    # A float sum near the threshold may decide otherwise in another order; none of these does.
    compiled, reference = both(case)
    outputs = compiled(case.images)
    assert outputs.std() > 0.1
    torch.testing.assert_close(outputs, reference(case.images), rtol=1e-5, atol=1e-5)
    draws = [engine.mc_predict(case.images, samples=4, generator=seeded(1)) for engine in (compiled, reference)]
    torch.testing.assert_close(*draws, rtol=1e-5, atol=1e-5)
