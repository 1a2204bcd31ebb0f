"""Compute the posterior of each difference from the baseline, given a table of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.results.bayesian_comparison.design import Design, check_values, make_design
from tsnn_uq.results.bayesian_comparison.difference_table import Difference, differences, summarize_draws
from tsnn_uq.results.bayesian_comparison.mcmc_diagnostics import Limits, check_chains, diagnose
from tsnn_uq.results.bayesian_comparison.measure_scales import COMPARED_MEASURES, Array, MeasureScale, scale_measure
from tsnn_uq.results.bayesian_comparison.mixed_model import group_means, make_kernels
from tsnn_uq.results.bayesian_comparison.nuts import sample_scales
from tsnn_uq.results.bayesian_comparison.predictive_checks import predictive_check
from tsnn_uq.seeds import generator_for

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["MethodComparison", "compare_methods"]


@dataclass(frozen=True)
class MethodComparison:
    """The posterior of all differences.

    Attributes:
        draws: [C, D, R] (chains, draws, rows of `table`), each difference in its unit.
        rows: the measure, block and method of each of the R differences.
        log_scales: [C, D, M, 2 + K], logarithms of the model's scales, see `mixed_model`.
        means: [C, D, M, G], means of the groups on the model's scale.
        divergences: number of divergent draws among the C * D.
        measures, design, y: the modelled data; `y` [M, N] is on the model's scale.
        seed: seed of the draws.
    """

    draws: Tensor
    rows: tuple[Difference, ...]
    log_scales: Tensor
    means: Tensor
    divergences: int
    measures: tuple[MeasureScale, ...]
    design: Design
    y: Array
    seed: int

    def table(self) -> DataFrame:
        """A row for each measure, family, quantized part and method except the baseline; family "all" is the mean.

        Columns: ``measure``, ``unit``, the names, ``difference_mean`` and the central 95 % interval ``low``,
        ``high``; ``probability_of_direction``, the share of draws with the more frequent sign (0.5: the sign is
        unknown; 1: certain); ``rope_low``, ``rope_high`` and ``in_rope``, the share of draws between them; ``r_hat``
        and ``ess`` of the difference.
        """
        return summarize_draws(self.rows, self.draws, self.design.block_columns)

    def diagnostics(self) -> DataFrame:
        """R-hat and effective sample size of every log scale and difference; columns quantity, r_hat, ess."""
        names = [*("family", "seed"), *self.design.methods]
        scales = [f"scale of {name} ({measure.name})" for measure in self.measures for name in names]
        named = [row.title() for row in self.rows]
        return diagnose([*scales, *named], torch.cat([self.log_scales.flatten(2), self.draws], 2))

    def predictive_check(self) -> DataFrame:
        """Compare new seeds, drawn from the posterior, with the observed ones; see `predictive_checks`."""
        generator = generator_for(self.seed, "comparison", "predictive")
        flat = self.log_scales.flatten(0, 1), self.means.flatten(0, 1)
        return predictive_check(self.design, self.measures, self.y, *flat, generator)


def compare_methods(
    results: DataFrame,
    measures: Sequence[str] = COMPARED_MEASURES,
    *,
    seed: int,
    baseline: str = "float",
    rope: Mapping[str, float] | None = None,
    draws: int = 250,
    warm_up: int = 100,
    chains: int = 4,
    limits: Limits | None = None,
) -> MethodComparison:
    """Posterior of the difference between each method and the baseline, in each family and over all.

    The model is in `tsnn_uq.results.bayesian_comparison.mixed_model`, the scale of each measure in
    `tsnn_uq.results.bayesian_comparison.measure_scales`. It describes typical (median) networks of these families on
    these test inputs. The mean over families covers only those in `results`, so it does not generalize to other
    families.

    Args:
        results: a row for each trained network, as returned by `tsnn_uq.results.tables.read_results`. Rows of
            different data sets or configurations, if there are such columns, count as different families.
        measures: columns to compare.
        seed: seed of all draws. The same results, measures and seed give the same numbers.
        baseline: the method to compare with.
        rope: by measure, half the width of the region of practical equivalence, in the unit of the table. By default
            0.1 points for accuracies and ECEs, and 5 % of the baseline's typical value for all others.
        draws, warm_up, chains: settings of NUTS, the first two per chain.
        limits: limits of R-hat, effective sample size and divergences; beyond them an error is raised.

    Raises:
        InputError: columns, methods or measures are missing or unknown; a group has only one seed, a seed twice or no
            baseline; values are not finite or do not differ between seeds; or chains are beyond `limits`.
    """
    design = make_design(results, baseline)
    design.baselines(baseline)
    names = list(dict.fromkeys([measures] if isinstance(measures, str) else measures))
    if not names:
        raise InputError("measures: expected at least one column of the results; got none")
    for name in rope or {}:
        check_choice("rope", name, names)
    for argument, number in {"draws": draws, "warm_up": warm_up, "chains": chains}.items():
        check_positive(argument, number, integer=True)
    if draws < 4:
        raise InputError(f"draws: expected at least 4 per chain; got {draws}")
    columns = [check_values(results, name, design) for name in names]
    made = tuple(scale_measure(name, column, rope or {}) for name, column in zip(names, columns, strict=True))
    y = np.stack([measure.forward(column) for measure, column in zip(made, columns, strict=True)])
    kernels = make_kernels(design)
    log_scales, divergences = sample_scales(kernels, y, seed=seed, draws=draws, warm_up=warm_up, chains=chains)
    means = torch.stack(
        [
            group_means(kernels, torch.from_numpy(row), scales, generator_for(seed, "comparison", "means", name))
            for name, row, scales in zip(names, y, log_scales.flatten(0, 1).unbind(1), strict=True)
        ],
        1,
    ).unflatten(0, (chains, draws))
    rows, values = differences(design, made, y, means, baseline)
    found = MethodComparison(values, rows, log_scales, means, divergences, made, design, y, seed)
    check_chains(found.diagnostics(), divergences, chains * draws, limits or Limits())
    return found
