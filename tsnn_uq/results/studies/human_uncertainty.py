"""Whether networks doubt where people doubt: their predictions of CIFAR-10's test images against people's answers."""

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
_GROUPS = 4  # not more, since one dissenting answer in fifty gives the entropy of half of those in doubt
_LEAST_AGREEMENT = 0.5  # by chance it is a tenth, and in order 99 %


def compare_with_people(
    predictions: Mapping[str, tuple[Tensor, Tensor]],
    counts: Tensor,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> DataFrame:
    """How far networks' uncertainty follows people's, with bootstrap intervals over inputs.

    Args:
        predictions: by method, Monte Carlo probabilities [S, N, C] and labels [N].
        counts: people's answers to the same inputs in the same order [N, C], as `tsnn_uq.data.human_answers` gives.
        resamples: of the inputs, with replacement, the same for all methods.
        level: coverage of the percentile intervals (Efron and Tibshirani 1993, chapter 13).
        seed: of the resamples.

    Returns:
        A row for each ``method`` and ``measure``: Spearman's correlation of each of `UNCERTAINTIES` with the entropy of
        people's answers, and "cross-entropy to people" in nats: ``value``, ``low`` and ``high``, ``inputs`` and
        ``samples``. The first method "people" has their own mean entropy, the least that a cross-entropy can be.
        Further rows, "mean entropy", have the network's predictive entropy, and its standard error, where all people
        agree and in four groups of as many inputs, whose mean entropy of answers is ``people``.

    Raises:
        InputError: answers to other inputs: people's first choice would rarely be the label.
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
            raise InputError(f"counts: expected {wanted}; got {agreement:.0%} whose first choice is the label")
        for measure, function in UNCERTAINTIES.items():
            rows.append(row(method, measure, len(probs), correlation, function(probs, reduction="none"), counts))
        rows += _binned(method, probs, counts)
        losses = metrics.human_cross_entropy(probs.double().mean(0), counts, reduction="none")
        rows.append(row(method, CROSS_ENTROPY, len(probs), torch.mean, losses))
    return pd.DataFrame(rows)


def _binned(method: str, probs: Tensor, counts: Tensor) -> list[dict[str, object]]:
    """The network's mean entropy where all people agree, and in groups of as many inputs by people's entropy."""
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
    """Of the answers to each input, in nats, float64 [N]."""
    return torch.special.entr(counts.double() / counts.double().sum(-1, keepdim=True)).sum(-1)
