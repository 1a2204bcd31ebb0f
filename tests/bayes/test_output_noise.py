from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv2d, linear

from tsnn_uq.bayes.output_noise import JITTER, correlate, exact_noise, flipout_noise
from tsnn_uq.bayes.weight_distributions import TernaryWeights

DRAWS = 40_000


def enumerated(inputs, family):
    """Mean [T] and covariance [T, T] of an output of ternary weights [1, in], over all 3^in of them."""
    logs = torch.stack(family.log_probabilities())[:, 0]  # [3, in]
    codes = list(itertools.product((-1, 0, 1), repeat=inputs.shape[1]))
    chances = torch.stack([logs[torch.tensor(c) + 1, torch.arange(len(c))].sum().exp() for c in codes])
    outputs = family.scale * torch.tensor(codes, dtype=inputs.dtype) @ inputs.T
    mean = chances @ outputs
    centred = outputs - mean
    return mean, centred.T @ (chances.unsqueeze(1) * centred)


def spikes(steps, units, generator, rate=0.4):
    return (torch.rand(steps, units, generator=generator) < rate).double()


@pytest.fixture
def ternary(generator):
    return TernaryWeights(torch.randn(1, 5, generator=generator, dtype=torch.float64)).double()


def test_moments_are_those_of_all_weights_by_enumeration(ternary, generator):
    inputs = spikes(4, 5, generator)
    mean, covariance = enumerated(inputs, ternary)
    means, variances = ternary.moments()
    torch.testing.assert_close(inputs @ means[0], mean)
    torch.testing.assert_close(torch.einsum("ti,ui,i->tu", inputs, inputs, variances[0]), covariance)


@pytest.mark.parametrize("draw", [exact_noise, flipout_noise])
def test_noise_has_the_covariance_of_drawn_weights(ternary, generator, draw):
    """Ten thousands of outputs whose weights have the same distributions."""
    for parameter in (ternary.zero_logit, ternary.plus_logit):
        parameter.data = parameter.data.expand(DRAWS, 5)
    inputs = spikes(4, 5, generator)
    means, variances = (moment.detach() for moment in ternary.moments())
    drawn = inputs @ ternary.draw(generator).T  # [T, DRAWS]
    noise = draw(linear, inputs.unsqueeze(1), variances, generator)[:, 0]
    torch.testing.assert_close(drawn.mean(1), inputs @ means[0], atol=0.03, rtol=0)
    torch.testing.assert_close(noise.mean(1), torch.zeros(4).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(noise), torch.cov(drawn), atol=0.04, rtol=0.02)


def test_flipout_leaves_different_inputs_uncorrelated(generator):
    inputs = torch.ones(1, 2, 6).double()
    noise = flipout_noise(linear, inputs, torch.ones(DRAWS, 6).double(), generator)[0]
    assert noise[0].var().item() == pytest.approx(6, rel=0.03)
    assert abs(torch.corrcoef(noise)[0, 1]) < 0.02


def test_flipout_gives_places_of_an_image_the_covariance_of_a_shared_kernel(generator):
    image = torch.rand(1, 1, 2, 3, 3, generator=generator).double()
    variance = torch.rand(1, 2, 2, 2, generator=generator).double().expand(DRAWS, 2, 2, 2)

    def layer(values, weight):
        return conv2d(values.flatten(0, 1), weight).unflatten(0, values.shape[:2])

    kernels = torch.randn(variance.shape, generator=generator).double() * variance.sqrt()
    drawn, noise = layer(image, kernels), flipout_noise(layer, image, variance, generator)  # [1, 1, DRAWS, 2, 2]
    covariances = [torch.cov(places.flatten(3)[0, 0].T) for places in (noise, drawn)]
    torch.testing.assert_close(*covariances, atol=0.04, rtol=0.03)


@given(st.integers(1, 5), st.integers(0, 10_000))
def test_factor_is_that_of_torch(steps, seed):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(7, steps, steps, generator=generator, dtype=torch.float64)
    full = root @ root.mT
    epsilon = torch.randn(steps, 7, generator=generator, dtype=torch.float64)
    first, second = torch.triu_indices(steps, steps)
    diagonal = full.diagonal(dim1=1, dim2=2)
    jitter = JITTER * (diagonal + diagonal.mean()) if steps > 1 else torch.zeros_like(diagonal)
    factor = torch.linalg.cholesky(full + torch.diag_embed(jitter))
    expected = (factor @ epsilon.T.unsqueeze(2))[..., 0].T
    torch.testing.assert_close(correlate(full[:, first, second].T, epsilon), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_stay_finite_where_steps_repeat_or_are_silent(generator, dtype):
    inputs = torch.zeros(4, 3, 5, dtype=dtype)
    inputs[:, 0] = 1  # the same at all steps
    inputs[2:, 1, 0] = 1  # silent at first
    inputs.requires_grad_()
    variance = torch.tensor([[0.5, 0.1, 0.0, 1e-12, 0.2]], dtype=dtype, requires_grad=True)
    noise = exact_noise(linear, inputs, variance, generator)
    noise.square().sum().backward()
    for gradient in (inputs.grad, variance.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() < 1e4
    assert noise[:, 2].abs().max() < 0.2  # nothing but the floor


def test_gradient_of_noise_is_that_of_finite_differences(generator):
    inputs = torch.rand(3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    variance = torch.rand(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)

    def squares(inputs, variance):
        # The floor under the diagonal is taken as given, and is as good as none here.
        return exact_noise(linear, inputs, variance, torch.Generator().manual_seed(3)).square().sum()

    assert torch.autograd.gradcheck(squares, (inputs, variance), atol=0.02, rtol=0.02)
