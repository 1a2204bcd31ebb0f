"""All measures of networks, each with its column in tables, label, unit, direction and digits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = [
    "COSTS",
    "CROSS_ENTROPY",
    "GROUPED",
    "MEASURES",
    "QUALITY",
    "SCALED",
    "Measure",
    "foreign_columns",
    "measure_of",
]


@dataclass(frozen=True)
class Measure:
    """A column of results, and how it is displayed.

    Args:
        name: the column in rows of results.
        title: its name within a sentence.
        unit: the displayed unit; empty for none.
        size: size of one `unit` in values of the column: 0.01 for a fraction displayed in percent.
        better: 1 if more is better, -1 if less is better, 0 for neither.
        digits: number of digits after the decimal point, in `unit`.
        column: the column in a summary, without ``_mean`` and ``_std``; `name` by default.
        span: text on the page in place of a unit.
        units: units between which the page chooses, each with its size in values of the column.
        own_unit: unit of the values in the column, if it is not `unit`.
        left_out: column of a summary that counts the seeds left out of the mean; empty for none.
    """

    name: str
    title: str
    unit: str = ""
    size: float = 1
    better: int = 0
    digits: int = 4
    column: str = ""
    span: str = "no unit"
    units: dict[str, float] = field(default_factory=dict)
    own_unit: str = ""
    left_out: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", self.column or self.name)
        object.__setattr__(self, "units", self.units or {self.unit or self.span: self.size})
        object.__setattr__(self, "own_unit", self.unit if self.size == 1 else self.own_unit)

    @property
    def factor(self) -> float:
        """Factor that converts values of the column to `unit`."""
        return 1 / self.size

    @property
    def heading(self) -> str:
        """The title with a capital first letter."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def label(self) -> str:
        """Title and unit for an axis.

        Example:
            >>> MEASURES["accuracy"].label
            'Accuracy (%)'
        """
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def text(self, value: float) -> str:
        """A value of the column with its unit.

        Example:
            >>> MEASURES["ece"].text(0.0123)
            '1.23 %'
        """
        return f"{value * self.factor:.{self.digits}f} {self.unit}".rstrip()

    def text_in_best_unit(self, value: float) -> str:
        """A value of the column in the largest of `units` in which it is at least 1; small values with three digits.

        Example:
            >>> MEASURES["storage_bytes"].text_in_best_unit(6480), MEASURES["nll"].text_in_best_unit(0.00001234)
            ('6.48 kB', '1.23e-05 nats')
        """
        units = [(size, unit) for unit, size in self.units.items()]
        size, unit = max([one for one in units if one[0] <= abs(value)], default=min(units))
        number = value / size
        small = 0 < abs(number) < 10.0 ** (1 - self.digits)
        return f"{number:{'.3g' if small else f'.{self.digits}f'}} {unit if self.unit else ''}".rstrip()


def _by_name(*measures: Measure) -> dict[str, Measure]:
    return {measure.name: measure for measure in measures}


