"""Differences of Monte Carlo variance between networks, such as float and ternary, paired by input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import paired_bootstrap, predictive_variance
from tsnn_uq.recalibration import TemperatureScaling
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.seeds import generator_for

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["paired_variances", "variance_rows"]


def paired_variances(
    networks: NamedPredictions, *, recalibrate: bool = False, resamples: int = 2000, seed: int = 0
) -> DataFrame:
    """Predictive variance of the reference and of each other network, by test input and by group of inputs.

    The variance of the probabilities over Monte Carlo samples is summed over classes
    (`tsnn_uq.metrics.functional.predictive_variance`). It also depends on the temperature of the softmax. With
    `recalibrate`, a temperature is fitted to the validation part of each network first.

    Args:
        networks: two or more networks, of which the first seed is used.
        recalibrate: whether to divide the logits of each network by its temperature.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        For each ``method`` except the reference, a row for each ``of``: ``"all"`` inputs; those with ``"both right"``
        predictions; those with ``"any wrong"``; each ``"class"``; and each ``"input"``. The columns are ``input`` (its
        index in the test set) and ``label``, which are NaN for other groups; the number of ``inputs``;
        ``accuracy_reference`` and ``accuracy``; the mean variances ``variance_reference`` and ``variance``; their
        ``difference``, that of the method minus that of the reference, with its 95 % interval ``low`` to ``high`` from
        a paired bootstrap over inputs (NaN for single inputs); the name of the ``reference``; ``noise``, the source of
        randomness (such as ``"MC dropout"``); ``samples``; and ``temperature_reference`` and ``temperature``, which are
        1 without `recalibrate`.

    Raises:
        InputError: there is only one network, or networks have different numbers of samples or a single one; with
            `recalibrate`, a validation part is missing or does not determine a temperature, for instance since the
            network makes no errors on it.
    """
    import pandas as pd

    others = networks.others
    pairs = networks.pairs()
    samples = {name: len(probs) for name, (probs, _) in pairs.items()}
    if len(set(samples.values())) > 1 or networks.samples < 2:
        found = ", ".join(f"{count} of {name}" for name, count in samples.items())
        raise InputError(f"samples: expected the same number for all networks, at least 2; got {found}")
    temperatures = dict.fromkeys(pairs, 1.0)
    for name, predictions in networks.first().items() if recalibrate else ():
        scaling = TemperatureScaling().fit(*predictions.part("validation").pair)
        if scaling.at_bound:
            found = f"of {name}, which end at the {scaling.outcome} {scaling.temperature:g}"
            raise InputError(f"recalibrate: expected validation predictions that determine a temperature; got {found}")
        temperatures[name] = scaling.temperature or 1.0
        probs, labels = pairs[name]
        pairs[name] = scaling.transform(probs), labels
    first, labels = pairs[networks.reference]
    tables = []
    for name in others:
        rows = variance_rows(first, pairs[name][0], labels, resamples=resamples, seed=seed)
        both = {"temperature_reference": temperatures[networks.reference], "temperature": temperatures[name]}
        common = {"reference": networks.reference, "noise": networks.noise, "samples": len(first)}
        tables.append(pd.DataFrame({"method": name, **rows, **common, **both}))
    return pd.concat(tables, ignore_index=True)


def variance_rows(first: Tensor, second: Tensor, labels: Tensor, *, resamples: int, seed: int) -> dict[str, Any]:
    """The measured columns of `paired_variances` for one pair of networks.

    Args:
        first: probabilities [S, N, C] of the reference.
        second: probabilities [S, N, C] of the other network.
        labels: class numbers [N].
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    right = [probs.mean(0).argmax(-1) == labels for probs in (first, second)]
    values = [predictive_variance(probs.double(), reduction="none") for probs in (first, second)]
    both = right[0] & right[1]
    groups = [("all", None, both | ~both), ("both right", None, both), ("any wrong", None, ~both)]
    groups += [("class", label, labels == label) for label in labels.unique().tolist()]
    rows: list[dict[str, Any]] = []
    for of, label, chosen in groups:
        if not chosen.any():
            continue
        interval = paired_bootstrap(
            _mean,
            *(value[chosen] for value in reversed(values)),
            generator=generator_for(seed, "variance", of, label),
            resamples=resamples,
        )
        means = [float(series[chosen].double().mean()) for series in (*right, *values)]
        ends = [float(interval.difference), float(interval.low), float(interval.high)]
        rows.append({"of": of, "label": label, "inputs": int(chosen.sum())} | _named(means, ends))
    singly = torch.stack([*(series.double() for series in (*right, *values)), values[1] - values[0]]).T.tolist()
    for place, (label, numbers) in enumerate(zip(labels.tolist(), singly, strict=True)):
        row = {"of": "input", "input": place, "label": label, "inputs": 1}
        rows.append(row | _named(numbers[:4], [numbers[4], None, None]))
    names = ["of", "input", *(name for name in rows[0] if name != "of")]
    return {name: [row.get(name) for row in rows] for name in names}


def _mean(values: Tensor, *, reduction: str = "mean") -> Tensor:
    """The mean of precomputed values, as a metric."""
    return values if reduction == "none" else values.mean()


def _named(means: list[float], difference: list[Any]) -> dict[str, Any]:
    names = ("accuracy_reference", "accuracy", "variance_reference", "variance", "difference", "low", "high")
    return dict(zip(names, [*means, *difference], strict=True))
