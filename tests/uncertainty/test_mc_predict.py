from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.monte_carlo import STEPS, TRIED, count_inputs, exact, images, plain_network, seeded, spiking
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.uncertainty import MASK_MODES, DropConnectLinear, Dropout, StochasticLayer, mc_predict, set_generator


def note_generators(network: nn.Module) -> dict[nn.Module, list[Tensor]]:
    """A list for each random layer, to which each pass adds the states of its generators, sample by sample."""
    states: dict[nn.Module, list[Tensor]] = {}

    def note(layer: nn.Module, _: object) -> None:
        if layer.training:
            states[layer] += [generator.get_state() for generator in layer.generators]

    for layer in network.modules():
        if isinstance(layer, StochasticLayer) or (isinstance(layer, Coding) and layer.stochastic):
            states[layer] = []
            layer.register_forward_pre_hook(note)
    return states


@pytest.mark.parametrize("coding", ["constant", "rate"])
@pytest.mark.parametrize("mask", MASK_MODES)
@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_folded_samples_are_the_loop_over_samples(family, mask, coding):
    network, inputs = spiking(family, mask=mask, coding=coding), images()
    states = note_generators(network)
    probs = mc_predict(network, inputs, samples=5, generator=seeded(3), batch_size=4)
    assert probs.shape == (5, 7, 5)
    network.train()
    drawn = {layer: list(noted) for layer, noted in states.items()}
    for block, part in enumerate(inputs.split(4)):
        for sample in range(5):
            for layer, noted in drawn.items():
                generator = torch.Generator()
                generator.set_state(noted[5 * block + sample])
                layer.generators = (generator,)
            expected = network(part).mean(0).softmax(-1)
            assert torch.equal(probs[sample, 4 * block : 4 * block + len(part)], expected)
    assert probs.std(0).max() > 0.1


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
@pytest.mark.parametrize("mask", MASK_MODES)
def test_neither_memory_limit_nor_threads_change_a_prediction(family, mask):
    network = spiking(family, mask=mask)

    def predict(memory_limit: int) -> Tensor:
        return mc_predict(network, images(), samples=9, generator=seeded(3), memory_limit=memory_limit)

    plain = predict(2**28)
    assert torch.equal(predict(1), plain)
    assert torch.equal(predict(40_000), plain)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(predict(2**28), plain)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_one_seed_repeats_and_two_differ(family):
    network = spiking(family)
    first, again, other = (mc_predict(network, images(), samples=4, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first != other).any(0).any(-1).all()
    generator = seeded(1)
    assert torch.equal(mc_predict(network, images(), samples=4, generator=generator), first)
    assert not torch.equal(mc_predict(network, images(), samples=4, generator=generator), first)


def test_more_samples_are_the_same_samples_and_more():
    network = spiking()
    few, many = (mc_predict(network, images(), samples=s, generator=seeded(1)) for s in (3, 8))
    assert torch.equal(many[:3], few)


def test_samples_inputs_and_blocks_have_masks_of_their_own():
    same = images(1).expand(6, -1, -1, -1)
    probs = mc_predict(spiking(), same, samples=8, generator=seeded(1), batch_size=2)
    assert len(probs.flatten(0, 1).unique(dim=0)) > 40  # of 48


@pytest.mark.parametrize("mask", MASK_MODES)
def test_a_dropconnect_sample_is_one_network_for_all_blocks(mask):
    same = images(1).expand(7, -1, -1, -1)
    network = spiking("dropconnect", mask=mask)
    probs = mc_predict(network, same, samples=8, generator=seeded(1), batch_size=3)
    assert (probs == probs[:, :1]).all()
    assert len(probs[:, 0].unique(dim=0)) == 8
    blocks = mc_predict(network, images(), samples=8, generator=seeded(1), batch_size=2)
    assert torch.equal(blocks, mc_predict(network, images(), samples=8, generator=seeded(1)))


def test_with_a_mask_for_each_input_a_dropconnect_sample_is_not():
    network = exact(nn.Sequential(Coding(steps=3), nn.Flatten(2), DropConnectLinear(12, 5, p=0.5, per_input=True)))
    same = images(1).expand(4, -1, -1, -1)
    probs = mc_predict(network, same, samples=6, generator=seeded(1), batch_size=2)
    assert len(probs.flatten(0, 1).unique(dim=0)) == 24


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_the_last_step_is_the_plain_prediction_and_each_step_that_of_a_shorter_window(family):
    network = spiking(family)
    over_time = mc_predict(network, images(), samples=4, generator=seeded(3), per_step=True)
    assert over_time.shape == (4, STEPS, 7, 5)
    torch.testing.assert_close(over_time[:, -1], mc_predict(network, images(), samples=4, generator=seeded(3)))
    for steps in range(1, STEPS + 1):
        shorter = mc_predict(spiking(family, steps=steps), images(), samples=4, generator=seeded(3))
        torch.testing.assert_close(over_time[:, steps - 1], shorter)


def test_a_network_of_plain_torch():
    network, inputs = plain_network(), torch.rand(6, 4, generator=seeded(0))
    first, again, other = (mc_predict(network, inputs, samples=5, generator=seeded(s)) for s in (1, 1, 2))
    assert first.shape == (5, 6, 3)
    torch.testing.assert_close(first.sum(-1), torch.ones(5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.flatten(0, 1).unique(dim=0)) == 30


def test_the_mean_over_many_samples_is_that_of_dropout():
    # Behind the dropout there is a linear layer alone, so that the mean logit is that without dropout.
    network, inputs = plain_network(), torch.rand(2, 4, generator=seeded(0))
    probs = mc_predict(network, inputs, samples=4000, generator=seeded(1))
    ratios = probs.log() - probs.log()[..., :1]
    logits = network.eval()(inputs)
    error = (ratios.mean(0) - (logits - logits[:, :1])).abs()
    assert (error <= 5 * ratios.std(0) / 4000**0.5 + 1e-5).all()


def test_batchnorm_stays_in_evaluation_mode():
    network, inputs = plain_network(1e-12), 5 * torch.rand(6, 4, generator=seeded(0))
    network[1].running_mean.fill_(0.25)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    probs = mc_predict(network.train(), inputs, samples=2, generator=seeded(1))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())
    torch.testing.assert_close(probs, network.eval()(inputs).softmax(-1).expand(2, -1, -1))


def test_the_global_generator_is_put_back_and_does_not_matter():
    network, inputs = plain_network(), torch.rand(6, 4, generator=seeded(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        state = torch.get_rng_state()
        first = mc_predict(network, inputs, samples=3, generator=seeded(1))
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(6)
        assert torch.equal(mc_predict(network, inputs, samples=3, generator=seeded(1)), first)


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("out of order")


@pytest.mark.parametrize("fails", [False, True])
def test_modes_generators_and_hooks_are_restored(fails):
    network = spiking().train()
    mine, other = seeded(8), seeded(9)
    set_generator(network, mine, other)
    network[3].eval()
    if fails:
        network.append(Failing())
    modes = [module.training for module in network.modules()]
    states = [generator.get_state() for generator in (mine, other)]
    if fails:
        with pytest.raises(RuntimeError, match="out of order"):
            mc_predict(network, images(), samples=3, generator=seeded(1))
    else:
        mc_predict(network, images(), samples=3, generator=seeded(1))
    assert [module.training for module in network.modules()] == modes
    assert all(m.generators == (mine, other) for m in network.modules() if isinstance(m, StochasticLayer | Coding))
    assert all(torch.equal(g.get_state(), s) for g, s in zip((mine, other), states, strict=True))
    assert not any(module._forward_hooks for module in network.modules())


def test_layers_before_the_first_random_one_run_once_for_all_samples():
    network = spiking()
    before, after = count_inputs(network[2], axis=1), count_inputs(network[5], axis=1)
    mc_predict(network, images(), samples=6, generator=seeded(1), batch_size=4)
    assert before == [*TRIED, 2, 3, 4, 3]  # two and three inputs to find the batch axis, then the blocks
    assert after == [*TRIED, 4, 20, 3, 15]  # in each block one sample, then the others folded


def test_input_that_is_held_stays_held_when_samples_are_folded():
    network = exact(nn.Sequential(Coding(steps=STEPS), nn.Flatten(2), DropConnectLinear(12, 5, p=0.5)))
    with FlopCounterMode(display=False) as counter:
        mc_predict(network, images(), samples=4, generator=seeded(1))
    assert counter.get_total_flops() == (4 * 7 + sum(TRIED)) * 2 * 12 * 5  # not once more for each step


class Unsplit(nn.Sequential):
    """The same layers under the same names, but not known to be nothing but a sequence."""


class Repeat(nn.Module):
    """An encoder that is not ours: [N, ...] to [T, N, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x] * STEPS)


class Squeeze(nn.Module):
    """Has no batch axis for a single input."""

    def forward(self, x: Tensor) -> Tensor:
        return x[0] if len(x) == 1 else x


def sequences() -> dict[str, list[nn.Module]]:
    linear, drop, readout = nn.Linear(12, 8), Dropout(0.5), nn.Linear(8, 5)
    unfold = nn.Unflatten(0, (STEPS, -1))
    return {
        "ours": [Coding(steps=STEPS), nn.Flatten(2), linear, drop, readout],
        "nested": [nn.Sequential(nn.Sequential(Coding(steps=STEPS)), nn.Flatten(2)), linear, drop, readout],
        "not ours": [Repeat(), nn.Flatten(2), linear, drop, readout],
        "folded inside": [Repeat(), nn.Flatten(2), nn.Flatten(0, 1), linear, unfold, drop, readout],
        "folded before": [Repeat(), nn.Flatten(2), nn.Flatten(0, 1), linear, nn.Dropout(1e-12), readout, unfold],
    }


@pytest.mark.parametrize("name", sequences())
@pytest.mark.parametrize("count", [1, 4, STEPS, 7])
def test_splitting_a_sequence_changes_nothing(name, count):
    layers = sequences()[name]
    split, whole = exact(nn.Sequential(*layers)), exact(Unsplit(*layers))
    predictions = [mc_predict(m, images(count), samples=5, generator=seeded(1)) for m in (split, whole)]
    assert torch.equal(*predictions)
    assert predictions[0].shape == (5, count, 5)


def test_a_sequence_may_name_its_layers():
    layers = spiking()
    named = nn.Sequential(OrderedDict((f"layer {name}", layer) for name, layer in layers.named_children()))
    assert mc_predict(named, images(), samples=3, generator=seeded(1)).shape == (3, 7, 5)


def test_an_encoder_without_a_batch_axis_for_one_input_is_not_split():
    network = exact(nn.Sequential(Squeeze(), nn.Flatten(-3), Repeat(), Dropout(0.5), nn.Linear(12, 5)))
    whole = Unsplit(*network)
    assert torch.equal(*[mc_predict(m, images(3), samples=1, generator=seeded(1)) for m in (network, whole)])


def test_the_batch_axis_may_be_the_second():
    network = exact(nn.Sequential(nn.Linear(12, 8), Dropout(0.5), nn.Linear(8, 5)))
    held = images().flatten(1).expand(STEPS, 7, 12)
    probs = mc_predict(network, held, samples=4, generator=seeded(1), batch_dim=1, batch_size=3)
    assert probs.shape == (4, 7, 5)
    copied = mc_predict(network, held.contiguous(), samples=4, generator=seeded(1), batch_dim=1, batch_size=3)
    assert torch.equal(probs, copied)


def test_the_reset_is_given_the_whole_model():
    network, seen = spiking(), set()
    mc_predict(network, images(), samples=2, generator=seeded(1), reset=seen.add)
    assert seen == {network}


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_the_memory_limit_bounds_how_many_samples_are_folded(family):
    network = spiking(family, sizes=(12, 60, 50, 5))
    folded = count_inputs(network[-1], axis=1)
    largest = {"dropout": STEPS * 2 * 60 * 4, "dropconnect": 60 * 50 * 4}[family]  # an activation, a mask on weights
    mc_predict(network, images(2), samples=8, generator=seeded(1), memory_limit=3 * 4 * largest)
    assert folded == [*TRIED, 2, 6, 6, 2]


def test_progress_counts_the_inputs_that_are_done():
    done: list[int] = []
    mc_predict(spiking(), images(), samples=2, generator=seeded(1), batch_size=3, progress=done.append)
    assert done == [3, 6, 7]


def test_a_readout_makes_logits_of_what_the_model_returns():
    class Pair(nn.Sequential):
        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return super().forward(x), None

    plain, pair = Unsplit(*spiking()), Pair(*spiking())
    predictions = [
        mc_predict(plain, images(), samples=3, generator=seeded(1)),
        mc_predict(pair, images(), samples=3, generator=seeded(1), output=lambda outputs: outputs[0]),
    ]
    assert torch.equal(*predictions)
    with pytest.raises(InputError, match=r"^model: expected outputs of shape \[T, 7, C\]"):
        mc_predict(pair, images(), samples=3, generator=seeded(1))


def test_no_gradient_is_kept():
    assert not mc_predict(spiking(), images(), samples=2, generator=seeded(1)).requires_grad


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"samples": 0}, "^samples: expected a positive whole number"),
        ({"samples": 2.0}, "^samples: expected a positive whole number"),
        ({"batch_size": 0}, "^batch_size: expected a positive whole number"),
        ({"memory_limit": 0}, "^memory_limit: expected a positive number"),
        ({"generator": 3}, "^generator: expected a torch.Generator"),
        ({"inputs": images(0)}, "^inputs: expected at least one input along axis 0"),
        ({"inputs": 3}, "^inputs: expected tensors"),
        ({"batch_dim": 4}, "^inputs: expected at least one input along axis 4"),
        ({"model": spiking(p=0.0)}, "^model: expected a stochastic layer"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(12, 3))}, "^model: expected a stochastic layer"),
        (
            {"model": nn.Sequential(nn.Dropout(), nn.Flatten(0))},
            r"^model: expected outputs of shape \[T, 7, C\] or \[7, C\]",
        ),
        (
            {"model": nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 3)), "per_step": True},
            r"^outputs: expected shape \[T, N, C\] for values over time",
        ),
    ],
)
def test_bad_arguments_are_refused(changes, match):
    arguments = {"model": spiking(), "inputs": images(), "generator": seeded(0)} | changes
    with pytest.raises(InputError, match=match):
        mc_predict(arguments.pop("model"), arguments.pop("inputs"), **arguments)
