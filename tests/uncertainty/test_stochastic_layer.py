from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.uncertainty import DropConnectLinear, Dropout, draw_masks, set_generator

probabilities = st.sampled_from([0.0, 0.5, 0.2, 0.999]) | st.floats(0, 0.99)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(probabilities, st.lists(st.integers(1, 4), max_size=3), st.integers(1, 3), st.integers(0, 99))
def test_each_generator_draws_one_mask_from_its_own_uniform_numbers(p, shape, count, seed):
    masks = draw_masks(shape, p, [seeded(seed + g) for g in range(count)], torch.empty(0, dtype=torch.float64))
    assert masks.shape == (count, *shape)
    for g, mask in enumerate(masks):
        uniform = torch.rand(shape, generator=seeded(seed + g), dtype=torch.float64)
        expected = [0.0 if u < p else 1 / (1 - p) for u in uniform.flatten().tolist()]
        assert mask.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_mean_of_a_mask_is_one_and_a_share_p_is_zero(p, generator):
    count = 200_000
    (mask,) = draw_masks((count,), p, [generator], torch.empty(0))
    share = (mask == 0).double().mean().item()
    assert abs(share - p) < 5 * (p * (1 - p) / count) ** 0.5
    assert mask.double().mean().item() == pytest.approx((1 - share) / (1 - p), rel=1e-6)


def test_a_generator_given_twice_draws_twice(generator):
    first, second = draw_masks((50,), 0.5, [generator, generator], torch.empty(0))
    assert not torch.equal(first, second)


def test_masks_take_the_dtype_that_is_asked_for(generator):
    assert draw_masks((3,), 0.5, [generator], torch.empty(0, dtype=torch.float64)).dtype == torch.float64


class Foreign(nn.Module):
    generators = "mine"


def test_set_generator_reaches_our_layers_and_codings_and_nothing_else(generator):
    network = nn.Sequential(Coding("rate"), nn.Sequential(Dropout(), DropConnectLinear(2, 2)), Foreign())
    other = seeded(1)
    set_generator(network, generator, other)
    assert network[0].generators == network[1][0].generators == network[1][1].generators == (generator, other)
    assert network[2].generators == "mine"


def test_without_a_generator_a_random_layer_says_what_to_set():
    match = r"^generator: Dropout draws random masks; expected set_generator\(model, .* first"
    with pytest.raises(InputError, match=match):
        Dropout()(torch.ones(2, 3, 4))


def test_a_batch_that_does_not_divide_into_the_generators_is_refused(generator):
    layer = Dropout()
    set_generator(layer, generator, generator)
    with pytest.raises(InputError, match=r"^batch: expected a multiple of the 2 generators"):
        layer(torch.ones(2, 3, 4))


@pytest.mark.parametrize("layer", [Dropout, lambda p, mask: DropConnectLinear(2, 2, p=p, mask=mask)])
@pytest.mark.parametrize(
    ("p", "mask", "match"),
    [
        (1.0, "fixed", "^p: expected 0 <= value < 1"),
        (-0.1, "fixed", "^p: expected 0 <= value < 1"),
        (float("nan"), "fixed", "^p: expected 0 <= value < 1"),
        (0.2, "per_step", "^mask: expected one of"),
    ],
)
def test_probability_and_mask_mode_are_checked(layer, p, mask, match):
    with pytest.raises(InputError, match=match):
        layer(p, mask)


def test_a_layer_tells_its_settings():
    assert repr(Dropout(0.25, "per-step")) == "Dropout(p=0.25, mask=per-step)"
    text = "DropConnectLinear(in_features=3, out_features=2, bias=False, p=0.2, mask=fixed)"
    assert repr(DropConnectLinear(3, 2)) == text
