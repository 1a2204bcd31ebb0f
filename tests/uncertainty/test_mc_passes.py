"""Passes over inputs that networks may write on, and outputs that are logits or are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.monte_carlo import assert_same_moments, loop_of_passes, seeded
from tests.helpers.peers import STEPS, library
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.networks import Linear
from tsnn_uq.uncertainty import Dropout, Moments, mc_moments, mc_predict

COUNT = 6


class Normalizes(nn.Module):
    """Normalizes its input in place, in one of several ways to write."""

    def __init__(self, way: str = "operators") -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "operators":
            x -= 0.5
            x /= 0.3
        elif self.way == "view":
            x.view(-1).sub_(0.5).div_(0.3)
        elif self.way == "data":
            x.data.sub_(0.5).div_(0.3)
        else:
            x[:] = (x - 0.5) / 0.3
        return x


class Whole(nn.Sequential):
    """A sequence that is not taken apart."""


IN_PLACE = {
    "dropout first": lambda: [nn.Dropout(0.3, inplace=True)],
    "dropout later": lambda: [nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.3, inplace=True)],
    "activation first": lambda: [nn.ReLU(inplace=True), nn.Linear(8, 8), nn.Dropout(0.3)],
    "activation after dropout": lambda: [nn.Linear(8, 8), nn.Dropout(0.3), nn.ELU(inplace=True)],
    "alpha": lambda: [nn.SELU(inplace=True), nn.AlphaDropout(0.3, inplace=True)],
    "operators": lambda: [Normalizes(), nn.Dropout(0.3)],
    "operators after dropout": lambda: [nn.Linear(8, 8), nn.Dropout(0.3), Normalizes()],
    "view": lambda: [Normalizes("view"), nn.Dropout(0.3)],
    "data": lambda: [Normalizes("data"), nn.Dropout(0.3)],
    "indices": lambda: [nn.Identity(), Normalizes("indices"), nn.Dropout(0.3)],
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, Whole) for name in IN_PLACE),
        ("view", nn.Sequential),
        ("alpha", nn.Sequential),
        ("dropout later", nn.Sequential),
        ("operators after dropout", nn.Sequential),
    ],
)
def test_a_pass_may_write_on_its_input(name, kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, inputs = kind(*IN_PLACE[name](), nn.Linear(8, 3)), torch.randn(COUNT, 8)
    given, random = inputs.clone(), [one for one in network if isinstance(one, nn.modules.dropout._DropoutNd)]
    looped = loop_of_passes(network, inputs, random, samples=200)
    for options in ({}, {"memory_limit": 1}, {"batch_size": 4}):
        probs = mc_predict(network, inputs, samples=200, generator=seeded(1), **options)
        assert_same_moments(probs, looped)
        moments = mc_moments(network, inputs, samples=200, generator=seeded(1), **options)
        torch.testing.assert_close(moments.mean, Moments.of(probs).mean, rtol=0, atol=1e-12)
    assert_same_moments(mc_predict([network, network], inputs, samples=200, generator=seeded(1)), looped)
    assert torch.equal(inputs, given)
    assert inputs._version == 0


@pytest.mark.parametrize("mask", ["fixed", "per-step", None])
@pytest.mark.parametrize("layout", ["held", "held, but not in time", "copied"])
@pytest.mark.parametrize("first", [nn.ReLU(inplace=True), nn.Dropout(0.3, inplace=True), Normalizes()], ids=repr)
def test_so_it_may_with_time_first_and_held_inputs(first, layout, mask):
    network = Whole(first, nn.Linear(8, 8), nn.Dropout(0.3, inplace=True), nn.Linear(8, 3))
    step = torch.rand(1, COUNT, 8, generator=seeded(0))
    inputs = step.expand(STEPS, COUNT, 8)
    inputs = inputs.transpose(0, 1).contiguous().transpose(0, 1) if layout == "copied" else inputs
    inputs = step[:, :1].expand(1, COUNT, 8) if layout == "held, but not in time" else inputs
    given = inputs.clone()
    options: dict[str, Any] = {"samples": 5, "mask": mask, "batch_dim": 1}
    probs = mc_predict(network, inputs, generator=seeded(1), **options)
    assert torch.equal(inputs, given)
    assert torch.equal(mc_predict(network, given, generator=seeded(1), **options), probs)
    assert torch.equal(mc_predict(network, inputs, generator=seeded(1), **options), probs)


def test_layers_of_spikingjelly_may_write_too():
    library("spikingjelly")
    from spikingjelly.activation_based import layer, neuron

    network = nn.Sequential(
        nn.ReLU(inplace=True),
        layer.SeqToANNContainer(nn.Linear(8, 8), nn.ReLU(inplace=True)),
        neuron.LIFNode(step_mode="m"),
        layer.Dropout(0.3, step_mode="m"),
        layer.SeqToANNContainer(nn.Dropout(0.3, inplace=True), nn.Linear(8, 3)),
    )
    inputs = torch.rand(STEPS, COUNT, 8, generator=seeded(0)) + 1
    given = inputs.clone()
    one, many = (
        mc_predict(network, inputs, samples=200, generator=seeded(1), batch_dim=1, memory_limit=limit)
        for limit in (1, 2**25)
    )
    assert_same_moments(one, many)
    assert torch.equal(inputs, given)


@pytest.mark.parametrize("memory_limit", [1, 2**25])
def test_what_is_shared_by_samples_may_be_written_on(memory_limit):
    # What comes before the dropout is computed once, and the dropout writes on it.
    network = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5, inplace=True), nn.Flatten(), nn.Linear(8, 3, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(8))
        network[0].bias.fill_(1.0)
        network[3].weight.copy_(torch.eye(8)[:3])
    probs = mc_predict(network, torch.zeros(COUNT, 8), samples=400, generator=seeded(1), memory_limit=memory_limit)
    logits = probs.log() - probs.log().amin(-1, keepdim=True)  # each is 2 or 0, at random and by itself
    assert logits.sub(2).abs().minimum(logits.abs()).max() < 1e-5
    kept = (probs.log() - probs.log()[..., :1]).abs() < 1  # those that agree with the first
    assert kept[..., 1:].double().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / (400 * COUNT * 2) ** 0.5)


def test_under_inference_mode_too():
    network, inputs = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(8, 3)), torch.rand(COUNT, 8)
    expected = mc_predict(network, inputs, samples=5, generator=seeded(1))
    with torch.inference_mode():
        assert torch.equal(mc_predict(network, inputs.clone(), samples=5, generator=seeded(1)), expected)
    assert network[2].weight.requires_grad


class Outputs(nn.Module):
    """Eight units at random, as a function turns them into outputs."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.drop, self.function = nn.Dropout(0.5), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.drop(x))


