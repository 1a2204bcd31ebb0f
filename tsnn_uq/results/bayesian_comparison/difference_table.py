"""Differences in the units of the results, and a table that summarizes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.results.bayesian_comparison.design import Design
from tsnn_uq.results.bayesian_comparison.mcmc_diagnostics import effective_sample_size, split_r_hat
from tsnn_uq.results.bayesian_comparison.measure_scales import Array, MeasureScale

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["ALL", "Difference", "differences", "summarize_draws"]

ALL = "all"
"""Name of the mean over families."""


class Difference(NamedTuple):
    """Method minus baseline in one block, or on average over blocks (named `ALL`); `half_rope` is in `unit`."""

    measure: str
    unit: str
    block: tuple[str, ...]
    part: str
    method: str
    half_rope: float

    def title(self) -> str:
        """A description for messages."""
        return f"{self.measure} of {', '.join(self.block)}, {self.part}, {self.method}"


def differences(
    design: Design, measures: Sequence[MeasureScale], y: Array, means: Tensor, baseline: str
) -> tuple[tuple[Difference, ...], Tensor]:
    """All R differences from the baseline, and their draws [C, D, R].

    Args:
        design: the layout of the rows.
        measures: M measures.
        y: [M, N], rows on the model's scale.
        means: [C, D, M, G], draws of the groups' means on that scale.
        baseline: the method to compare with.
    """
    rows: list[Difference] = []
    values: list[Tensor] = []
    sizes = np.bincount(design.group)
    for number, measure in enumerate(measures):
        typical = measure.backward(means[:, :, number])
        observed = measure.backward(torch.from_numpy(np.bincount(design.group, y[number]) / sizes))
        alike = defaultdict(list)
        for group, other in enumerate(design.baselines(baseline)):
            if other is not None:
                block, part, method = design.groups[group]
                half = measure.half_rope(observed[other].item())
                alike[part, method].append(len(rows))
                rows.append(Difference(measure.name, measure.unit, block, part, method, half))
                values.append(typical[..., group] - typical[..., other])
        for (part, method), members in alike.items():
            if len(members) > 1:
                half = float(np.mean([rows[member].half_rope for member in members]))
                names = (ALL,) * len(design.block_columns)
                rows.append(Difference(measure.name, measure.unit, names, part, method, half))
                values.append(torch.stack([values[member] for member in members]).mean(0))
    return tuple(rows), torch.stack(values, -1)


def summarize_draws(rows: Sequence[Difference], draws: Tensor, block_columns: Sequence[str]) -> DataFrame:
    """The table of `MethodComparison.table` from the draws [C, D, R] of its rows."""
    import pandas as pd

    flat = draws.flatten(0, 1)
    low, high = flat.quantile(torch.tensor([0.025, 0.975], dtype=flat.dtype), 0)
    half = torch.tensor([row.half_rope for row in rows], dtype=flat.dtype)
    names = {
        "measure": [row.measure for row in rows],
        "unit": [row.unit for row in rows],
        **{name: [row.block[place] for row in rows] for place, name in enumerate(block_columns)},
        "quantized_part": [row.part for row in rows],
        "method": [row.method for row in rows],
    }
    numbers = {
        "difference_mean": flat.mean(0),
        "low": low,
        "high": high,
        "probability_of_direction": torch.maximum((flat > 0).double().mean(0), (flat < 0).double().mean(0)),
        "rope_low": -half,
        "rope_high": half,
        "in_rope": (flat.abs() <= half).double().mean(0),
        "r_hat": split_r_hat(draws),
        "ess": effective_sample_size(draws),
    }
    return pd.DataFrame({**names, **{name: values.numpy() for name, values in numbers.items()}})
