from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, multivariate_normal

from tests.helpers.comparison import made_up_results, plain_covariance
from tsnn_uq.results.bayesian_comparison.design import make_design
from tsnn_uq.results.bayesian_comparison.mcmc_diagnostics import effective_sample_size, split_r_hat
from tsnn_uq.results.bayesian_comparison.mixed_model import group_means, make_kernels, pyro_model
from tsnn_uq.results.bayesian_comparison.nuts import sample_scales


@pytest.mark.slow
def test_log_scales_have_the_posterior_of_a_grid() -> None:
    """Mean and deviation of each, against sums over a grid of the density written out pair by pair."""
    results = made_up_results(families=["dropout"], methods=("float", "direct"), seeds=4)
    y = np.log(1 - results["accuracy"].to_numpy())
    y = y - y.mean()
    axes = [np.linspace(math.log(0.1) - 3.4, math.log(0.1) + 3.4, 12)] * 2 + [np.linspace(-6, 0.5, 18)] * 2
    points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], 1)
    units = np.zeros((4, len(y), len(y)))
    methods = ["float", "direct"]
    fixed = plain_covariance(results, 0, 0, dict.fromkeys(methods, 0.0))
    for k, (tau, upsilon, *sigma) in enumerate(np.eye(4)):
        units[k] = plain_covariance(results, tau, upsilon, dict(zip(methods, sigma, strict=True))) - fixed
    covariance = fixed + np.einsum("gk,kij->gij", np.exp(2 * points), units)
    inverse_y = np.linalg.solve(covariance, np.broadcast_to(y[:, None], (len(points), len(y), 1)))[..., 0]
    log_density = -(inverse_y @ y + np.linalg.slogdet(covariance)[1]) / 2
    prior = np.diag([1, 1, 0.25, 0.25]) + 1.5**2 * np.outer([0, 0, 1, 1], [0, 0, 1, 1])
    log_density += multivariate_normal(np.full(4, math.log(0.1)), prior).logpdf(points)
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    mean = weights @ points
    deviation = np.sqrt(weights @ (points - mean) ** 2)
    kernels = make_kernels(make_design(results, "float"))
    chains = sample_scales(kernels, y[None], seed=0, draws=250, warm_up=80, chains=2)
    draws = chains.log_scales[:, :, 0]
    error = deviation / effective_sample_size(draws).sqrt().numpy()
    np.testing.assert_array_less(np.abs(draws.mean((0, 1)).numpy() - mean), 4 * error + 0.01)
    np.testing.assert_allclose(draws.flatten(0, 1).std(0), deviation, rtol=0.15)
    assert chains.divergences == 0
    assert split_r_hat(draws).max() < 1.03


def test_one_seed_gives_one_result_and_torch_gets_its_generator_back() -> None:
    results = made_up_results(families=["dropout"], methods=("float", "direct"), seeds=2)
    kernels = make_kernels(make_design(results, "float"))
    y = np.random.default_rng(0).normal(size=(1, len(results)))
    before = torch.random.get_rng_state()
    first, second, other = (
        sample_scales(kernels, y, seed=seed, draws=5, warm_up=5, chains=2).log_scales for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def ranks_of_prior_draws(simulations: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks [simulations, 4] among `draws` of tau, upsilon, a sigma and a difference, by Talts et al. (2018).

    The first are those of the model, the second those of a wrong one, which is shown rows half as far apart again.
    All simulations of both are sampled side by side, as measures are.
    """
    from pyro import poutine

    kernels = make_kernels(make_design(made_up_results(seeds=3, methods=("float", "direct")), "float"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trace = poutine.trace(pyro_model).get_trace(kernels, None, simulations)
    truth, y = (trace.nodes[name]["value"] for name in ("log_scales", "y"))
    generator = torch.Generator().manual_seed(1)
    means = torch.cat(
        [group_means(kernels, row, scales[None], generator) for row, scales in zip(y, truth, strict=True)]
    )
    truth, means, shown = truth.repeat(2, 1), means.repeat(2, 1), torch.cat([y, 1.5 * y])
    found = sample_scales(kernels, shown.numpy(), seed=2, draws=draws * 5, warm_up=80, chains=1).log_scales[0, ::5]
    drawn = torch.stack(
        [group_means(kernels, row, scales, generator) for row, scales in zip(shown, found.unbind(1), strict=True)], 1
    )
    below = [(found[..., k] < truth[:, k]).sum(0) for k in range(3)]
    below.append((drawn[..., 1] - drawn[..., 0] < means[:, 1] - means[:, 0]).sum(0))
    right, wrong = torch.stack(below, 1).numpy().reshape(2, simulations, 4)
    return right, wrong


def uniformity(ranks: np.ndarray) -> float:
    """The smallest p-value of chi-square tests of each quantity's ranks in 6 bins."""
    return min(chisquare(np.bincount(column // 4, minlength=6)).pvalue for column in ranks.T)


@pytest.mark.slow
def test_simulation_based_calibration() -> None:
    """Ranks of prior draws among posterior draws are uniform (100 simulations, four quantities).

    So few simulations only notice gross faults: scales off by a half are, as the wrong model shows, a tenth would
    not be. The closed form, given the scales, is tested more sharply in test_model.py, and the scales' posterior
    against a grid above.
    """
    right, wrong = ranks_of_prior_draws(simulations=100, draws=23)
    assert uniformity(right) > 0.01 / 4 > uniformity(wrong)
