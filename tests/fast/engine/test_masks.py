"""The engine's random predictions are the network's own: `tsnn_uq.uncertainty.mc_predict` is the oracle.

Weights are powers of two, p is a half and T is 4, so that no sum rounds and equality is exact.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.spiking import fill, seeded
from tsnn_uq.coding import Coding
from tsnn_uq.engine import BACKENDS, Engine
from tsnn_uq.fast.engine.layers import unpack_planes
from tsnn_uq.fast.engine.masks import Draw, active
from tsnn_uq.fast.engine.translate import translate
from tsnn_uq.networks import Conv2d, Linear, OverTime, build
from tsnn_uq.neurons import LIF
from tsnn_uq.uncertainty import MASK_MODES, DropConnectLinear, Dropout, mc_predict

STEPS, SHAPE = 4, (2, 6, 5)


def family(name: str = "dropout", **options) -> nn.Module:
    options = {"sizes": (60, 40, 33, 10), "steps": STEPS, "p": 0.5} | options
    return fill(build(name, generator=seeded(0), **options), "power of two")


def convolutional(mask: str = "fixed", coding: str = "constant") -> nn.Module:
    """Masks on maps, which are pooled, on vectors and on weights, some fixed and some not."""
    other = next(mode for mode in MASK_MODES if mode != mask)
    return fill(
        nn.Sequential(
            *(Coding(coding, STEPS), Conv2d(2, 36, 3, padding=1), LIF(), Dropout(0.5, mask), OverTime(nn.AvgPool2d(2))),
            *(Conv2d(36, 5, (2, 1)), LIF(), Dropout(0.5, other), nn.Flatten(2), Linear(20, 40), LIF()),
            *(Dropout(0.5, mask), DropConnectLinear(40, 10, p=0.5)),
        ),
        "power of two",
    )


def behind_a_map() -> nn.Module:
    """Weights dropped at random that belong to the places of a map."""
    front = [Coding(steps=STEPS), Conv2d(2, 5, 3), LIF(), OverTime(nn.MaxPool2d((1, 1)))]
    return fill(nn.Sequential(*front, nn.Flatten(2), DropConnectLinear(60, 10, p=0.5)), "power of two")


NETWORKS = {
    **{
        f"{name}-{mask}-{coding}": lambda name=name, mask=mask, coding=coding: family(name, mask=mask, coding=coding)
        for name, mask in (("dropout", "fixed"), ("dropout", "per-step"), ("dropconnect", "fixed"))
        for coding in ("constant", "rate", "latency")
    },
    "dropout-spikes": lambda: family(readout="spikes"),
    "dropconnect-spikes": lambda: family("dropconnect", readout="spikes"),
    "rate-alone": lambda: family(coding="rate", p=0.0),
    "convolutional-fixed": convolutional,
    "convolutional-per-step": lambda: convolutional("per-step"),
    "convolutional-rate": lambda: convolutional(coding="rate"),
    "dropconnect-behind-a-map": behind_a_map,
    "nested": lambda: nn.Sequential(family()[:2], nn.Sequential(family()[2:5], family()[5:])),
}


def images(count: int = 7) -> Tensor:
    return torch.randint(0, 5, (count, *SHAPE), generator=seeded(2)) / 4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_draw_is_the_networks_own(name, backend):
    network = NETWORKS[name]()
    options = {"samples": 5, "batch_size": 3}
    expected = mc_predict(network, images(), generator=seeded(3), **options)
    engine = Engine(network, SHAPE, backend=backend)
    assert torch.equal(engine.mc_predict(images(), generator=seeded(3), **options), expected)
    assert expected.std(0).max() > 0.01
    expected = mc_predict(network, images(), generator=seeded(3), per_step=True, **options)
    assert torch.equal(engine.mc_predict(images(), generator=seeded(3), per_step=True, **options), expected)
    assert expected.shape == (5, STEPS, 7, 10)


@pytest.mark.parametrize("name", ["dropout", "dropconnect"])
def test_with_other_scales_and_probabilities_it_is_equal_up_to_rounding(name):
    network = family(name, p=0.3)
    fill(network, "channel")
    options = {"samples": 6, "batch_size": 4}
    expected = mc_predict(network, images(9), generator=seeded(3), **options)
    probs = Engine(network).mc_predict(images(9), generator=seeded(3), **options)
    torch.testing.assert_close(probs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["dropout-per-step-constant", "dropconnect-fixed-constant", "convolutional-rate"])
def test_neither_memory_limit_nor_threads_change_a_draw(name, backend):
    engine = Engine(NETWORKS[name](), SHAPE, backend=backend)

    def predict(memory_limit: float) -> Tensor:
        return engine.mc_predict(images(), samples=5, generator=seeded(3), memory_limit=memory_limit)

    plain = predict(2**28)
    for limit in (1, 0.5, 20_000, 1e5):
        assert torch.equal(predict(limit), plain)
    threads = torch.get_num_threads()
    try:
        for number in (2, 3):
            torch.set_num_threads(number)
            assert torch.equal(predict(2**28), plain)
    finally:
        torch.set_num_threads(threads)


def test_the_generator_advances_by_one_draw():
    generator, twin = seeded(3), seeded(3)
    Engine(family()).mc_predict(images(), samples=2, generator=generator, batch_size=2)
    torch.randint(2**62, (), generator=twin)
    assert torch.equal(generator.get_state(), twin.get_state())


def test_more_samples_are_the_same_samples_and_more():
    engine = Engine(family())
    few, many = (engine.mc_predict(images(), samples=s, generator=seeded(1)) for s in (3, 8))
    assert torch.equal(many[:3], few)


def test_progress_counts_images():
    seen: list[int] = []
    Engine(family()).mc_predict(images(), samples=2, generator=seeded(1), batch_size=3, progress=seen.append)
    assert seen == [3, 6, 7]


@pytest.mark.parametrize("ternary", [True, False])
def test_weights_are_dropped_one_by_one_and_the_others_count_more(ternary):
    network = nn.Sequential(Coding(steps=2), nn.Flatten(2), DropConnectLinear(500, 40, p=0.3))
    with torch.no_grad():
        network[2].weight.copy_(torch.ones(40, 500) if ternary else torch.rand(40, 500, generator=seeded(0)) + 1)
    (layer,) = translate(network).layers
    dropped = Draw(seed=1, block=0, steps=2, count=3).weights(layer, sample=0)
    weights = unpack_planes(dropped.planes, 40) if ternary else dropped.weights[:, :40]
    kept = weights != 0
    assert abs(kept.float().mean() - 0.7) < 5 * (0.3 * 0.7 / kept.numel()) ** 0.5
    assert torch.equal(weights, network[2].weight.detach().T * kept)
    torch.testing.assert_close(active(layer).scale, layer.scale / 0.7)
    assert torch.equal(active(layer).bias, layer.bias)
    again, other = (Draw(1, block, 2, 3).weights(layer, sample) for block, sample in ((5, 0), (0, 1)))
    name = "planes" if ternary else "weights"
    assert torch.equal(getattr(again, name), getattr(dropped, name))
    assert not torch.equal(getattr(other, name), getattr(dropped, name))


@pytest.mark.parametrize(("mask", "steps"), [("fixed", 1), ("per-step", STEPS)])
def test_spikes_are_dropped_as_often_as_p_says(mask, steps):
    layers = translate(convolutional(mask), SHAPE).layers
    draw = Draw(seed=1, block=0, steps=STEPS, count=50)
    keep = draw.inputs(layers, sample=0)
    assert [len(one) for one in keep] == [steps, STEPS + 1 - steps, steps]
    assert keep[0].shape == (steps, 50, 6, 5, 36)
    for one in keep:
        assert abs(one.float().mean() - 0.5) < 5 * 0.5 / one.numel() ** 0.5
    assert torch.equal(draw.inputs(layers, 0)[0], keep[0])
    for other in (
        Draw(1, 1, STEPS, 50).inputs(layers, 0),
        draw.inputs(layers, 1),
        Draw(2, 0, STEPS, 50).inputs(layers, 0),
    ):
        assert not torch.equal(other[0], keep[0])
