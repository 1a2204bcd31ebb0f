"""Regularizers by name, alone and summed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container
from functools import partial

from tsnn_uq.checks import InputError, check_choice, describe
from tsnn_uq.training.regularizers.base import MorePasses, Regularizer, WeightedSum
from tsnn_uq.training.regularizers.calibration_loss import (
    AccuracyUncertaintyRegularizer,
    KernelCalibrationRegularizer,
    SoftBinnedRegularizer,
)
from tsnn_uq.training.regularizers.consistency import ConsistencyRegularizer
from tsnn_uq.training.regularizers.firing_rate import RateRegularizer
from tsnn_uq.training.regularizers.membrane_potential import MembraneRegularizer
from tsnn_uq.training.regularizers.outlier_exposure import OutlierExposure
from tsnn_uq.training.regularizers.predictive_uncertainty import (
    ContrastRegularizer,
    EntropyRegularizer,
    InformationRegularizer,
    VarianceRegularizer,
)
from tsnn_uq.training.regularizers.quantization_gap import QuantizationGapRegularizer

__all__ = [
    "DEFAULT_REGULARIZER",
    "NEED_IMAGES",
    "PASSES",
    "REGULARIZERS",
    "check_regularizer",
    "make_regularizer",
    "regularizer_terms",
]

REGULARIZERS: dict[str, Callable[[], Regularizer]] = {
    "none": Regularizer,
    "variance": VarianceRegularizer,
    "entropy": EntropyRegularizer,
    "information": InformationRegularizer,
    "variance-right": partial(ContrastRegularizer, of="variance", wrong=0.0),
    "variance-contrast": partial(ContrastRegularizer, of="variance"),
    "entropy-contrast": partial(ContrastRegularizer, of="entropy"),
    "information-contrast": partial(ContrastRegularizer, of="information"),
    "accuracy-uncertainty": AccuracyUncertaintyRegularizer,
    "soft-binned": SoftBinnedRegularizer,
    "kernel-calibration": KernelCalibrationRegularizer,
    "quantization-gap": QuantizationGapRegularizer,
    "membrane": MembraneRegularizer,
    "rate": RateRegularizer,
    "outliers": OutlierExposure,
    "consistency": ConsistencyRegularizer,
}

DEFAULT_REGULARIZER = "consistency:1+information:3"
"""The terms and weights of ``"default"``, which won the finals of ``tsnn-uq ablation``."""
PASSES = "passes"
"""The name before the number of passes in a text."""
NEED_IMAGES = tuple(name for name, make in REGULARIZERS.items() if make().extra_share)
"""Regularizers with extra inputs, which they make from images."""


def regularizer_terms(text: str) -> dict[str, float | None]:
    """Parse the names and weights of a term or a sum of terms.

    Args:
        text: such as ``"variance"``, ``"variance:5+outliers:0.5"`` or ``"default"``. ``"variance:5+passes:4"`` gives
            the terms four stochastic passes, if they would have fewer.

    Returns:
        The weight of each name, and the number of ``passes`` if it is in the text; None for one name alone.

    Raises:
        InputError: a name is unknown or repeated, a weight is missing or not a number above 0, or the number of passes
            is not whole or has no term beside it.

    Example:
        >>> regularizer_terms("variance:5+outliers:0.5")
        {'variance': 5.0, 'outliers': 0.5}
    """
    terms: dict[str, float | None] = {}
    if not isinstance(text, str):
        raise InputError(f"regularizer: expected text; got {describe(text)}")
    text = DEFAULT_REGULARIZER if text == "default" else text
    parts = re.split(r"\+(?=\D)", text)  # not inside 1e+3
    for part in parts:
        name, colon, number = part.rpartition(":")
        if not colon or part in REGULARIZERS:  # references to code contain a colon
            name, colon, number = part, "", ""
        check_choice("regularizer", name, (*REGULARIZERS, PASSES))
        if name in terms or (name == "none" and (colon or len(parts) > 1)):
            raise InputError(f"regularizer: expected each name once, and none only by itself; got {describe(text)}")
        terms[name] = _weight(number, text) if colon or len(parts) > 1 else None
    if terms.keys() == {PASSES} or (terms.get(PASSES) or 0) % 1:
        raise InputError(f"regularizer: expected a whole number of passes beside a term; got {describe(text)}")
    return terms


def make_regularizer(text: str, *, without: Container[str] = ()) -> Regularizer:
    """A regularizer by its name, or a sum of several.

    Args:
        text: as for `regularizer_terms`, which also defines the errors.
        without: names of terms to leave out; if none is left, the regularizer is ``"none"``.

    Example:
        >>> make_regularizer("variance:5+outliers:0.5")
        WeightedSum(parts=[(5.0, VarianceRegularizer(passes=2, share=0.25)), (0.5, OutlierExposure(extra_share=0.25))])
    """
    terms = {name: weight for name, weight in regularizer_terms(text).items() if name not in without}
    passes = int(terms.pop(PASSES, None) or 0)
    weighted = [(weight, REGULARIZERS[name]()) for name, weight in terms.items() if weight]
    weighted += [(1.0, MorePasses(passes))] if weighted and passes else []
    return WeightedSum(weighted) if weighted else REGULARIZERS[next(iter(terms), "none")]()


def check_regularizer(text: str, weight: float, *, method: str, events: bool) -> None:
    """Raise unless a term of the loss has a weight and is compatible with the method and the data.

    Args:
        text: as for `regularizer_terms`.
        weight: weight of a single name; 0 for no weight, and for a text with weights.
        method: name of the training method.
        events: whether the inputs are events.

    Raises:
        InputError: as in `regularizer_terms`, or the term is incompatible.
    """
    terms = regularizer_terms(text)
    if ("none" in terms or None not in terms.values()) != (weight == 0):
        wanted = "above 0 with a regularizer and 0 without, or with weights in its text"
        raise InputError(f"regularizer_weight: expected {wanted}; got {weight} with {text!r}")
    if "quantization-gap" in terms and method not in ("direct", "float"):
        remedy = "only direct keeps the float copy of ternary weights"
        raise InputError(f"regularizer: expected no quantization-gap with {method} ({remedy})")
    for name in NEED_IMAGES:
        if name in terms and events:
            raise InputError(f"regularizer: expected no {name} with events, which are not images")


def _weight(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        wanted = "name:weight+name:weight with weights above 0, e.g. variance:5+outliers:0.5"
        raise InputError(f"regularizer: expected {wanted}; got {describe(text)}")
    return value
