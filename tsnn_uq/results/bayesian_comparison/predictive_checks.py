"""Posterior predictive checks: compare observed networks with new seeds drawn from the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tsnn_uq.results.bayesian_comparison.design import Design, incidence
from tsnn_uq.results.bayesian_comparison.measure_scales import Array, MeasureScale

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["predictive_check", "statistics"]


def statistics(values: Tensor, member: Tensor) -> dict[str, Tensor]:
    """Mean, spread and maximum of rows [D, n] in groups with one-hot membership `member` [n, G].

    The spread is the standard deviation around the groups' means, with n - G degrees of freedom.
    """
    sizes = member.sum(0)
    off = values - (values @ member / sizes) @ member.T
    spread = ((off**2).sum(1) / (len(member) - len(sizes))).sqrt()
    return {"mean": values.mean(1), "spread": spread, "max": values.amax(1)}


def predictive_check(
    design: Design,
    measures: Sequence[MeasureScale],
    y: Array,
    log_scales: Tensor,
    means: Tensor,
    generator: torch.Generator,
) -> DataFrame:
    """Posterior predictive p-values (Gelman, Meng and Stern, Statistica Sinica 1996) of each measure and method.

    Args:
        design: layout of the N rows in G groups.
        measures: M measures.
        y: [M, N], rows on the model's scale.
        log_scales: [D, M, 2 + K], draws.
        means: [D, M, G], draws.
        generator: source of the new seeds.

    Returns:
        Columns ``measure``, ``unit``, ``method``, ``statistic`` ("mean"; "spread", the standard deviation over seeds
        within groups; "max"), ``observed``, ``predicted_mean``, the central 95 % interval ``low``, ``high``, and
        ``p_value``, the share of predictions at or above the observed value; near 0 or 1 the model does not fit.
    """
    import pandas as pd

    group, seeds = torch.from_numpy(design.group), incidence(design.seed)
    number = torch.from_numpy(design.method)
    rows = []
    for place, measure in enumerate(measures):
        scales = log_scales[:, place].exp()
        shape = len(scales), len(group)
        rest = scales[:, 2:][:, number] * torch.randn(shape, generator=generator, dtype=torch.float64)
        fresh = torch.randn(len(scales), seeds.shape[1], generator=generator, dtype=torch.float64)
        predicted = measure.backward(means[:, place][:, group] + scales[:, 1:2] * fresh @ seeds.T + rest)
        observed = measure.backward(torch.from_numpy(y[place]))
        for index, method in enumerate(design.methods):
            own = number == index
            member = torch.nn.functional.one_hot(group[own].unique(return_inverse=True)[1]).double()
            truth = statistics(observed[None, own], member)
            for name, values in statistics(predicted[:, own], member).items():
                low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
                share = (values >= truth[name]).double().mean().item()
                found = (truth[name].item(), values.mean().item(), low, high, share)
                rows.append((measure.name, measure.unit, method, name, *found))
    columns = ["measure", "unit", "method", "statistic", "observed", "predicted_mean", "low", "high", "p_value"]
    return pd.DataFrame(rows, columns=columns)