QUALITY = _by_name(
    Measure("accuracy", "accuracy", "%", 0.01, 1, 2, "accuracy_pct"),
    Measure("nll", "NLL", "nats", 1, -1, 4, "nll_nats"),
    Measure("brier", "Brier score", better=-1, span="0 to 2"),
    Measure("ece", "ECE", "%", 0.01, -1, 2, "ece_pct"),
    Measure("aurc", "AURC", "10⁻³", 0.001, -1, 2, "aurc_permille"),
    Measure("predictive_entropy", "predictive entropy", "nats", column="predictive_entropy_nats"),
    Measure("normalized_entropy", "normalized entropy", span="0 to 1"),
    Measure("mutual_information", "mutual information", "nats", column="mutual_information_nats"),
    Measure("predictive_variance", "predictive variance"),
    Measure("predictive_std", "predictive std"),
)
"""Measures of predictions, by column; uncertainties by themselves are neither good nor bad."""
_BOUND = "temperature_at_bound"
SCALED = _by_name(
    Measure("temperature", "temperature", digits=3, left_out="temperature_undetermined"),
    Measure("scaled_nll", "scaled NLL", "nats", 1, -1, 4, "scaled_nll_nats", left_out=_BOUND),
    Measure("scaled_brier", "scaled Brier score", better=-1, span="0 to 2", left_out=_BOUND),
    Measure("scaled_ece", "scaled ECE", "%", 0.01, -1, 2, "scaled_ece_pct", left_out=_BOUND),
    Measure("scaled_aurc", "scaled AURC", "10⁻³", 0.001, -1, 2, "scaled_aurc_permille", left_out=_BOUND),
    Measure(
        "scaled_predictive_entropy",
        "scaled predictive entropy",
        "nats",
        column="scaled_predictive_entropy_nats",
        left_out=_BOUND,
    ),
    Measure("scaled_predictive_std", "scaled predictive std", left_out=_BOUND),
)
"""Measures after temperature scaling, see `tsnn_uq.results.measure_predictions.after_temperature`."""
COSTS = _by_name(
    Measure("sparsity", "sparsity", "%", 0.01, 0, 2, "sparsity_pct"),
    Measure(
        "storage_bytes",
        "storage",
        "MB",
        1e6,
        -1,
        2,
        "storage_mb",
        units={"bytes": 1, "kB": 1e3, "MB": 1e6},
        own_unit="bytes",
    ),
    Measure(
        "flops",
        "FLOPs a step",
        "millions",
        1e6,
        -1,
        2,
        "flops_m",
        units={"single": 1, "thousands": 1e3, "millions": 1e6},
    ),
    Measure("energy_pj", "energy a pass", "pJ", 1, -1, 2, units={"pJ": 1, "nJ": 1e3, "µJ": 1e6, "mJ": 1e9}),
    Measure("train_seconds", "training", "s", 1, -1, 1),
)
"""Costs of networks, by column."""
DETECTION = _by_name(
    Measure("ood_auroc_fashion", "AUROC, Fashion-MNIST", better=1, digits=3),
    Measure("ood_auroc_mnist", "AUROC, MNIST", better=1, digits=3),
    Measure("ood_auroc_emnist", "AUROC, EMNIST letters", better=1, digits=3),
    Measure("ood_auroc_letters", "AUROC, letters", better=1, digits=3),  # drawn from fonts, in older tables
    Measure("ood_auroc_rotated", "AUROC, rotated", better=1, digits=3),
    Measure("ood_auroc_noise", "AUROC, noise", better=1, digits=3),
)
"""Detection of the foreign sets of an ablation, by column, other data sets first."""
MEASURES = (
    QUALITY
    | SCALED
    | COSTS
    | _by_name(
        Measure("error", "error", "%", 0.01, -1, 2),
        Measure("entropy", "entropy", "nats"),
        Measure("expected_entropy", "expected entropy", "nats"),
        Measure("predictive_variance_correct", "variance if correct", "10⁻³", 0.001, 0, 2),
        Measure("predictive_variance_wrong", "variance if wrong", "10⁻³", 0.001, 0, 0),
        Measure("ood_auroc", "OOD AUROC", "%", 0.01, 1, 2),
    )
    | DETECTION
)
"""All measures, by column."""
CROSS_ENTROPY, GROUPED = "cross-entropy to people", "mean entropy"
"""Rows in the table of `tsnn_uq.results.studies.compare_with_people` that are not correlations."""
_BY_COLUMN = {measure.column: measure for measure in MEASURES.values()}


def foreign_columns(columns: Iterable[str], count: int = 2) -> list[str]:
    """The columns of `DETECTION` in a table that are displayed: the first `count` that it has.

    Example:
        >>> foreign_columns(["accuracy", "ood_auroc_noise", "ood_auroc_emnist", "ood_auroc_fashion"])
        ['ood_auroc_fashion', 'ood_auroc_emnist']
    """
    available = set(columns)
    return [name for name in DETECTION if name in available][:count]


def measure_of(column: str) -> tuple[Measure, float]:
    """The measure of a column, and the factor that converts its values to the measure's unit.

    The factor is 1 for columns of a summary, which have the unit in their name.

    Raises:
        KeyError: there is no such measure.

    Example:
        >>> [measure_of(column)[1] for column in ("ece", "ece_pct")]
        [100.0, 1.0]
    """
    if column in MEASURES:
        return MEASURES[column], MEASURES[column].factor
    return _BY_COLUMN[column], 1.0
