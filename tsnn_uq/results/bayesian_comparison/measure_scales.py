"""How a column of results is modelled, the unit of its differences, and which differences are negligible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.results import measures

__all__ = ["COMPARED_MEASURES", "Array", "MeasureScale", "scale_measure"]

Array = np.ndarray[Any, np.dtype[np.float64]]
COMPARED_MEASURES = ("accuracy", "predictive_entropy", "predictive_variance", "ece")
"""Columns that are compared by default."""

_VARIANTS = ("point_", "validation_", "scaled_")  # a measure of other predictions than the rest of the row
#: Half the width of the region of practical equivalence, in percentage points.
_ROPES = {"accuracy": 0.1, "ece": 0.1}
_SHARE_OF_BASELINE = 0.05


@dataclass(frozen=True)
class MeasureScale:
    """A column of results on the scale on which the model's effects add up.

    Values scatter over seeds in proportion to their size, and methods change them by factors, so positive columns are
    modelled by their logarithm. Accuracies and sparsities are modelled by their logit, which keeps them between 0 and 1
    and, near 1, is minus the logarithm of the error. Columns that reach zero (or one, for fractions) are modelled
    directly, in units of their standard deviation. Accuracy is not modelled as a binomial count: all networks predict
    the same test inputs, so the sampling error is shared, and networks differ by the scatter over seeds.

    Attributes:
        name: the column.
        scale: ``"logit"``, ``"log"`` or ``"identity"``.
        unit: unit of differences; "points" are percentage points.
        factor: a value of 1 in the column is this many units.
        center: mean of the column on that scale.
        width: 1 for ``"logit"`` and ``"log"``, the column's standard deviation for ``"identity"``.
        rope: half the width of the region of practical equivalence, in `unit`; None for 5 % of the baseline's value.
    """

    name: str
    scale: Literal["logit", "log", "identity"]
    unit: str
    factor: float
    center: float
    width: float
    rope: float | None

    def forward(self, values: Array) -> Array:
        """Values of the column -> the model's scale."""
        return (_stretch(self.scale, values) - self.center) / self.width

    def backward(self, values: Tensor) -> Tensor:
        """The model's scale -> `unit`; the mean of a group becomes its typical (median) network."""
        values = values * self.width + self.center
        if self.scale == "logit":
            values = values.sigmoid()
        return (values.exp() if self.scale == "log" else values) * self.factor

    def half_rope(self, baseline: float) -> float:
        """Half the width of the region of practical equivalence for a baseline's value in `unit`."""
        return _SHARE_OF_BASELINE * abs(baseline) if self.rope is None else self.rope


def _stretch(scale: str, values: Array) -> Array:
    if scale == "logit":
        return np.log(values) - np.log1p(-values)
    return np.log(values) if scale == "log" else values


def scale_measure(name: str, values: Array, ropes: Mapping[str, float]) -> MeasureScale:
    """Choose the scale of a column from its name and values (finite, not all the same).

    Raises:
        InputError: a half-width of the region of practical equivalence is not positive.
    """
    measure = _measure_in(name)
    scale: Literal["logit", "log", "identity"] = "log" if values.min() > 0 else "identity"
    if measure in ("accuracy", "sparsity"):
        scale = "logit" if values.min() > 0 and values.max() < 1 else "identity"
    rope = ropes.get(name, _ROPES.get(measure))
    if rope is not None and not 0 < rope < float("inf"):
        raise InputError(f"rope: expected a positive half-width for {name}; got {rope}")
    stretched = _stretch(scale, values)
    width = float(stretched.std()) if scale == "identity" else 1.0
    unit, factor = _unit(measure)
    return MeasureScale(name, scale, unit, factor, float(stretched.mean()), width, rope)


def _measure_in(column: str) -> str:
    """The name of a column's measure: "ece" of "scaled_ece"."""
    for prefix in _VARIANTS:
        column = column.removeprefix(prefix)
    return column


def _unit(measure: str) -> tuple[str, float]:
    """Unit of a measure's differences, and the number of units that a value of 1 in its column has."""
    shown = measures.MEASURES.get(measure)
    if shown is None:
        return "", 1.0
    if shown.size < 1:  # fractions
        return "points" if shown.unit == "%" else shown.unit, shown.factor
    return shown.own_unit, 1.0
