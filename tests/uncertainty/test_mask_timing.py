"""Masks fixed over time or redrawn at each step, by choice, in the dropout of any library."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.monte_carlo import images, seeded, spiking
from tests.helpers.peers import PEERS, STEPS, library, peer
from tests.helpers.replay import Noted, alone, given
from tsnn_uq.checks import InputError
from tsnn_uq.readout import logits
from tsnn_uq.uncertainty import MASK_MODES, Dropout, mc_moments, mc_predict, rest, stochastic_layers

SAMPLES, COUNT = 7, 6
AT_ONCE = {"spikingjelly multi": (1, 1), "spikingjelly folded": (0, STEPS)}  # axis of inputs, steps folded into it
NATURAL = {name: "per-step" for name in PEERS} | {"spikingjelly multi": "fixed", "spikingjelly single": "fixed"}


def masks_of(name: str, noted: Noted) -> list[list[Tensor]]:
    axis, steps = AT_ONCE.get(name, (0, 1))
    return noted.by_sample(1 if name in AT_ONCE else STEPS, COUNT, axis, steps)


def over_time(masks: list[Tensor]) -> Tensor:
    """The masks [T, N, units] of a sample, however its steps came."""
    return torch.cat(masks).reshape(STEPS, COUNT, -1)


@pytest.mark.parametrize("mask", [*MASK_MODES, None])
@pytest.mark.parametrize("name", PEERS)
def test_each_folded_sample_is_the_network_with_its_masks(name, mask):
    network, inputs, options = peer(name, 0.5)
    (layer,) = stochastic_layers(network).values()
    noted = Noted(layer)
    probs = mc_predict(network, inputs, samples=SAMPLES, generator=seeded(1), mask=mask, **options)
    if mask in (None, NATURAL[name]):
        network.apply(lambda module: module._forward_hooks.clear())
        again = mc_predict(network, inputs, samples=SAMPLES, generator=seeded(1), **options)
        assert torch.equal(probs, again)  # the argument says what the layer does anyway
    samples = masks_of(name, noted)
    assert len(samples) == SAMPLES
    changes = 0
    for sample, masks in enumerate(samples):
        with given(layer, masks):
            expected = alone(network, inputs, options.get("output", lambda outputs: outputs))
        torch.testing.assert_close(probs[sample], expected)
        steps = over_time(masks)
        seen = steps >= 0
        assert steps[seen].unique().tolist() == [0, 2]
        first = torch.where(seen, steps, 0).amax(0)  # 2 where the unit was ever kept
        changes += (seen & (steps != first)).sum().item()
    assert (changes == 0) == ((mask or NATURAL[name]) == "fixed")


@pytest.mark.parametrize("name", PEERS)
def test_samples_and_inputs_have_fixed_masks_of_their_own(name):
    network, inputs, options = peer(name, 0.5)
    noted = Noted(next(iter(stochastic_layers(network).values())))
    mc_predict(network, inputs, samples=SAMPLES, generator=seeded(1), mask="fixed", **options)
    masks = torch.stack([over_time(one) for one in masks_of(name, noted)[-SAMPLES:]])  # [S, T, N, units]
    kept = masks.amax(1)
    both = (kept[:, None] >= 0) & (kept[None] >= 0)
    share = ((kept[:, None] == kept[None]) & both).sum((2, 3)) / both.sum((2, 3))
    assert (share.fill_diagonal_(0) < 0.8).all()  # two samples agree in half of the units
    draws = (kept >= 0).sum().item()
    assert (kept == 0).sum().item() / draws == pytest.approx(0.5, abs=5 * 0.5 / draws**0.5)


def loop(network: nn.Module, inputs: Tensor, options: dict, samples: int) -> Tensor:
    """Samples one after the other, as the users of each library draw them."""
    for layer in stochastic_layers(network).values():
        layer.train()
    drawn = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for _ in range(samples):
            rest(network)
            drawn.append(logits(options.get("output", lambda outputs: outputs)(network(inputs))).softmax(-1))
    return torch.stack(drawn)


@pytest.mark.parametrize("name", PEERS)
def test_folded_samples_have_the_moments_of_a_loop_over_samples(name):
    network, inputs, options = peer(name, 0.5)
    folded = mc_predict(network, inputs, samples=400, generator=seeded(1), **options)
    looped = loop(network.eval(), inputs, options, 200)
    for power in (1, 2):
        ours, theirs = folded**power, looped**power
        error = (ours.var(0) / 400 + theirs.var(0) / 200).sqrt()
        assert ((ours.mean(0) - theirs.mean(0)).abs() <= 5 * error + 1e-6).all()


@pytest.mark.parametrize("name", PEERS)
def test_fixed_masks_vary_more(name):
    network, inputs, options = peer(name, 0.5)
    fixed, per_step = (
        mc_moments(network, inputs, samples=200, generator=seeded(1), mask=mask, **options) for mask in MASK_MODES
    )
    assert fixed.predictive_variance.mean() > 1.5 * per_step.predictive_variance.mean()


@pytest.mark.parametrize("mask", MASK_MODES)
def test_it_holds_for_our_own_layers_and_only_while_predicting(mask):
    (other,) = set(MASK_MODES) - {mask}
    probs = mc_predict(spiking(mask=other), images(), samples=3, generator=seeded(1), mask=mask)
    network = spiking(mask=mask)
    assert torch.equal(probs, mc_predict(network, images(), samples=3, generator=seeded(1)))
    mc_predict(network, images(), samples=3, generator=seeded(1), mask=other)
    assert all(layer.mask == mask for layer in network.modules() if isinstance(layer, Dropout))


@pytest.mark.parametrize("name", ["snntorch loop", "spikingjelly single", "norse"])
def test_the_network_is_left_as_it_was(name):
    network, inputs, options = peer(name, 0.5)
    before = [dict(vars(module)) for module in network.modules()]
    for mask in MASK_MODES:
        mc_predict(network, inputs, samples=2, generator=seeded(1), mask=mask, **options)
    after = [dict(vars(module)) for module in network.modules()]
    assert [list(one) for one in after] == [list(one) for one in before]
    assert all(one[key] is other[key] for one, other in zip(before, after, strict=True) for key in one)


class Twice(nn.Module):
    """One dropout at two places of each step."""

    def __init__(self, make: type[nn.Module] = nn.Dropout) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.drop = make(0.5)

    def forward(self, x: Tensor) -> Tensor:
        steps = []
        for _ in range(STEPS):
            hidden = self.drop(1 + self.fc1(x).sigmoid())
            steps.append(self.fc3(self.drop(1 + self.fc2(hidden).sigmoid())))
        return torch.stack(steps)


def test_a_dropout_at_two_places_has_a_fixed_mask_for_each():
    network = Twice()
    noted = Noted(network.drop)
    mc_predict(network, torch.rand(COUNT, 4), samples=1, generator=seeded(1), mask="fixed")
    one, other = torch.stack(noted.calls[-2 * STEPS :]).unflatten(0, (STEPS, 2)).unbind(1)  # [T, N, units]
    assert (one == one[0]).all()
    assert (other == other[0]).all()
    assert (one[0] != other[0]).any()


@pytest.mark.parametrize("mask", MASK_MODES)
def test_feature_maps_are_dropped_whole(mask):
    library("spikingjelly")
    from spikingjelly.activation_based import layer

    class Maps(nn.Module):
        def __init__(self, drop: nn.Module) -> None:
            super().__init__()
            self.drop = drop

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.drop(x).flatten(1) for _ in range(STEPS)])

    for drop in (nn.Dropout2d(0.5), layer.Dropout2d(0.5)):
        noted = Noted(drop)
        mc_predict(Maps(drop), torch.ones(COUNT, 8, 2, 2), samples=2, generator=seeded(1), mask=mask)
        masks = torch.stack(noted.calls[-STEPS:])  # of the last pass: [T, N, 8, 2, 2]
        assert (masks == masks[..., :1, :1]).all()
        assert (masks == masks[0]).all() == (mask == "fixed")


@pytest.mark.parametrize("invariant", [False, True])
@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("mask", [*MASK_MODES, None])
def test_dropconnect_of_spikingjelly(mask, step_mode, invariant):
    library("spikingjelly")
    from spikingjelly.activation_based import layer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drop = layer.DropConnectLinear(4, 3, p=0.5, invariant=invariant, activation=None, step_mode=step_mode)

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = drop

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.drop(step) for step in x])

    network = Loop() if step_mode == "s" else nn.Sequential(drop)
    over_time = mc_predict(
        network, torch.ones(STEPS, COUNT, 4), samples=5, generator=seeded(1), mask=mask, batch_dim=1, per_step=True
    )
    held = (over_time - over_time[:, :1]).abs().amax() < 1e-6
    assert held == ((mask or ("fixed" if invariant else "per-step")) == "fixed")
    assert len(over_time[:, -1].flatten(0, 1).unique(dim=0)) > 20  # of 30: samples and inputs differ


def test_all_steps_at_once_through_a_plain_dropout():
    network = nn.Sequential(nn.Linear(4, 16), nn.Sigmoid(), nn.Dropout(0.5), nn.Linear(16, 3))
    inputs = torch.rand(1, COUNT, 4, generator=seeded(0)).expand(STEPS, COUNT, 4)
    for mask in (*MASK_MODES, None):
        options = {"samples": 3, "generator": seeded(1), "batch_dim": 1, "per_step": True}
        over_time = mc_predict(network, inputs.contiguous(), mask=mask, **options)
        assert torch.allclose(over_time, over_time[:, :1]) == (mask == "fixed")


class Folded(nn.Module):
    """Takes [N, T, 4] and folds inputs and time with the inputs first."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop, self.out = nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.drop(self.hidden(x.flatten(0, 1)))).unflatten(0, x.shape[:2]).mean(1)


