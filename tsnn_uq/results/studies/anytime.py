"""Anytime curves: accuracy and uncertainty with fewer Monte Carlo samples and fewer time steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from tsnn_uq.checks import InputError, check_choice, check_dims, check_positive
from tsnn_uq.devices import use_threads
from tsnn_uq.metrics.functional import (
    accuracy,
    expected_calibration_error,
    ood_auroc,
    over_time,
    predictive_entropy,
)
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.studies.run_inputs import foreign_inputs, own_inputs, predict_over_time, run_settings
from tsnn_uq.results.studies.run_selection import Runs, RunsOrPredictions
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import MASK_MODES

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["anytime_curves", "doubling", "samples_curves", "steps_curves"]

_LARGEST = 2**30  # largest size in bytes of the predictions [S, T, N, C] of one network
_ALL_STEPS = 16  # up to this many time steps, all are measured; otherwise 1, 2, 4, ...


def anytime_curves(
    source: RunsOrPredictions,
    *,
    masks: Sequence[str] = MASK_MODES,
    outlier: str = "",
    inputs: int | None = None,
    repeats: int = 20,
    bins: int = 15,
) -> DataFrame:
    """Accuracy and uncertainty against Monte Carlo samples S, and against time steps T, for each method and mask mode.

    Curves against S use all time steps, and the samples in `repeats` random orders, which are the same for every
    method. The first 1, 2, 4, ... samples of an order are nested subsets. Since subsets of the same samples are not
    independent, their spread only shows the sampling error while S is well below the number of samples; at the end it
    is zero. Curves against T use all samples and the mean output of the first T steps.

    The networks of runs predict again. Given predictions have an unknown mask mode, and without a time axis there are
    no curves against T.

    Args:
        source: runs of one data set, T and S; or predictions, of which the first seed is used.
        masks: mask modes of runs: ``"fixed"`` (over the time steps of a sample) and ``"per-step"`` (redrawn each step).
        outlier: a foreign data set, e.g. ``"fashion-mnist"`` or ``"digits:rotate=90"``, or the name of a foreign set of
            the predictions; without it there is no AUROC.
        inputs: largest number of test inputs, and of foreign ones, for runs; by default all.
        repeats: number of random orders of the samples.
        bins: number of bins of the calibration error.

    Returns:
        Columns ``method``, ``mask`` (empty if unknown); ``against`` (``"samples"`` or ``"steps"``), ``samples``,
        ``steps``; ``inputs``, ``bins``; and ``accuracy``, ``predictive_entropy_nats``, ``ece`` and, with `outlier`,
        ``ood_auroc`` (predictive entropy as the score), each with the standard deviation between the orders as
        ``..._sd``, which is NaN against time steps. Values are fractions, not percent.

    Raises:
        InputError: a mask mode is unknown, outliers have another shape, predictions are too large, or predictions have
            one sample and no time axis.
    """
    import pandas as pd

    if repeats < 2:
        raise InputError(f"repeats: expected at least 2; got {repeats}")
    drawn_ones = (
        _from_predictions(source, outlier)
        if isinstance(source, NamedPredictions)
        else _from_runs(source, masks, outlier, inputs)
    )
    tables = []
    for names, probs, labels, outside in drawn_ones:
        over_time, last = probs.dim() == 4, probs[:, -1] if probs.dim() == 4 else probs
        sizes = {"inputs": len(labels), "bins": bins}
        if len(probs) > 1:
            orders = generator_for(source.seed, "orders of samples")
            other = outside[:, -1] if outside is not None and outside.dim() == 4 else outside
            part = samples_curves(last, labels, other, generator=orders, repeats=repeats, bins=bins)
            tables.append(pd.DataFrame({**names, **part, "steps": probs.shape[1] if over_time else 1, **sizes}))
        if over_time:
            other = outside if outside is not None and outside.dim() == 4 else None
            part = steps_curves(probs, labels, other, bins=bins)
            tables.append(pd.DataFrame({**names, **part, "samples": len(probs), **sizes}))
    if not tables:
        wanted = "several samples [S, N, C], or a time axis [S, T, N, C]"
        raise InputError(f"probs: expected {wanted}, for curves against S or T; got a single prediction of each input")
    table = pd.concat(tables, ignore_index=True)
    first = ["method", "mask", "against", "samples", "steps", "inputs", "bins"]
    return table[first + [name for name in table if name not in first]]


Drawn = tuple[dict[str, str], Tensor, Tensor, Tensor | None]
"""Names, probabilities [S, N, C] or [S, T, N, C] and labels [N], and probabilities of foreign inputs."""


def _from_predictions(networks: NamedPredictions, outlier: str) -> Iterator[Drawn]:
    """Given predictions."""
    foreign = networks.foreign(outlier) if outlier else {}
    for name, of in networks.first().items():
        probs, outside = (
            None if part is None else part.probs if part.over_time is None else part.over_time
            for part in (of.test, foreign.get(name))
        )
        assert probs is not None
        yield {"method": name, "mask": ""}, probs, networks.labels, outside


def _from_runs(runs: Runs, masks: Sequence[str], outlier: str, inputs: int | None) -> Iterator[Drawn]:
    """New predictions of the runs' networks in each mask mode."""
    if not masks:
        raise InputError("masks: expected at least one mask mode; got none")
    for mask in masks:
        check_choice("masks", mask, MASK_MODES)
    configs = run_settings(runs)
    own = own_inputs(runs, inputs)
    foreign = foreign_inputs(runs, outlier, inputs) if outlier else None
    for method, mask in product(runs.folders, masks):
        config, network = configs[method], runs.network(method)
        _check_size(config.samples * getattr(config.network, "steps", 1) * own.classes, len(own))
        with use_threads(config.threads):
            probs = predict_over_time(network, own, config, mask)
            outside = None if foreign is None else predict_over_time(network, foreign, config, mask)
        yield {"method": method, "mask": mask}, probs, own.labels, outside


