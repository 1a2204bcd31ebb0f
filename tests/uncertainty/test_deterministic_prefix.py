"""What comes before the first random layer runs once for all samples, where that is sure to change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.monte_carlo import TRIED, count_inputs, images, seeded, spiking
from tests.helpers.peers import STEPS, library, peer
from tsnn_uq.uncertainty import make_stochastic, mc_predict, rest

BEFORE = [*TRIED, 2, 3]  # the last two to find the batch


def test_nested_sequences_are_taken_apart():
    flat = spiking()
    nested = nn.Sequential(nn.Sequential(*flat[:3]), nn.Sequential(flat[3], nn.Sequential(*flat[4:6])), *flat[6:])
    before = count_inputs(flat[3], axis=1)
    probs = mc_predict(nested, images(), samples=6, generator=seeded(1), batch_size=4)
    assert before == [*BEFORE, 4, 3]
    assert probs.std(0).max() > 0.01


def norse_sequence() -> nn.Module:
    norse = library("norse.torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [norse.Lift(nn.Linear(4, 16)), norse.LIF(), norse.Lift(nn.Dropout()), norse.Lift(nn.Linear(16, 3))]
    return norse.SequentialState(*layers)


def test_a_sequence_of_norse_is_taken_apart():
    network, inputs = norse_sequence(), 100 * torch.rand(30, 6, 4, generator=seeded(0))
    options = {"samples": 6, "batch_dim": 1, "output": lambda returned: returned[0]}
    before, after = count_inputs(network[0], axis=1), count_inputs(network[3], axis=1)
    probs = mc_predict(network, inputs, generator=seeded(1), **options)
    assert before == [*BEFORE, 6]
    assert after == [*TRIED, 6, 30]
    assert probs.std(0).max() > 0.01
    network.register_forward_hook(lambda *_: None)  # with a hook on it, it is left whole
    torch.testing.assert_close(mc_predict(network, inputs, generator=seeded(1), **options), probs)
    assert before[5:] == [*TRIED, 6, 30]


def test_a_sequence_of_norse_that_hands_on_states_too_is_left_whole():
    network, inputs, options = peer("norse", 0.5)  # its Lift(LIFBoxCell) returns a pair
    before = count_inputs(network[0], axis=1)
    mc_predict(network, inputs, samples=6, generator=seeded(1), **options)
    assert before == [*BEFORE, 6, 30]


@pytest.mark.parametrize("position", ["hidden", "all"])
def test_states_in_front_of_a_random_layer_of_norse_are_none(position):
    norse = library("norse.torch")
    network = norse.SequentialState(norse.Lift(nn.Linear(4, 3)), norse.LIF(), norse.Lift(nn.Dropout()), norse.LI())
    network.return_hidden = position == "all"
    states: list[list[object]] = []

    def output(returned):
        states.append(returned[1])
        return returned[0][-1] if network.return_hidden else returned[0]

    mc_predict(network, torch.rand(STEPS, 2, 4), samples=2, generator=seeded(1), batch_dim=1, output=output)
    # The second has a state, unless its layer ran for all samples at once.
    assert [[one is None for one in state] for state in states[len(TRIED) :]] == [
        [True, position == "hidden", True, False]
    ] * 2


def test_a_container_with_a_hook_is_left_whole_and_the_hook_is_called():
    network, calls = spiking(), []
    network.register_forward_hook(lambda *_: calls.append(1))
    before = count_inputs(network[2], axis=1)
    probs = mc_predict(network, images(), samples=6, generator=seeded(1))
    assert (before, len(calls)) == ([*TRIED, 7, 35], 4)
    assert torch.equal(probs, mc_predict(spiking(), images(), samples=6, generator=seeded(1)))


def test_a_layer_made_stochastic_is_the_first_that_is_run_for_each_sample():
    network = spiking(p=0.0)
    make_stochastic(network, p=0.5, layers=["5"])
    before, after = count_inputs(network[2], axis=1), count_inputs(network[5], axis=1)
    mc_predict(network, images(), samples=6, generator=seeded(1))
    looked_on = [2, 3]
    assert before == [*TRIED, *looked_on, 2, 3, 7]
    assert after == [*TRIED, *looked_on, 7, 35]


def test_ternary_weights_are_computed_once_in_a_pass():
    from tsnn_uq.quantization import ternarize

    network, inputs, _ = peer("snntorch hidden", 0.5)
    ternarize(network)
    calls: list[int] = []
    network.out.parametrizations.weight[0].register_forward_hook(lambda *_: calls.append(1))
    mc_predict(network, inputs, samples=6, generator=seeded(1))
    assert len(calls) == len(TRIED) + 2


def test_a_layer_whose_state_goes_from_one_part_to_the_other_keeps_them_together():
    library("spikingjelly")
    from spikingjelly.activation_based import neuron

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lif, ends = neuron.LIFNode(step_mode="m", decay_input=False), (nn.Linear(4, 8), nn.Linear(8, 3))
    layers = [ends[0], lif, nn.Dropout(1e-12), lif, ends[1]]  # the second time, it goes on from the first
    inputs = 4 * torch.rand(STEPS, 6, 4, generator=seeded(0))
    network = nn.Sequential(*layers)
    probs = mc_predict(network, inputs, samples=3, generator=seeded(1), batch_dim=1)
    with torch.no_grad():
        rest(network)
        expected = network.eval()(inputs).mean(0).softmax(-1)
    torch.testing.assert_close(probs, expected.expand(3, -1, -1))


def test_what_comes_after_noise_is_run_for_each_sample():
    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.randn_like(x)

    network = nn.Sequential(nn.Linear(4, 8), Noise(), nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 3))
    counts = [count_inputs(network[place], axis=0) for place in (0, 2, 4)]
    mc_predict(network, torch.rand(6, 4), samples=5, generator=seeded(1))
    assert [count[-2:] for count in counts] == [[3, 6], [6, 24], [6, 24]]
