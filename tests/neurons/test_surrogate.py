from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.checks import InputError
from tsnn_uq.neurons.surrogate import SURROGATES, spike, surrogate

names = st.sampled_from(sorted(SURROGATES))
alphas = st.sampled_from([0.5, 1.0, 2.0, 10.0])


@given(names, alphas, st.lists(st.sampled_from([0.0, 0.1, -0.1, 1.0]) | st.floats(-4, 4), min_size=1, max_size=8))
def test_the_derivative_is_that_of_the_primitive(name, alpha, values):
    kind = surrogate(name, alpha)
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(kind.primitive(x).sum(), x)
    torch.testing.assert_close(kind.derivative(x.detach()), slope)
    step = 1e-6
    finite = (kind.primitive(x + step) - kind.primitive(x - step)).detach() / (2 * step)
    # The triangle's slope has kinks, where a finite difference is off by the step times the curvature.
    torch.testing.assert_close(kind.derivative(x.detach()), finite, atol=2 * step * alpha**2, rtol=1e-6)


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_the_primitive_rises_from_zero_to_one_through_a_half_at_the_threshold(name, alpha):
    kind = surrogate(name, alpha)
    x = torch.linspace(-1e6, 1e6, 2001, dtype=torch.float64)
    y = kind.primitive(x)
    assert (y.diff() >= 0).all()
    torch.testing.assert_close(y[[0, 1000, -1]], torch.tensor([0.0, 0.5, 1.0]).double(), atol=2e-6, rtol=0)
    torch.testing.assert_close(kind.derivative(x), kind.derivative(-x))


def test_the_formulas_in_numbers():
    x = torch.tensor([0.0, 0.5, -2.0], dtype=torch.float64)
    by_hand = {
        "arctan": [1.0, 1 / (1 + (math.pi / 2) ** 2), 1 / (1 + (2 * math.pi) ** 2)],
        "sigmoid": [1.0, 4 * math.exp(-2) / (1 + math.exp(-2)) ** 2, 4 * math.exp(-8) / (1 + math.exp(-8)) ** 2],
        "triangle": [1.0, 0.5, 0.0],
    }
    assert set(by_hand) == set(SURROGATES)
    for name, slopes in by_hand.items():
        torch.testing.assert_close(surrogate(name).derivative(x), torch.tensor(slopes).double())


@pytest.mark.parametrize("name", SURROGATES)
def test_a_derivative_leaves_its_argument_alone(name):
    x = torch.tensor([-0.5, 0.0, 2.0])
    surrogate(name).derivative(x)
    assert x.tolist() == [-0.5, 0.0, 2.0]


@given(names, alphas, st.lists(st.sampled_from([0.0, -0.0, 1e-300, -1e-300]) | st.floats(-9, 9), min_size=1))
def test_a_spike_is_the_step_forward_and_the_surrogate_backward(name, alpha, values):
    kind = surrogate(name, alpha)
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    spikes = spike(x, kind)
    assert spikes.tolist() == [1.0 if value >= 0 else 0.0 for value in values]
    weights = torch.arange(1.0, len(values) + 1, dtype=torch.float64)
    (slope,) = torch.autograd.grad((weights * spikes).sum(), x)
    assert torch.equal(slope, weights * kind.derivative(x.detach()))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("arctn",), "^surrogate: expected one of"),
        (("arctan", 0.0), "^alpha: expected a positive number"),
        (("arctan", float("nan")), "^alpha: expected a positive number"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(InputError, match=match):
        surrogate(*arguments)
