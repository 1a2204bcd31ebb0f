"""Diagnostics of MCMC chains: split R-hat, effective sample size and divergences, with limits that raise an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from tsnn_uq.checks import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Limits", "check_chains", "diagnose", "effective_sample_size", "split_r_hat"]


@dataclass(frozen=True)
class Limits:
    """Limits of the diagnostics of chains.

    Vehtari et al. (Bayesian Analysis 2021, section 4) recommend an R-hat below 1.01 and 400 effective draws. With 250
    draws per chain, even independent draws exceed 1.01 for one in a thousand quantities, so a table of fifty would
    sometimes be rejected by chance. They exceed 1.02 for one in a million.

    Attributes:
        r_hat: largest split R-hat of any quantity.
        ess: smallest effective sample size of any quantity, over all chains together.
        divergent: largest share of divergent draws.
    """

    r_hat: float = 1.02
    ess: float = 400.0
    divergent: float = 0.005


def split_r_hat(draws: Tensor) -> Tensor:
    """Split R-hat of each quantity: [C, D, ...] (chains, at least four draws) -> [...].

    It is the square root of (D - 1) / D plus the ratio of the variance between half chains to the variance within them
    (Gelman et al., Bayesian Data Analysis, 2013, section 11.4), as implemented in Pyro. It is 1 if the chains agree.
    """
    from pyro.ops.stats import split_gelman_rubin

    return split_gelman_rubin(draws, chain_dim=0, sample_dim=1)


def effective_sample_size(draws: Tensor) -> Tensor:
    """Number of independent draws that estimate the mean of each quantity equally well: [C, D, ...] -> [...].

    Computed by Pyro with Geyer's initial monotone sequence over all chains (Gelman et al. 2013, section 11.5). It may
    exceed C * D, since successive draws of NUTS can be negatively correlated.
    """
    from pyro.ops.stats import effective_sample_size as of_pyro

    return of_pyro(draws, chain_dim=0, sample_dim=1)


def diagnose(names: list[str], draws: Tensor) -> DataFrame:
    """A row for each quantity of `draws` [C, D, Q]: its name, ``r_hat`` and ``ess``."""
    import pandas as pd

    values = {"r_hat": split_r_hat(draws).numpy(), "ess": effective_sample_size(draws).numpy()}
    return pd.DataFrame({"quantity": names, **values})


def check_chains(table: DataFrame, divergences: int, total: int, limits: Limits) -> None:
    """Raise an error if chains are beyond `limits`.

    Args:
        table: as returned by `diagnose`.
        divergences: number of divergent draws.
        total: number of all draws.
        limits: the limits.

    Raises:
        InputError: a limit is exceeded; the message has the worst quantity and its value.
    """
    remedy = "raise draws or warm_up"
    worst = table.iloc[int(table["r_hat"].fillna(float("inf")).to_numpy().argmax())]
    if not worst["r_hat"] <= limits.r_hat:
        got = f"{worst['r_hat']:.4f} for {worst['quantity']}"
        raise InputError(f"draws: expected R-hat of at most {limits.r_hat} for every quantity; got {got} ({remedy})")
    worst = table.iloc[int(table["ess"].fillna(0).to_numpy().argmin())]
    if not worst["ess"] >= limits.ess:
        got = f"{worst['ess']:.0f} for {worst['quantity']}"
        raise InputError(
            f"draws: expected at least {limits.ess:.0f} effective draws of every quantity; got {got} ({remedy})"
        )
    if divergences > limits.divergent * total:
        wanted = f"draws: expected at most {limits.divergent:.1%} that diverge"
        raise InputError(f"{wanted}; got {divergences} of {total} (another seed or a longer warm_up may help)")
