"""Uncertainty of networks compared with that of people: predictions of CIFAR-10's test images and people's answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_positive, describe
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.metrics.paired_bootstrap import percentile_interval, resampled_rows
from tsnn_uq.results.measures import CROSS_ENTROPY, GROUPED
from tsnn_uq.seeds import generator_for

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["UNCERTAINTIES", "compare_with_people"]

UNCERTAINTIES: dict[str, Callable[..., Tensor]] = {
    "predictive entropy": metrics.predictive_entropy,
    "expected entropy (aleatoric)": metrics.expected_entropy,
    "mutual information (epistemic)": metrics.mutual_information,
}
_GROUPS = 4  # not more, since half of the inputs with any disagreement have a single dissenting answer
_LEAST_AGREEMENT = 0.5  # it is 99 % in the right order, and a tenth by chance


def compare_with_people(
    predictions: Mapping[str, tuple[Tensor, Tensor]],
    counts: Tensor,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> DataFrame:
    """Agreement of the uncertainty of networks with that of people, with bootstrap intervals over inputs.

    Args:
        predictions: by method, Monte Carlo probabilities [S, N, C] and labels [N].
        counts: people's answers to the same inputs in the same order [N, C], as from `tsnn_uq.data.human_answers`.
        resamples: number of resamples of the inputs, which are the same for all methods.
        level: coverage of the percentile intervals (Efron and Tibshirani 1993, chapter 13).
        seed: seed of the resamples.

    Returns:
        A row for each ``method`` and ``measure``: Spearman's correlation of each of `UNCERTAINTIES` with the entropy of
        people's answers, and "cross-entropy to people" in nats, with ``value``, ``low`` and ``high``, ``inputs`` and
        ``samples``. The first method, "people", has the mean entropy of people, the lower bound of the cross-entropy.
        Further rows, "mean entropy", have the network's predictive entropy with its standard error, for inputs on which
        all people agree and in four groups of equal size, whose mean entropy of answers is ``people``.

    Raises:
        InputError: the answers are to other inputs, that is, people's first choice is rarely the label.
    """
    import pandas as pd

    check_positive("resamples", resamples, integer=True)
    count = len(counts)

    def row(method: str, measure: str, samples: int, function: Callable[..., Tensor], *of: Tensor) -> dict[str, object]:
        blocks = resampled_rows(count, resamples, generator_for(seed, "doubt"), counts.device)
        draws = torch.stack([function(*(tensor[chosen] for tensor in of)) for block in blocks for chosen in block])
        low, high = map(float, percentile_interval(draws.double(), level))
        names = {"method": method, "measure": measure, "value": float(function(*of)), "low": low, "high": high}
        return names | {"inputs": count, "samples": samples, "people": math.nan}

    correlation = partial(metrics.doubt_correlation, validate=False)
    rows = [row("people", CROSS_ENTROPY, 0, torch.mean, _entropies(counts))]
    for method, (probs, labels) in predictions.items():
        if probs.shape[1:] != counts.shape:
            wanted = f"answers {list(probs.shape[1:])}, as predictions"
            raise InputError(f"counts: expected {wanted}; got {describe(counts)}")
        agreement = float((counts.argmax(-1) == labels).double().mean())
        if agreement < _LEAST_AGREEMENT:
            wanted = "answers to the same inputs in the same order"
            raise InputError(f"counts: expected {wanted}; got {agreement:.0%} with the label as first choice")
        for measure, function in UNCERTAINTIES.items():
            rows.append(row(method, measure, len(probs), correlation, function(probs, reduction="none"), counts))
        rows += _binned(method, probs, counts)
        losses = metrics.human_cross_entropy(probs.double().mean(0), counts, reduction="none")
        rows.append(row(method, CROSS_ENTROPY, len(probs), torch.mean, losses))
    return pd.DataFrame(rows)


def _binned(method: str, probs: Tensor, counts: Tensor) -> list[dict[str, object]]:
    """Mean entropy of the network where all people agree, and in groups of equal size by people's entropy."""
    people, network = _entropies(counts), metrics.predictive_entropy(probs, reduction="none").double()
    order = people.argsort(stable=True)
    agreed = int((people == 0).sum())
    rows = []
    for part in (order[:agreed], *order[agreed:].tensor_split(_GROUPS)):
        if len(part):
            mean, error = network[part].mean().item(), network[part].std(correction=0).item() / len(part) ** 0.5
            names = {"method": method, "measure": GROUPED, "value": mean, "low": mean - error, "high": mean + error}
            rows.append(names | {"inputs": len(part), "samples": len(probs), "people": people[part].mean().item()})
    return rows


def _entropies(counts: Tensor) -> Tensor:
    """Entropy of the answers to each input, in nats, float64 [N]."""
    return torch.special.entr(counts.double() / counts.double().sum(-1, keepdim=True)).sum(-1)