def samples_curves(
    probs: Tensor,
    target: Tensor,
    foreign: Tensor | None = None,
    *,
    generator: Generator,
    repeats: int = 20,
    bins: int = 15,
) -> dict[str, Any]:
    """Measures of the mean of the first 1, 2, 4, ..., S samples, over random orders of the samples.

    Args:
        probs: probabilities [S, N, C].
        target: class numbers [N].
        foreign: probabilities [S, M, C] of foreign inputs.
        generator: source of the orders, on the CPU.
        repeats: number of orders.
        bins: number of bins of the calibration error.

    Returns:
        ``"against"``, ``"samples"`` [K], and for each measure the mean [K] over the orders, with the standard deviation
        (divided by `repeats` - 1) as ``..._sd``.
    """
    check_dims("probs", probs, "[S, N, C]")
    check_positive("repeats", repeats, integer=True)
    counts = torch.tensor(doubling(len(probs)))
    found = []
    for _ in range(repeats):
        order = torch.randperm(len(probs), generator=generator)
        other = None if foreign is None else _nested_means(foreign[order], counts)
        found.append(_measures(_nested_means(probs[order], counts), target, other, bins))
    columns: dict[str, Any] = {"against": "samples", "samples": counts.tolist()}
    for name in found[0]:
        values = torch.stack([one[name] for one in found])
        columns |= {name: values.mean(0).tolist(), f"{name}_sd": values.std(0).tolist()}
    return columns


def steps_curves(probs: Tensor, target: Tensor, foreign: Tensor | None = None, *, bins: int = 15) -> dict[str, Any]:
    """Measures of the mean of all samples after each time step, or after 1, 2, 4, ..., T if there are many steps.

    Args:
        probs: probabilities [S, T, N, C] after each step, as returned by ``mc_predict(..., per_step=True)``.
        target: class numbers [N].
        foreign: probabilities [S, T, M, C] of foreign inputs.
        bins: number of bins of the calibration error.

    Returns:
        ``"against"``, ``"steps"`` [K], and each measure [K]; its ``..._sd`` is NaN.
    """
    check_dims("probs", probs, "[S, T, N, C]")
    last = probs.shape[1]
    steps = list(range(1, last + 1)) if last <= _ALL_STEPS else doubling(last)
    chosen = torch.tensor(steps) - 1
    other = None if foreign is None else foreign[:, chosen].double()
    columns: dict[str, Any] = {"against": "steps", "steps": steps}
    for name, values in _measures(probs[:, chosen].double(), target, other, bins).items():
        columns |= {name: values.tolist(), f"{name}_sd": float("nan")}
    return columns


def _measures(probs: Tensor, target: Tensor, foreign: Tensor | None, bins: int) -> dict[str, Tensor]:
    """Measures [K] by name of predictions [K, N, C], or [S, K, N, C] averaged over samples."""
    values = {
        "accuracy": over_time(accuracy, probs, target),
        "predictive_entropy_nats": over_time(predictive_entropy, probs),
        "ece": over_time(expected_calibration_error, probs, target, bins=bins),
    }
    if foreign is not None:
        own, other = (over_time(predictive_entropy, p, reduction="none") for p in (probs, foreign))
        values["ood_auroc"] = torch.stack([ood_auroc(*pair) for pair in zip(own, other, strict=True)])
    return values


def _nested_means(probs: Tensor, counts: Tensor) -> Tensor:
    """Means [K, N, C] of the first `counts` [K] samples of [S, N, C]."""
    ends = counts.tolist()
    between = [probs[start:end].sum(0, dtype=torch.float64) for start, end in pairwise([0, *ends])]
    return torch.stack(between).cumsum(0) / counts[:, None, None]


def doubling(top: int) -> list[int]:
    """1, 2, 4, ..., and `top` as the last."""
    return [2**power for power in range(top.bit_length()) if 2**power < top] + [top]


def _check_size(per_input: int, inputs: int) -> None:
    most = _LARGEST // (4 * per_input)
    if inputs > most:
        problem = f"{4 * per_input * inputs / 2**30:.0f} GiB of predictions after each step"
        raise InputError(
            f"inputs: expected at most {most} for this number of samples and steps; got {inputs}, {problem}"
        )
