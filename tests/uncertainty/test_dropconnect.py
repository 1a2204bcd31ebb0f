from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tsnn_uq.checks import InputError
from tsnn_uq.coding import constant_current, is_constant_over_time
from tsnn_uq.quantization import ternarize
from tsnn_uq.uncertainty import MASK_MODES, DropConnectLinear, draw_masks, set_generator


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer_with(p: float = 0.5, mask: str = "fixed", *, per_input: bool = False, bias: bool = True, seeds=(0,)):
    """A layer 5 -> 3 with whole numbers as weights, so that sums have no rounding and no order."""
    layer = DropConnectLinear(5, 3, bias, p=p, mask=mask, per_input=per_input)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape, generator=seeded(7)))
    set_generator(layer, *map(seeded, seeds))
    return layer


def whole_numbers(*shape: int) -> torch.Tensor:
    return torch.randint(-3, 4, shape, generator=seeded(8)).float()


@given(
    st.sampled_from(MASK_MODES), st.booleans(), st.booleans(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)
)
def test_it_is_a_loop_over_groups_steps_and_inputs(mask, per_input, bias, groups, per_group, steps):
    layer = layer_with(0.5, mask, per_input=per_input, bias=bias, seeds=range(groups))
    spikes = whole_numbers(steps, groups * per_group, 5)
    out = layer(spikes)
    for g in range(groups):
        generator = seeded(g)
        for t in range(steps):
            if t == 0 or mask == "per-step":
                (masks,) = draw_masks((per_group if per_input else 1, 3, 5), 0.5, [generator], layer.weight)
            for n in range(per_group):
                weight = layer.weight * masks[n if per_input else 0]
                expected = weight @ spikes[t, g * per_group + n] + (layer.bias if bias else 0)
                assert torch.equal(out[t, g * per_group + n], expected)


@pytest.mark.parametrize("quiet", [lambda: layer_with().eval(), lambda: layer_with(0.0)], ids=["eval", "p = 0"])
def test_without_masks_it_is_the_linear_layer(quiet):
    layer, spikes = quiet(), whole_numbers(4, 6, 5)
    assert torch.equal(layer(spikes), functional.linear(spikes, layer.weight, layer.bias))


@pytest.mark.parametrize("mask", MASK_MODES)
@pytest.mark.parametrize("per_input", [False, True])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("training", [False, True])
def test_input_that_is_held_equals_its_copies(mask, per_input, seeds, training):
    image = whole_numbers(4, 5)
    held = layer_with(mask=mask, per_input=per_input, seeds=seeds).train(training)
    copied = layer_with(mask=mask, per_input=per_input, seeds=seeds).train(training)
    a, b = held(constant_current(image, 6)), copied(torch.stack([image] * 6))
    assert torch.equal(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    torch.testing.assert_close(held.weight.grad, copied.weight.grad)


@pytest.mark.parametrize(("mask", "products"), [("fixed", 1), ("per-step", 6)])
def test_input_that_is_held_is_multiplied_once_and_so_is_its_output_held(mask, products):
    layer, held = layer_with(mask=mask, bias=False), constant_current(whole_numbers(4, 5), 6)
    with FlopCounterMode(display=False) as counter:
        out = layer(held)
    assert counter.get_total_flops() == 2 * products * 4 * 5 * 3
    assert is_constant_over_time(out) == (mask == "fixed")


def test_a_dropped_ternary_weight_is_still_ternary_and_the_rescaling_joins_its_scale():
    layer = DropConnectLinear(40, 30, p=0.2)
    set_generator(layer, seeded(0))
    ternarize(layer)
    scale = layer.weight.abs().max().item()
    weight = layer(torch.eye(40)[None])[0].T
    assert {round(value, 6) for value in weight.abs().flatten().tolist()} == {0.0, round(scale / 0.8, 6)}
    kept = weight != 0
    assert torch.equal(weight.sign()[kept], layer.weight.sign()[kept])
    assert 0.7 < kept.sum() / (layer.weight != 0).sum() < 0.9


def test_a_ternary_weight_is_computed_once_a_pass():
    layer = layer_with(mask="per-step")
    ternarize(layer)
    calls = []
    layer.parametrizations.weight[0].register_forward_hook(lambda *_: calls.append(1))
    layer(whole_numbers(6, 4, 5))
    assert len(calls) == 1


def test_only_weights_that_stayed_get_a_gradient():
    layer = layer_with(bias=False)
    layer(whole_numbers(1, 1, 5).abs() + 1).sum().backward()
    (masks,) = draw_masks((1, 3, 5), 0.5, [seeded(0)], layer.weight)
    assert torch.equal(layer.weight.grad != 0, masks[0] != 0)


def test_the_mean_over_draws_is_the_linear_layer():
    layer, spikes, draws = layer_with(0.3, bias=False), whole_numbers(1, 1, 5), 20_000
    set_generator(layer, *[seeded(1)] * draws)
    sums = layer(spikes.expand(1, draws, 5))[0].detach()
    spread = (0.3 / 0.7 * (layer.weight.detach() ** 2 @ spikes[0, 0] ** 2) / draws).sqrt()
    assert ((sums.mean(0) - layer.weight @ spikes[0, 0]).abs() < 5 * spread).all()


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 6)])
def test_an_input_of_another_shape_is_refused(shape):
    match = r"^spikes: expected shape \[T, N, 5\]"
    with pytest.raises(InputError, match=match):
        layer_with()(torch.zeros(shape))
