from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.neurons import LIFParameters, lif_scan
from tsnn_uq.uncertainty import MASK_MODES, Dropout, draw_masks, set_generator


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dropout(p: float, mask: str, *seeds: int) -> Dropout:
    layer = Dropout(p, mask)
    set_generator(layer, *map(seeded, seeds))
    return layer


@given(
    st.sampled_from([0.2, 0.5, 0.9]),
    st.sampled_from(MASK_MODES),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([(1,), (3,), (2, 2)]),
)
def test_it_is_a_loop_over_groups_steps_and_inputs(p, mask, groups, per_group, steps, features):
    spikes = torch.randn(steps, groups * per_group, *features, generator=seeded(99))
    out = dropout(p, mask, *range(groups))(spikes)
    assert out.shape == spikes.shape
    for g in range(groups):
        drawn = 1 if mask == "fixed" else steps
        (masks,) = draw_masks((drawn, per_group, *features), p, [seeded(g)], spikes)
        for t in range(steps):
            for n in range(per_group):
                expected = spikes[t, g * per_group + n] * masks[t if mask == "per-step" else 0, n]
                assert torch.equal(out[t, g * per_group + n], expected)


def test_a_fixed_mask_stays_and_a_mask_per_step_does_not():
    ones = torch.ones(5, 2, 100)
    fixed, redrawn = dropout(0.5, "fixed", 0)(ones), dropout(0.5, "per-step", 0)(ones)
    assert (fixed == fixed[0]).all()
    assert not torch.equal(fixed[:, 0], fixed[:, 1])
    assert all(not torch.equal(redrawn[t], redrawn[t + 1]) for t in range(4))


@pytest.mark.parametrize("mask", MASK_MODES)
def test_the_mean_is_kept(mask):
    out = dropout(0.3, mask, 0)(torch.ones(4, 500, 100))
    inputs = 500 * 100 * (1 if mask == "fixed" else 4)
    assert abs(out.mean().item() - 1) < 5 * (0.3 / 0.7 / inputs) ** 0.5


def test_a_call_draws_anew_and_a_seed_repeats():
    layer, ones = dropout(0.5, "fixed", 0), torch.ones(2, 3, 50)
    first = layer(ones)
    assert not torch.equal(layer(ones), first)
    assert torch.equal(dropout(0.5, "fixed", 0)(ones), first)


def test_it_is_the_identity_in_evaluation_mode_and_for_p_zero():
    spikes = torch.ones(2, 3, 4)
    assert Dropout().eval()(spikes) is spikes
    assert Dropout(0.0)(spikes) is spikes


def test_the_gradient_passes_where_the_unit_stayed():
    spikes = torch.randn(3, 2, 5, generator=seeded(1)).requires_grad_()
    layer = dropout(0.5, "fixed", 0)
    layer(spikes).sum().backward()
    assert torch.equal(spikes.grad, dropout(0.5, "fixed", 0)(torch.ones(3, 2, 5)))


def test_input_without_a_time_axis_is_refused(generator):
    layer = dropout(0.5, "fixed", 0)
    with pytest.raises(InputError, match=r"^spikes: expected shape \[T, N, ...\]"):
        layer(torch.ones(2, 3))


def variance_of_the_time_mean(mask: str, steps: int, draws: int, spiking: bool) -> Tensor:
    """Variance over draws of a readout's mean over time, for input that is the same at each step."""
    generator = seeded(5)
    weights = torch.randn(30, 4, generator=generator) / 4
    layer = dropout(0.5, mask, 6)
    held = torch.ones(steps, draws, 30)
    out = layer(held) @ weights
    if spiking:
        out = lif_scan(out.abs() / 2, LIFParameters())
    return out.mean(0).var(0)


@pytest.mark.parametrize("steps", [4, 16])
def test_a_linear_readout_varies_steps_times_more_with_fixed_masks(steps):
    # The mean of T independent draws has 1 / T of the variance of one.
    draws = 4000
    ratio = variance_of_the_time_mean("fixed", steps, draws, False) / variance_of_the_time_mean(
        "per-step", steps, draws, False
    )
    # The ratio of two sample variances has a relative standard error of sqrt(4 / draws).
    assert ((ratio / steps - 1).abs() < 5 * (4 / draws) ** 0.5).all()


def test_behind_spiking_neurons_fixed_masks_still_vary_more_and_the_more_the_longer():
    ratios = [
        (
            variance_of_the_time_mean("fixed", steps, 2000, True).mean()
            / variance_of_the_time_mean("per-step", steps, 2000, True).mean()
        ).item()
        for steps in (4, 16, 64)
    ]
    assert 1 < ratios[0] < ratios[1] < ratios[2]
