"""How far Monte Carlo variance moves from one network to another, as from float to ternary: inputs in pairs."""

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
    """Predictive variance of the reference and of each other network, of each test input and of groups of them.

    The variance is that over Monte Carlo samples of the probabilities, summed over classes
    (`tsnn_uq.metrics.functional.predictive_variance`). It moves with the temperature of the softmax, too: with
    `recalibrate`, each network's temperature is fitted on its own validation part before.

    Args:
        networks: two or more; of several seeds the first is taken.
        recalibrate: whether to divide each network's logits by its temperature.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        For each ``method`` but the reference a row for each ``of``: ``"all"`` inputs; those with ``"both right"``
        predictions, and with ``"any wrong"``; each ``"class"``; and each ``"input"``. Columns ``input`` (its place in
        the test set) and ``label``, NaN of groups without one; the number of ``inputs``; ``accuracy_reference`` and
        ``accuracy``; the mean variances ``variance_reference`` and ``variance`` and their ``difference``,
        the method's minus the reference's, with its 95 % interval from a paired bootstrap over inputs ``low`` to
        ``high``, NaN of single inputs; ``reference``, its name; ``noise``, what is random (such as ``"MC dropout"``);
        ``samples``; and ``temperature_reference`` and ``temperature``, 1 if not `recalibrate`.

    Raises:
        InputError: one network alone, networks with different numbers of samples or with one, whose variance is 0; with
            `recalibrate`, a validation part that is missing or determines no temperature, as where the network is never
            wrong there.
    """
    import pandas as pd

    others = networks.others
    pairs = networks.pairs()
    samples = {name: len(probs) for name, (probs, _) in pairs.items()}
    if len(set(samples.values())) > 1 or networks.samples < 2:
        found = ", ".join(f"{count} of {name}" for name, count in samples.items())
        raise InputError(
            f"samples: expected one number for all networks, at least 2, to compare variances; got {found}"
        )
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
    """The columns of `paired_variances` that are measured, for one pair of networks.

    Args:
        first: probabilities [S, N, C] of the reference.
        second: of the other network.
        labels: class numbers [N].
        resamples: of the bootstrap.
        seed: of the bootstrap.
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
    """A metric that is a mean over inputs, of values measured already."""
    return values if reduction == "none" else values.mean()


def _named(means: list[float], difference: list[Any]) -> dict[str, Any]:
    names = ("accuracy_reference", "accuracy", "variance_reference", "variance", "difference", "low", "high")
    return dict(zip(names, [*means, *difference], strict=True))
