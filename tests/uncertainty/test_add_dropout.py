"""Networks without dropout made stochastic, whichever library they are from, and made deterministic again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.monte_carlo import TRIED, exact, images, seeded
from tests.helpers.peers import PEERS, STEPS, library, peer
from tests.helpers.replay import Noted, alone, given
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.networks import Conv2d, Linear, OverTime, build
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.uncertainty import (
    MASK_MODES,
    DropConnectLinear,
    draw_masks,
    make_deterministic,
    make_stochastic,
    mc_predict,
    rest,
    set_generator,
    stochastic_layers,
)

SAMPLES, COUNT = 5, 6
LAST = {
    "snntorch hidden": "out",
    "snntorch loop": "fc2",
    "spikingjelly multi": "3",
    "spikingjelly single": "layers.3",
    "spikingjelly folded": "2.1",
    "norse": "3.lifted_module",
    "norse loop": "fc2",
}
AT_ONCE = {"spikingjelly multi": (1, 1), "spikingjelly folded": (0, STEPS)}  # axis of inputs, steps folded into it


def silent(name: str) -> tuple[nn.Module, Tensor, dict[str, Any]]:
    """A network in which nothing is random."""
    return peer(name, 0.0)


def read(options: dict[str, Any]) -> Any:
    return options.get("output", lambda outputs: outputs)


@pytest.mark.parametrize("mask", MASK_MODES)
@pytest.mark.parametrize("name", PEERS)
def test_with_dropout_each_sample_is_the_network_with_its_masks(name, mask):
    network, inputs, options = silent(name)
    assert make_stochastic(network, "dropout", p=0.5, layers=[LAST[name]], mask=mask) == [LAST[name]]
    (dropout,) = stochastic_layers(network).values()
    noted = Noted(dropout)
    probs = mc_predict(network, inputs, samples=SAMPLES, generator=seeded(1), **options)
    calls = 1 if name in AT_ONCE else STEPS
    samples = noted.by_sample(calls, COUNT, *AT_ONCE.get(name, (0, 1)))
    assert len(samples) == SAMPLES
    changes = 0
    for sample, masks in enumerate(samples):
        with given(dropout, masks):
            torch.testing.assert_close(probs[sample], alone(network, inputs, read(options)))
        steps = torch.cat(masks).reshape(STEPS, COUNT, -1)
        assert steps[steps >= 0].unique().tolist() == [0, 2]
        changes += ((steps >= 0) & (steps != steps.amax(0))).sum().item()
    assert (changes == 0) == (mask == "fixed")
    assert probs.std(0).max() > 0.01
    for memory_limit in (1, 20_000):  # each sample has its own generator
        limited = mc_predict(
            network, inputs, samples=SAMPLES, generator=seeded(1), memory_limit=memory_limit, **options
        )
        torch.testing.assert_close(limited, probs)


@pytest.mark.parametrize("mask", MASK_MODES)
@pytest.mark.parametrize("name", PEERS)
def test_with_dropconnect_each_sample_is_the_network_with_its_weights(name, mask):
    network, inputs, options = silent(name)
    ternarize(network)
    assert make_stochastic(network, "dropconnect", p=0.5, layers=[LAST[name]], mask=mask) == [LAST[name]]
    plain = network.get_submodule(LAST[name]).eval().weight.detach().clone()
    (dropped,) = stochastic_layers(network).values()
    used: list[Tensor] = []
    handle = dropped.register_forward_hook(lambda _, __, weight: used.append(weight))
    probs = mc_predict(network, inputs, samples=SAMPLES, generator=seeded(1), batch_size=4, **options)
    handle.remove()
    used = [weight for weight in used if not torch.equal(weight, plain)]  # but where it is looked on with no mask
    each = 1 if mask == "fixed" else STEPS
    assert len(used) == 2 * SAMPLES * each  # two blocks of inputs; a fixed weight is computed once in a pass
    assert all(map(torch.equal, used[: SAMPLES * each], used[SAMPLES * each :]))  # of one network
    assert len(torch.stack(used).unique(dim=0)) == SAMPLES * each
    for weight in used:
        assert torch.isin(weight, torch.stack([0 * plain, 2 * plain])).all()  # ternary still
    for sample in range(SAMPLES):
        weights = used[sample * each : (sample + 1) * each] * (STEPS if mask == "fixed" else 1)
        expected = with_weights(network, LAST[name], weights, inputs, options)
        torch.testing.assert_close(probs[sample], expected)


def with_weights(network: nn.Module, name: str, weights: list[Tensor], inputs: Tensor, options: dict) -> Tensor:
    """Run a network whose layer has these weights, one a step."""
    layer = network.get_submodule(name)
    upcoming = iter(weights)

    def step(x: Tensor) -> Tensor:
        return functional.linear(x, next(upcoming), layer.bias)

    def forward(x: Tensor) -> Tensor:
        if x.dim() == 3:
            return torch.stack([step(one) for one in x])
        return torch.cat([step(one) for one in x.split(COUNT)])

    layer.forward = forward
    try:
        return alone(network, inputs, read(options))
    finally:
        del layer.forward


@pytest.mark.parametrize("kind", ["dropout", "dropconnect"])
def test_the_moments_are_those_of_a_loop_over_samples(kind):
    network, inputs, _ = silent("snntorch hidden")
    layers = [network.hidden[0], network.out]
    make_stochastic(network, kind, p=0.3)
    folded = mc_predict(network, inputs, samples=400, generator=seeded(1))
    make_deterministic(network.eval())
    weights, generator, drawn = [layer.weight.detach().clone() for layer in layers], seeded(2), []
    with torch.no_grad():
        for _ in range(300):
            sizes = [(COUNT, weight.shape[1]) if kind == "dropout" else weight.shape for weight in weights]
            masks = [(torch.rand(size, generator=generator) >= 0.3) / 0.7 for size in sizes]
            rest(network)
            hidden, steps = network.hidden, []
            for _ in range(STEPS):
                if kind == "dropout":
                    spikes = hidden[1](hidden[0](4 * inputs * masks[0]))
                    steps.append(network.out(spikes * masks[1]))
                else:
                    spikes = hidden[1](functional.linear(4 * inputs, weights[0] * masks[0], layers[0].bias))
                    steps.append(functional.linear(spikes, weights[1] * masks[1], layers[1].bias))
            drawn.append(torch.stack(steps).mean(0).softmax(-1))
    looped = torch.stack(drawn)
    for power in (1, 2):
        ours, theirs = folded**power, looped**power
        error = (ours.var(0) / 400 + theirs.var(0) / 300).sqrt()
        assert ((ours.mean(0) - theirs.mean(0)).abs() <= 5 * error + 1e-6).all()


def ours() -> dict[str, nn.Module]:
    return {
        "linear": nn.Sequential(Coding(steps=3), nn.Flatten(2), Linear(12, 8), nn.ReLU(), Linear(8, 5)),
        "folded": nn.Sequential(Coding(steps=3), OverTime(nn.Conv2d(1, 2, 3)), nn.ReLU(), nn.Flatten(2), Linear(4, 5)),
        "maps": nn.Sequential(Coding(steps=3), Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(2), Linear(4, 5)),
        "no time": nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 5)),
    }


@pytest.mark.parametrize("mask", MASK_MODES)
@pytest.mark.parametrize("kind", ["dropout", "dropconnect"])
@pytest.mark.parametrize("name", ours())
def test_layers_that_see_steps_in_other_ways(name, kind, mask):
    network = exact(ours()[name])
    layers = make_stochastic(network, kind, p=0.5, mask=mask)
    assert len(layers) == 2
    probs = mc_predict(network, images(), samples=40, generator=seeded(1), batch_size=4)
    assert len(probs[:, :4].flatten(1).unique(dim=0)) > 30
    if name != "no time":
        over_time = mc_predict(network, images(), samples=40, generator=seeded(1), per_step=True)
        assert torch.allclose(over_time[:, -1], over_time[:, 0]) == (mask == "fixed")  # no neurons, constant input
    if kind == "dropconnect":
        same = mc_predict(network, images(1).expand(7, -1, -1, -1), samples=9, generator=seeded(1), batch_size=3)
        assert (same == same[:, :1]).all()


def test_constant_input_stays_held_under_a_fixed_mask():
    network = exact(nn.Sequential(Coding(steps=3), nn.Flatten(2), Linear(12, 5)))
    make_stochastic(network, p=0.5)
    strides: list[int] = []
    network[2].register_forward_hook(lambda _, given, __: strides.append(given[0].stride(0)))
    held = mc_predict(network, images(), samples=4, generator=seeded(1))
    assert set(strides) == {0}
    copied = nn.Sequential(nn.Flatten(2), network[2])
    current = images().expand(3, 7, 1, 3, 4).contiguous()
    assert mc_predict(copied, current, samples=4, generator=seeded(1), batch_dim=1).shape == held.shape


def test_a_layer_at_two_places_has_a_mask_for_each():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.fc = nn.Linear(4, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.fc(self.fc(1 + self.encoder(x).sigmoid()).exp()) for _ in range(STEPS)])

    network = Twice()
    make_stochastic(network, p=0.5, layers=["fc"])
    noted = Noted(network.fc.input_dropout)
    mc_predict(network, torch.rand(COUNT, 4), samples=1, generator=seeded(1))
    one, other = torch.stack(noted.calls[-2 * STEPS :]).unflatten(0, (STEPS, 2)).unbind(1)
    assert (one == one[0]).all()
    assert (other == other[0]).all()
    assert (one[0] != other[0]).any()


@pytest.mark.parametrize("kind", ["dropout", "dropconnect"])
@pytest.mark.parametrize("ternary", [False, True])
def test_it_is_undone(kind, ternary):
    network, inputs, _ = silent("snntorch hidden")
    if ternary:
        ternarize(network)
    before, expected = state_of(network), alone(network, inputs)
    parameters = set(map(id, network.parameters()))
    types = [type(module) for module in network.modules()]
    assert make_stochastic(network, kind, p=0.5) == ["hidden.0", "out"]
    assert set(map(id, network.parameters())) == parameters  # as an optimizer knows them
    assert torch.equal(alone(network, inputs), expected)  # in evaluation mode nothing changes
    twin = copy.deepcopy(network)
    assert make_deterministic(network) == ["hidden.0", "out"]
    assert state_of(network) == before
    assert [type(module) for module in network.modules()] == types
    assert set(map(id, network.parameters())) == parameters
    assert torch.equal(alone(network, inputs), expected)
    assert make_deterministic(network) == []
    assert len(stochastic_layers(twin)) == 2  # a copy stands on its own
    assert mc_predict(twin, inputs, samples=3, generator=seeded(1)).std(0).max() > 0.01
    assert make_deterministic(twin) == ["hidden.0", "out"]
    assert torch.equal(alone(twin, inputs), expected)


def state_of(network: nn.Module) -> list[tuple[str, list[float], int]]:
    hooks = sum(len(module._forward_pre_hooks) for module in network.modules())
    return [
        (name, value.flatten().tolist(), hooks) for name, value in network.state_dict().items() if "mem" not in name
    ]


def test_frozen_ternary_weights_are_dropped_too():
    network = build("dropout", sizes=(12, 16, 5), steps=3, p=0.0, generator=seeded(0))
    ternarize(network, scale="none")
    freeze(network)
    make_stochastic(network, "dropconnect", p=0.5, layers="fc")
    weights = []
    for layer in network:
        if hasattr(layer, "parametrizations"):
            layer.register_forward_hook(lambda layer, *_: weights.append(layer.weight))
    assert mc_predict(network, images(), samples=3, generator=seeded(1)).std(0).max() > 0.01
    dropped = weights[2 * len(TRIED) :]  # first it was tried with nothing dropped
    assert torch.cat([weight.flatten() for weight in dropped]).unique().tolist() == [-2, 0, 2]


def test_masks_in_training_are_kept_until_rest():
    layer = nn.Linear(4, 3).train()
    for kind in ("dropout", "dropconnect"):
        make_stochastic(layer, kind, p=0.5)
        with pytest.raises(InputError, match=r"^generator: .* draws random masks; expected set_generator"):
            layer(torch.ones(2, 4))
        set_generator(layer, seeded(0))
        first = layer(torch.ones(2, 4))
        assert torch.equal(layer(torch.ones(2, 4)), first)
        rest(layer)
        assert not torch.equal(layer(torch.ones(2, 4)), first)
        layer(torch.ones(2, 4)).sum().backward()
        assert (layer.eval().weight.shape, layer.train().training) == ((3, 4), True)
        make_deterministic(layer)
    assert layer.weight.grad is not None


def test_masks_in_training_are_those_of_the_generator():
    layer, inputs = nn.Linear(4, 3, bias=False), torch.rand(5, 2, 4, generator=seeded(1))
    make_stochastic(layer, p=0.5)
    set_generator(layer, seeded(0))
    (mask,) = draw_masks((1, 2, 4), 0.5, [seeded(0)], inputs)
    torch.testing.assert_close(layer(inputs), functional.linear(inputs * mask, layer.weight))
    torch.testing.assert_close(layer(inputs[0]), functional.linear(inputs[0] * mask[0], layer.weight))  # a step of them
    with pytest.raises(InputError, match=r"^inputs: expected shape \[2, 4\]"):
        layer(torch.ones(3, 4))
    with pytest.raises(InputError, match=r"^inputs: expected 2 axes, or 3"):
        layer(torch.ones(4))
    with pytest.raises(InputError, match=r"^inputs: expected Linear to be given its"):
        layer(input=torch.ones(2, 4))
    make_deterministic(layer)
    make_stochastic(layer, "dropconnect", p=0.5)
    set_generator(layer, seeded(0))
    (mask,) = draw_masks((3, 4), 0.5, [seeded(0)], inputs)
    torch.testing.assert_close(layer(inputs), functional.linear(inputs, layer.parametrizations.weight.original * mask))


def test_spikingjellys_own_reset_draws_new_masks(caplog):
    library("spikingjelly")
    from spikingjelly.activation_based import functional as sj

    network = nn.Sequential(nn.Linear(4, 3)).train()
    make_stochastic(network, p=0.5)
    set_generator(network, seeded(0))
    first = network(torch.ones(2, 4))
    sj.reset_net(network)
    assert not torch.equal(network(torch.ones(2, 4)), first)


class ByFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.fc.weight)


def test_a_layer_that_is_not_called_is_refused_for_dropout_and_not_for_dropconnect():
    network = ByFunction()
    make_stochastic(network)
    with pytest.raises(InputError, match=r"^model: expected 'fc.input_dropout' to be called in forward\(\)"):
        mc_predict(network, torch.ones(2, 4), samples=2, generator=seeded(0))
    make_deterministic(network)
    make_stochastic(network, "dropconnect", p=0.5)
    assert mc_predict(network, torch.ones(2, 4), samples=4, generator=seeded(0)).std(0).max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"kind": "dropuot"}, "^kind: expected one of"),
        ({"p": 1.0}, "^p: expected 0 <= value < 1"),
        ({"mask": "per step"}, "^mask: expected one of"),
        ({"layers": "conv"}, "^layers: expected a choice that matches a layer"),
        ({"layers": ["1"]}, "^layers: expected names among: 0, 2"),
        ({"layers": lambda name, module: name == "2"}, r"^layers: expected layers that drop nothing yet; '2' does"),
    ],
)
@pytest.mark.parametrize("kind", ["dropout", "dropconnect"])
def test_bad_arguments_are_refused_and_nothing_is_changed(kind, arguments, match):
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    make_stochastic(network, kind, layers=["2"])
    before = state_of(network)
    with pytest.raises(InputError, match=match):
        make_stochastic(network, **({"kind": kind} | arguments))
    assert state_of(network) == before


def test_a_dropconnect_layer_of_ours_is_refused():
    with pytest.raises(InputError, match=r"^layers: expected layers that drop nothing yet; '0' does"):
        make_stochastic(nn.Sequential(DropConnectLinear(2, 2)))