def over_time(x: Tensor) -> Tensor:
    return torch.stack([x.detach() > threshold for threshold in (0.2, 0.5, 0.8)])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
@pytest.mark.parametrize("function", [over_time, lambda x: over_time(x).sum(0), lambda x: x > 0.5])
def test_spikes_and_their_counts_are_outputs_of_any_type(function, dtype):
    inputs = torch.rand(COUNT, 8, generator=seeded(0))
    typed, plain = Outputs(lambda x: function(x).to(dtype)), Outputs(lambda x: function(x).to(dtype).float())
    expected = mc_predict(plain, inputs, samples=5, generator=seeded(1))
    probs = mc_predict(typed, inputs, samples=5, generator=seeded(1))
    assert probs.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(probs.float(), expected)
    moments = mc_moments(typed, inputs, samples=5, generator=seeded(1))
    torch.testing.assert_close(moments.mean, Moments.of(probs).mean, rtol=0, atol=1e-7)


@pytest.mark.parametrize("function", [lambda x: x[:, :1], lambda x: x[None, :, :1], lambda x: x[..., :0]])
@pytest.mark.parametrize("predict", [mc_predict, mc_moments])
def test_one_logit_is_no_prediction_among_classes(predict, function):
    with pytest.raises(InputError, match=r"^outputs: expected at least two classes"):
        predict(Outputs(function), torch.rand(COUNT, 8), samples=2, generator=seeded(1))


def test_one_logit_can_be_made_two():
    inputs = torch.rand(COUNT, 8, generator=seeded(0))
    probs = mc_predict(
        Outputs(lambda x: x[:, :1]),
        inputs,
        samples=400,
        generator=seeded(1),
        output=lambda z: torch.cat([torch.zeros_like(z), z], -1),
    )
    expected = (0.5 * (2 * inputs[:, 0]).sigmoid() + 0.25).expand(400, -1)
    error = probs[..., 1].std(0) / 20
    assert ((probs[..., 1].mean(0) - expected[0]).abs() < 5 * error).all()


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: torch.where(x > 0, x, torch.nan), "^model: expected finite outputs"),
        (lambda x: 1 / x, "^model: expected finite outputs"),
        (lambda x: torch.complex(x, x), "^outputs: expected real numbers"),
    ],
)
def test_outputs_that_are_no_numbers_are_refused(function, match):
    for predict in (mc_predict, mc_moments):
        with pytest.raises(InputError, match=match):
            predict(Outputs(function), torch.rand(COUNT, 8), samples=9, generator=seeded(1))


def test_a_class_may_be_ruled_out():
    network = Outputs(lambda x: x.index_fill(1, torch.tensor([2]), -torch.inf))
    probs = mc_predict(network, torch.rand(COUNT, 8), samples=3, generator=seeded(1))
    assert (probs[..., 2] == 0).all()
    torch.testing.assert_close(probs.sum(-1), torch.ones(3, COUNT))


def test_layers_without_weights_are_named():
    network = nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(InputError, match=r"^model: expected layers that have weights; '2.0' \(LazyLinear\) gets them"):
        mc_predict(network, torch.rand(COUNT, 8), samples=2, generator=seeded(1))
    network(torch.rand(1, 8))
    assert mc_predict(network, torch.rand(COUNT, 8), samples=2, generator=seeded(1)).shape == (2, COUNT, 3)


def test_our_own_layers_still_get_held_inputs():
    strides: list[int] = []
    network = nn.Sequential(Linear(8, 8), nn.ReLU(), Dropout(0.5), Linear(8, 3))
    network[0].register_forward_pre_hook(lambda _, given: strides.append(given[0].stride(0)))
    held = torch.rand(COUNT, 8).expand(STEPS, COUNT, 8)
    mc_predict(network, held, samples=3, generator=seeded(1), batch_dim=1)
    assert strides[-1] == 0


def test_a_dropout_in_place_keeps_its_mask_over_held_steps():
    network = Whole(Coding(steps=STEPS), nn.Dropout(0.5, inplace=True), Outputs(lambda x: x))
    network[2].drop.p = 0.0
    over_time = mc_predict(network, torch.ones(COUNT, 8), samples=9, generator=seeded(1), mask="fixed", per_step=True)
    torch.testing.assert_close(over_time, over_time[:, :1].expand_as(over_time))
    ratio = over_time.log().amax(-1) - over_time.log().amin(-1)
    torch.testing.assert_close(ratio, 2 * (ratio > 1).float())  # each unit is 0 or 2, and not 2 once more at each step
