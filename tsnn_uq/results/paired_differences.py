"""Differences between networks and a reference, paired by input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from tsnn_uq.checks import check_fraction, check_positive
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.metrics.bins import bin_numbers
from tsnn_uq.results.measure_predictions import after_temperature, evaluate
from tsnn_uq.results.measures import COSTS
from tsnn_uq.results.predictions import NamedPredictions, Predictions
from tsnn_uq.results.tables import summarize
from tsnn_uq.seeds import generator_for

if TYPE_CHECKING:
    from pandas import DataFrame

_BLOCK = 100  # resamples at a time, 80 kB each for 10,000 inputs

__all__ = ["NetworkTables", "mcnemar_tests", "paired_differences", "result_rows"]

_PER_INPUT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "accuracy": lambda probs, labels: probs.mean(0).argmax(-1) == labels,
    "nll": lambda probs, labels: metrics.negative_log_likelihood(probs.mean(0), labels, reduction="none"),
    "brier": lambda probs, labels: metrics.brier_score(probs.mean(0), labels, reduction="none"),
    "predictive_entropy": lambda probs, _: metrics.predictive_entropy(probs, reduction="none"),
    "mutual_information": lambda probs, _: metrics.mutual_information(probs, reduction="none"),
    "predictive_variance": lambda probs, _: metrics.predictive_variance(probs, reduction="none"),
}
"""Measures that are means over inputs, by name: from [S, N, C] and labels [N] to a value per input [N]."""


def paired_differences(
    networks: NamedPredictions, *, resamples: int = 1000, bins: int = 15, level: float = 0.95
) -> DataFrame:
    """The difference of each measure between each network and the reference, with paired bootstrap intervals.

    If there are several seeds, their means are compared. The intervals are for new test inputs and the same networks.
    They do not include the variation over seeds, for which see `tsnn_uq.results.bayesian_comparison`.

    Args:
        networks: two or more networks.
        resamples: number of resamples of the test inputs, which are the same for all networks and measures (Efron and
            Tibshirani 1993, chapter 8).
        bins: number of bins of the calibration error.
        level: coverage of the intervals.

    Returns:
        A row for each ``method`` except the reference and each ``measure`` (accuracy, nll, brier, ece,
        predictive_entropy, mutual_information, predictive_variance, aurc; fractions and nats): ``difference``, the
        value of the method minus that of the reference, its interval ``low`` and ``high``, ``reference``, ``inputs``,
        ``seeds`` (of the method), ``resamples`` and ``level``. If a loss is infinite, the difference and its interval
        are NaN.

    Raises:
        InputError: there is only one network, or an option is out of range.
    """
    import pandas as pd

    check_positive("bins", bins, integer=True)
    check_positive("resamples", resamples, integer=True)
    check_fraction("level", level, below_one=True)
    others, count = networks.others, len(networks.labels)
    members = {name: [_prepared(one, bins) for one in of] for name, of in networks.members.items()}
    whole = {name: _measured(of, torch.ones(1, count, dtype=torch.float64))[0] for name, of in members.items()}
    draws: dict[str, list[Tensor]] = {name: [] for name in networks.names}
    generator = generator_for(networks.seed, "differences")
    for start in range(0, resamples, _BLOCK):
        rows = torch.randint(count, (min(_BLOCK, resamples - start), count), generator=generator)
        weights = torch.zeros(rows.shape, dtype=torch.float64).scatter_add_(1, rows, torch.ones(rows.shape).double())
        for name, of in members.items():
            draws[name].append(_measured(of, weights))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    reference = torch.cat(draws[networks.reference])
    tables = []
    for name in others:
        low, high = (torch.cat(draws[name]) - reference).quantile(ends, dim=0)
        found = torch.stack([whole[name] - whole[networks.reference], low, high], dim=1)
        found[~found.isfinite().all(1)] = math.nan
        table = pd.DataFrame(found.numpy(), columns=["difference", "low", "high"])
        table.insert(0, "measure", [*_PER_INPUT, "ece", "aurc"])
        sizes = {"inputs": count, "seeds": len(networks.members[name]), "resamples": resamples, "level": level}
        tables.append(table.assign(reference=networks.reference, **sizes))
        tables[-1].insert(0, "method", name)
    return pd.concat(tables, ignore_index=True)


class _PerInputValues(NamedTuple):
    """Values of each test input from which the measures of resamples are computed."""

    values: Tensor  #: the measures of `_PER_INPUT` [N, measures]
    gaps: Tensor  #: confidence minus correctness, in the column of the input's bin [N, bins]
    rank: Tensor  #: rank of the input's entropy among the distinct ones [N]
    wrong: Tensor  #: 1 if the prediction is wrong [N]


def _prepared(one: Predictions, bins: int) -> _PerInputValues:
    probs, labels = one.test.pair
    values = torch.stack([measure(probs, labels).double() for measure in _PER_INPUT.values()], dim=-1)
    confidence, predicted = probs.mean(0).max(-1)
    wrong = (predicted != labels).double()
    gaps = torch.zeros(len(labels), bins, dtype=torch.float64)
    gaps.scatter_(1, bin_numbers(confidence, bins)[:, None], (confidence.double() - 1 + wrong)[:, None])
    rank = metrics.predictive_entropy(probs, reduction="none").unique(return_inverse=True)[1]
    return _PerInputValues(values, gaps, rank, wrong)


def _measured(members: Sequence[_PerInputValues], weights: Tensor) -> Tensor:
    """All measures, averaged over seeds, of R test sets with `weights` [R, N] copies of each input: [R, measures]."""
    count = weights.shape[1]
    found = []
    for one in members:
        errors = (weights @ one.gaps).abs().sum(1, keepdim=True)
        found.append(torch.cat([weights @ one.values, errors], dim=1) / count)
        found[-1] = torch.cat([found[-1], _resampled_aurc(one, weights)[:, None]], dim=1)
    return torch.stack(found).mean(0)


def _resampled_aurc(one: _PerInputValues, weights: Tensor) -> Tensor:
    """`tsnn_uq.metrics.functional.aurc` of each of R test sets, with predictive entropy as the score, float64 [R]."""
    accepted = torch.arange(1, weights.shape[1] + 1, dtype=torch.float64)
    areas = []
    for often in weights:
        counts = torch.bincount(one.rank, often)
        errors = torch.bincount(one.rank, often * one.wrong) / counts.clamp(min=1)  # the mean over equal entropies
        areas.append((errors.repeat_interleave(counts.long()).cumsum(0) / accepted).mean())
    return torch.stack(areas)


def mcnemar_tests(networks: NamedPredictions) -> DataFrame:
    """McNemar's exact test of each network against the reference, seed by seed.

    Returns:
        A row for each ``method`` except the reference and each ``seed`` (its index) that both have: the numbers of test
        inputs that only the reference, or only the method, classifies correctly, ``only_reference`` and
        ``only_method``; and the two-sided ``p_value`` of equal accuracies
        (`tsnn_uq.metrics.functional.mcnemar_test`).

    Raises:
        InputError: there is only one network.
    """
    import pandas as pd

    rows = []
    for name in networks.others:
        pairs = zip(networks.members[networks.reference], networks.members[name], strict=False)
        for seed, pair in enumerate(pairs):
            right = [one.test.probs.mean(0).argmax(-1) == networks.labels for one in pair]
            found = metrics.mcnemar_test(*right)
            row = {"method": name, "reference": networks.reference, "seed": seed}
            row |= {"only_reference": int(found.only_first), "only_method": int(found.only_second)}
            rows.append(row | {"p_value": float(found.p_value)})
    return pd.DataFrame(rows)


def result_rows(networks: NamedPredictions, *, bins: int = 15) -> list[dict[str, Any]]:
    """A row of results for each network and seed, in the columns of ``results.csv``.

    Args:
        networks: named networks.
        bins: number of bins of the calibration error.

    Returns:
        Rows for `tsnn_uq.results.tables.summarize`: the measures of `evaluate` for the test part, those of
        `after_temperature` if there is a validation part, and costs, which are NaN if unknown. ``method`` is the name
        of the network, ``seed`` the index among those of that name.
    """
    rows = []
    for name, of in networks.members.items():
        for seed, one in enumerate(of):
            row: dict[str, Any] = {
                "family": networks.title or "-",
                "quantized_part": "none",
                "method": name,
                "seed": seed,
            }
            row |= evaluate(*one.test.pair, bins)
            row |= {cost: one.costs.get(cost, math.nan) for cost in COSTS}
            if one.validation is not None:
                row |= after_temperature(one.validation.pair, *one.test.pair, bins)
            rows.append(row)
    return rows


@dataclass(frozen=True, eq=False)
class NetworkTables:
    """All tables of named networks, each computed on first use and cached.

    Args:
        networks: the predictions of each network.
        bins: number of bins of the calibration error.
    """

    networks: NamedPredictions
    bins: int = 15

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each network and seed; see `result_rows`."""
        return result_rows(self.networks, bins=self.bins)

    @cached_property
    def summary(self) -> DataFrame:
        """Mean and standard deviation over seeds; see `tsnn_uq.results.tables.summarize`."""
        return summarize(self.rows)

    @cached_property
    def differences(self) -> DataFrame:
        """Differences from the reference; see `paired_differences`."""
        return paired_differences(self.networks, bins=self.bins)

    @cached_property
    def mcnemar(self) -> DataFrame:
        """Tests of equal accuracies; see `mcnemar_tests`."""
        return mcnemar_tests(self.networks)
