"""Accuracy and uncertainty on shifted images: rotated, noisy and blurred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.data import SHIFTS, Dataset, EventDataset, Inputs, apply_shift
from tsnn_uq.devices import use_threads
from tsnn_uq.experiments import evaluate, predict
from tsnn_uq.results.studies.run_inputs import own_inputs, run_settings
from tsnn_uq.results.studies.run_selection import Runs

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["AMOUNTS", "shift_curves", "shifted_examples"]

AMOUNTS: dict[str, tuple[float, ...]] = {
    "rotate": (0, 30, 60, 90, 120, 150, 180),
    "noise": (0, 0.2, 0.4, 0.6, 0.8, 1),
    "blur": (0, 0.5, 1, 1.5, 2, 2.5, 3),
}
"""Amounts by shift: degrees, fractions of the full intensity, and pixels."""


def shift_curves(
    runs: Runs, amounts: Mapping[str, Sequence[float]] = AMOUNTS, *, inputs: int | None = None, bins: int = 15
) -> DataFrame:
    """Accuracy, predictive entropy and calibration error of each method against the amount of a shift.

    The masks of a network are those of its own predictions and the same for every amount. Noise has the same pattern
    for every strength. Neighbouring points therefore differ only by the shift.

    Args:
        runs: runs on images.
        amounts: amounts for each shift of `tsnn_uq.data.SHIFTS`: degrees, sigma of the noise as a fraction of the full
            intensity, or sigma of the blur in pixels.
        inputs: largest number of test inputs; by default all.
        bins: number of bins of the calibration error.

    Returns:
        A row for each shift, amount and method: ``shift``, ``amount``, ``method``; ``inputs``, ``samples``, ``bins``;
        ``accuracy`` with its 95 % Wilson interval ``accuracy_low`` to ``accuracy_high``; ``predictive_entropy_nats``;
        and ``ece``. Values are fractions, not percent.

    Raises:
        InputError: the data are events, there is no shift, a shift is unknown, or an amount is invalid.
    """
    import pandas as pd
    from scipy.stats import binomtest

    dataset, shifted = _shifted(runs, amounts, inputs)
    rows = []
    for method, config in run_settings(runs).items():
        network = runs.network(method)
        for (shift, amount), images in shifted.items():
            with use_threads(config.threads):
                changed = Inputs(images, dataset.labels, dataset.name, dataset.classes)
                probs = predict(network, changed, samples=config.samples, seed=config.seed)
            found = evaluate(probs, dataset.labels, bins)
            wilson = binomtest(round(found["accuracy"] * len(dataset)), len(dataset)).proportion_ci(method="wilson")
            names = {"shift": shift, "amount": amount, "method": method}
            sizes = {"inputs": len(dataset), "samples": config.samples, "bins": bins}
            values = {"accuracy": found["accuracy"], "accuracy_low": wilson.low, "accuracy_high": wilson.high}
            values |= {"predictive_entropy_nats": found["predictive_entropy"], "ece": found["ece"]}
            rows.append(names | sizes | values)
    return pd.DataFrame(rows)


def shifted_examples(
    runs: Runs, amounts: Mapping[str, Sequence[float]] = AMOUNTS, *, inputs: int | None = None, index: int = 0
) -> dict[tuple[str, float], Tensor]:
    """One of the images of `shift_curves`, [H, W], by shift and amount.

    Raises:
        InputError: as `shift_curves`, or there is no image `index`.
    """
    dataset, shifted = _shifted(runs, amounts, inputs)
    if not 0 <= index < len(dataset):
        raise InputError(f"index: expected 0 to {len(dataset) - 1}; got {index}")
    return {key: images[index].mean(0) for key, images in shifted.items()}


def _shifted(
    runs: Runs, amounts: Mapping[str, Sequence[float]], inputs: int | None
) -> tuple[Dataset, dict[tuple[str, float], Tensor]]:
    """The original images, and shifted ones [N, 1, H, W] by (shift, amount) with ascending amounts."""
    if not any(len(values) for values in amounts.values()):
        raise InputError("amounts: expected at least one shift with an amount; got none")
    for shift in amounts:
        check_choice("amounts", shift, SHIFTS)
    dataset = own_inputs(runs, inputs)
    if isinstance(dataset, EventDataset):
        raise InputError(f"data: expected images, which can be shifted; got events of {dataset.name}")
    wanted = [(shift, float(amount)) for shift, values in amounts.items() for amount in sorted(set(values))]
    return dataset, {
        (shift, amount): apply_shift(dataset.images, f"{shift}={amount!r}", seed=runs.seed) for shift, amount in wanted
    }
