from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, multivariate_normal

from tests.helpers.comparison import made_up_results, plain_covariance
from tsnn_uq.results.bayesian_comparison.design import make_design
from tsnn_uq.results.bayesian_comparison.mixed_model import (
    Potential,
    covariances,
    group_means,
    make_kernels,
    pyro_model,
)

RESULTS = made_up_results(seeds=3, parts=("conv", "all")).sample(frac=1, random_state=1).iloc[:-2]  # ragged, shuffled
DESIGN = make_design(RESULTS, "float")
KERNELS = make_kernels(DESIGN)
log_scales = st.lists(st.floats(-5, 1), min_size=5, max_size=5)


def rows(seed: int, measures: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(measures, len(RESULTS)))


@given(log_scales)
def test_covariance_is_the_formula_pair_by_pair(values: list[float]) -> None:
    tau, upsilon, *sigma = np.exp(values)
    expected = plain_covariance(RESULTS, tau, upsilon, dict(zip(DESIGN.methods, sigma, strict=True)))
    found = covariances(KERNELS, torch.tensor(values, dtype=torch.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(log_scales)
def test_potential_is_the_density_of_scipy(values: list[float]) -> None:
    """Up to one constant, which the point where all scales are 0.1 tells."""
    y, potential = rows(0), Potential(KERNELS, rows(0))
    prior = np.diag([1, 1, 0.25, 0.25, 0.25]) + 1.5**2 * np.outer([0, 0, 1, 1, 1], [0, 0, 1, 1, 1])

    def plain(point: np.ndarray) -> float:
        tau, upsilon, *sigma = np.exp(point)
        covariance = plain_covariance(RESULTS, tau, upsilon, dict(zip(DESIGN.methods, sigma, strict=True)))
        likelihood = multivariate_normal(np.zeros(len(RESULTS)), covariance).logpdf(y[0])
        return -likelihood - multivariate_normal(np.full(5, math.log(0.1)), prior).logpdf(point)

    here, middle = np.array(values), np.full(5, math.log(0.1))
    found = potential(here[None])[0] - potential(middle[None])[0]
    assert found == pytest.approx(plain(here) - plain(middle), rel=1e-7, abs=1e-7)


@settings(max_examples=10)
@given(log_scales)
def test_potential_and_gradient_are_those_of_the_pyro_model(values: list[float]) -> None:
    from pyro.infer.mcmc.util import initialize_model

    y = rows(1, measures=2)
    _, pyro_potential, *_ = initialize_model(pyro_model, (KERNELS, torch.from_numpy(y), 2))
    point = torch.tensor([values, values[::-1]], dtype=torch.float64, requires_grad=True)
    expected = pyro_potential({"log_scales": point})
    (gradient,) = torch.autograd.grad(expected, point)
    value, slope = Potential(KERNELS, y)(point.detach().numpy())
    np.testing.assert_allclose(slope, gradient, rtol=1e-6, atol=1e-7 * gradient.abs().max())
    middle = torch.full_like(point, -2)
    offset = pyro_potential({"log_scales": middle}).item() - Potential(KERNELS, y)(middle.numpy())[0]
    assert value + offset == pytest.approx(expected.item(), rel=1e-8)


def test_scales_that_overflow_are_infinitely_unlikely() -> None:
    value, gradient = Potential(KERNELS, rows(0))(np.full((1, 5), -400.0))
    assert value == math.inf or value > 1e4
    assert np.isfinite(gradient).all()


def test_group_means_given_the_scales_have_the_posterior_in_closed_form(generator: torch.Generator) -> None:
    """Bayesian linear regression on families, treatments, groups and seeds in its precision form, row by row."""
    scales = dict(zip(["tau", "upsilon", *DESIGN.methods], [0.3, 0.2, 0.1, 0.5, 0.25], strict=True))
    keys: dict[object, float] = {}
    for row in RESULTS.itertuples():
        treatment = row.quantized_part, row.method
        keys |= {("family", row.family): 2, ("treatment", *treatment): 2}
        keys |= {("group", row.family, *treatment): scales["tau"], ("seed", row.family, row.seed): scales["upsilon"]}
    names = list(keys)
    z = np.zeros((len(RESULTS), len(names)))
    for i, row in enumerate(RESULTS.itertuples()):
        treatment = row.quantized_part, row.method
        group = ("group", row.family, *treatment)
        for key in (("family", row.family), ("treatment", *treatment), group, ("seed", row.family, row.seed)):
            z[i, names.index(key)] = 1
    noise = np.array([scales[method] for method in RESULTS["method"]]) ** -2
    y = rows(3)[0]
    covariance = np.linalg.inv(z.T * noise @ z + np.diag(np.array(list(keys.values())) ** -2))
    mean = covariance @ (z.T * noise) @ y
    pick = np.zeros((len(DESIGN.groups), len(names)))
    for g, ((family,), *treatment) in enumerate(DESIGN.groups):
        for key in (("family", family), ("treatment", *treatment), ("group", family, *treatment)):
            pick[g, names.index(key)] = 1
    count = 20000
    log = torch.tensor([list(scales.values())], dtype=torch.float64).log().expand(count, -1)
    draws = group_means(KERNELS, torch.from_numpy(y), log, generator).numpy()
    spread = np.sqrt(np.diag(pick @ covariance @ pick.T))
    np.testing.assert_allclose(draws.mean(0), pick @ mean, atol=5 * spread.max() / math.sqrt(count))
    expected = pick @ covariance @ pick.T
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.03 * np.diag(expected).max())


@pytest.mark.parametrize(("inflate", "calibrated"), [(1.0, True), (0.8, False)])
def test_group_means_are_calibrated_given_the_scales(
    generator: torch.Generator, inflate: float, calibrated: bool
) -> None:
    """Simulation-based calibration of the closed form; scales that are 20 % too small are noticed."""
    log = torch.tensor([0.3, 0.2, 0.1, 0.5, 0.25], dtype=torch.float64).log()
    effects, count, ranks = KERNELS.effects, 1000, []
    for _ in range(count):
        means = effects @ torch.randn(effects.shape[1], generator=generator, dtype=torch.float64)
        means = means + 0.3 * torch.randn(len(effects), generator=generator, dtype=torch.float64)
        seeds = 0.2 * torch.randn(KERNELS.seeds.shape[1], generator=generator, dtype=torch.float64)
        rest = log.exp()[2:][KERNELS.method] * torch.randn(len(RESULTS), generator=generator, dtype=torch.float64)
        y = KERNELS.rows @ means + KERNELS.seeds @ seeds + rest
        draws = group_means(KERNELS, y, (log + math.log(inflate)).expand(19, -1), generator)
        ranks.append(int((draws[:, 0] - draws[:, 1] < means[0] - means[1]).sum()))
    assert (chisquare(np.bincount(ranks, minlength=20)).pvalue > 1e-3) == calibrated