class Elsewhere(nn.Module):
    """Has a dropout that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x


class Unbatched(Elsewhere):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.drop(torch.ones(3))


class ByKeyword(Elsewhere):
    def forward(self, x: Tensor) -> Tensor:
        return self.drop(input=x)


class Counting(Elsewhere):
    """Calls its dropout as often as there are inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.drop(x) for _ in x]).mean(0)


@pytest.mark.parametrize(
    ("network", "inputs", "mask", "match"),
    [
        (ByKeyword(), torch.rand(COUNT, 3), "fixed", "^model: expected 'drop' to be called"),
        (Counting(), torch.rand(COUNT, 3), "fixed", "^model: expected 'drop' .* as often for 2 inputs as for 3"),
        (
            Folded(),
            torch.rand(COUNT, STEPS, 4),
            "fixed",
            r"^model: expected 'drop' to be given .* with time first, .* got",
        ),
        (Unbatched(), torch.rand(COUNT, 3), "fixed", r"^model: expected 'drop' to be given .* got shape \[3\] for 3"),
        (Elsewhere(), torch.rand(COUNT, 3), "fixed", r"^model: expected 'drop' to be called in forward\(\)"),
        (Twice(), torch.rand(COUNT, 4), "fixd", "^mask: expected one of"),
        (Twice(), torch.rand(COUNT, 4), 1, "^mask: expected one of"),
    ],
)
def test_what_cannot_be_told_is_refused(network, inputs, mask, match):
    with pytest.raises(InputError, match=match):
        mc_predict(network, inputs, samples=2, generator=seeded(1), mask=mask)
