from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.checks import InputError
from tsnn_uq.results.bayesian_comparison import Limits, effective_sample_size, split_r_hat
from tsnn_uq.results.bayesian_comparison.mcmc_diagnostics import check_chains, diagnose


def plain_split_r_hat(chains: list[list[float]]) -> float:
    half = len(chains[0]) // 2
    halves = [part for chain in chains for part in (chain[:half], chain[-half:])]
    means = [sum(part) / half for part in halves]
    grand = sum(means) / len(means)
    between = half * sum((mean - grand) ** 2 for mean in means) / (len(means) - 1)
    within = sum(
        sum((x - mean) ** 2 for x in part) / (half - 1) for part, mean in zip(halves, means, strict=True)
    ) / len(halves)
    return math.sqrt(((half - 1) / half * within + between / half) / within)


def plain_effective_sample_size(chains: list[list[float]]) -> float:
    """Stan's reference manual, section on effective sample size: variances, then pairs of lags while positive."""
    count, length = len(chains), len(chains[0])
    means = [sum(chain) / length for chain in chains]
    variances = [sum((x - m) ** 2 for x in chain) / (length - 1) for chain, m in zip(chains, means, strict=True)]
    within = sum(variances) / count
    total = (length - 1) / length * within
    if count > 1:
        total += sum((mean - sum(means) / count) ** 2 for mean in means) / (count - 1)
    else:
        within = total
    rho = []
    for lag in range(length):
        products = 0.0
        for chain, m in zip(chains, means, strict=True):
            pairs = zip(chain, chain[lag:], strict=False)
            products += sum((x - m) * (y - m) for x, y in pairs) / (length - lag)
        rho.append(1 - (within - products / count) / total)
    rho[0] = 1.0
    pairs_sum = [rho[t] + rho[t + 1] for t in range(0, length - 1, 2)]
    time, least = -1 + 2 * pairs_sum[0], math.inf
    for value in pairs_sum[1:]:
        least = min(least, max(value, 0.0))
        time += 2 * least
    return count * length / time


def walks(seed: int, chains: int, draws: int, keep: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(size=(chains, draws))
    for t in range(1, draws):
        values[:, t] = keep * values[:, t - 1] + math.sqrt(1 - keep**2) * values[:, t]
    return values


@given(st.integers(0, 99), st.integers(1, 4), st.integers(4, 40), st.floats(-0.8, 0.95))
def test_r_hat_is_the_definition(seed: int, chains: int, draws: int, keep: float) -> None:
    values = walks(seed, chains, draws, keep)
    assert split_r_hat(torch.from_numpy(values)).item() == pytest.approx(plain_split_r_hat(values.tolist()), rel=1e-9)


@given(st.integers(0, 99), st.integers(1, 4), st.integers(4, 40), st.floats(0, 0.95))
def test_effective_sample_size_is_the_definition(seed: int, chains: int, draws: int, keep: float) -> None:
    values = walks(seed, chains, draws, keep)
    found = effective_sample_size(torch.from_numpy(values)).item()
    assert found == pytest.approx(plain_effective_sample_size(values.tolist()), rel=1e-6)


def test_effective_sample_size_of_an_autoregression() -> None:
    """(1 - a) / (1 + a) of the draws, in the limit."""
    values = torch.from_numpy(walks(0, 4, 5000, 0.6))
    assert effective_sample_size(values).item() == pytest.approx(20000 * 0.4 / 1.6, rel=0.15)


def good(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(4, 250, 2, generator=generator, dtype=torch.float64)


def test_chains_that_agree_are_accepted(generator: torch.Generator) -> None:
    check_chains(diagnose(["tau", "sigma"], good(generator)), 0, 1000, Limits())


def test_chains_that_disagree_are_refused(generator: torch.Generator) -> None:
    draws = good(generator)
    draws[0, :, 1] += 1
    with pytest.raises(InputError, match=r"draws: expected R-hat of at most 1.02"):
        check_chains(diagnose(["tau", "sigma"], draws), 0, 1000, Limits())


def test_chains_that_stand_still_are_refused(generator: torch.Generator) -> None:
    draws = good(generator)
    draws[..., 0] = 1.0
    with pytest.raises(InputError, match=r"draws: expected R-hat .* for tau"):
        check_chains(diagnose(["tau", "sigma"], draws), 0, 1000, Limits())


def test_few_effective_draws_are_refused() -> None:
    draws = torch.from_numpy(walks(0, 4, 1000, 0.9))[..., None]
    with pytest.raises(InputError, match="draws: expected at least 400 effective draws"):
        check_chains(diagnose(["tau"], draws), 0, 4000, Limits(r_hat=2))


def test_divergences_are_refused(generator: torch.Generator) -> None:
    table = diagnose(["tau", "sigma"], good(generator))
    check_chains(table, 5, 1000, Limits())
    with pytest.raises(InputError, match=r"draws: expected at most 0.5% that diverge"):
        check_chains(table, 6, 1000, Limits())
