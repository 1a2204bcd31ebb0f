"""How far Monte Carlo variance moves when weights become ternary: the same inputs in pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.experiments import read_predictions
from tsnn_uq.metrics.functional import paired_bootstrap, predictive_variance
from tsnn_uq.recalibration import TemperatureScaling
from tsnn_uq.results.studies.inputs import require_alike
from tsnn_uq.results.studies.needed import Runs
from tsnn_uq.seeds import generator_for

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["paired_variances", "variance_rows"]


def paired_variances(runs: Runs, *, recalibrate: bool = False, resamples: int = 2000, seed: int = 0) -> DataFrame:
    """Predictive variance of the float and of each ternary network, of each test input and of groups of them.

    The variance is that over Monte Carlo samples of the probabilities, summed over classes
    (`tsnn_uq.metrics.functional.predictive_variance`). It moves with the temperature of the softmax, too: with
    `recalibrate`, each network's temperature is fitted on its own validation split before.

    Args:
        runs: the float run and at least one ternary run.
        recalibrate: whether to divide each network's logits by its temperature.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        For each ternary ``method`` a row for each ``of``: ``"all"`` inputs; those with ``"both right"`` predictions,
        and with ``"any wrong"``; each ``"class"``; and each ``"input"``. Columns ``input`` (its place in the
        test set) and ``label``, NaN of groups without one; the number of ``inputs``; ``accuracy_float`` and
        ``accuracy_ternary``; the mean variances ``variance_float`` and ``variance_ternary`` and their ``difference``,
        ternary minus float, with its 95 % interval from a paired bootstrap over inputs ``low`` to ``high``, NaN of
        single inputs; ``noise``, what is random (``"MC dropout"`` or ``"MC dropconnect"``); ``samples``; and the
        temperatures ``temperature_float`` and ``temperature_ternary``, 1 if not `recalibrate`.

    Raises:
        InputError: the float run is missing, or all others are, or the runs differ in data, steps or samples; with
            `recalibrate`, a network's validation split determines no temperature, as where it is never wrong there.
    """
    import pandas as pd

    ternary = [method for method in runs.folders if method != "float"]
    if not ternary or "float" not in runs.folders:
        raise InputError(f"methods: expected float and a ternary method to compare; got {', '.join(runs.folders)}")
    require_alike(runs)
    predictions = runs.predictions()
    temperatures = dict.fromkeys(runs.folders, 1.0)
    for method, folder in runs.folders.items() if recalibrate else ():
        scaling = TemperatureScaling().fit(*read_predictions(folder, "validation"))
        if scaling.at_bound:
            found = f"of {method}, which end at the {scaling.outcome} {scaling.temperature:g}"
            raise InputError(f"recalibrate: expected validation predictions that determine a temperature; got {found}")
        temperatures[method] = scaling.temperature or 1.0
        probs, labels = predictions[method]
        predictions[method] = scaling.transform(probs), labels
    first, labels = predictions["float"]
    noise = "MC dropconnect" if runs.family == "dropconnect" else "MC dropout"
    tables = []
    for method in ternary:
        second, others = predictions[method]
        if not torch.equal(labels, others):
            raise InputError(f"runs: expected the same test inputs of float and {method}; got others")
        rows = variance_rows(first, second, labels, resamples=resamples, seed=seed)
        temperature = {"temperature_float": temperatures["float"], "temperature_ternary": temperatures[method]}
        tables.append(pd.DataFrame({"method": method, **rows, "noise": noise, "samples": len(first), **temperature}))
    return pd.concat(tables, ignore_index=True)


def variance_rows(first: Tensor, second: Tensor, labels: Tensor, *, resamples: int, seed: int) -> dict[str, Any]:
    """The columns of `paired_variances` that are measured, for one pair of networks.

    Args:
        first: probabilities [S, N, C] of the float network.
        second: of the ternary network.
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
    names = ("accuracy_float", "accuracy_ternary", "variance_float", "variance_ternary", "difference", "low", "high")
    return dict(zip(names, [*means, *difference], strict=True))
