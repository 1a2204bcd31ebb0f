"""Out-of-distribution detection by uncertainty: AUROC, AUPR and FPR95.

Out-of-distribution is the positive class. Inputs of equal uncertainty are on the same side of every threshold, so the
order of the rows does not matter. Values are float64; infinite uncertainties are ranked, NaN is an error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_fraction, check_positive
from tsnn_uq.metrics.base import StoringMetric
from tsnn_uq.metrics.input_checks import check_uncertainty

__all__ = ["FprAtTpr", "OodAuprIn", "OodAuprOut", "OodAuroc", "fpr_at_tpr", "ood_aupr_in", "ood_aupr_out", "ood_auroc"]


def _check_pair(in_uncertainty: Tensor, out_uncertainty: Tensor) -> None:
    check_uncertainty("in_uncertainty", in_uncertainty)
    check_uncertainty("out_uncertainty", out_uncertainty)


def _counts(in_uncertainty: Tensor, out_uncertainty: Tensor, validate: bool) -> tuple[Tensor, Tensor]:
    """Number of inputs of either kind at each distinct uncertainty, highest first, float64 [thresholds]."""
    if validate:
        _check_pair(in_uncertainty, out_uncertainty)
    kinds = {"in_uncertainty": in_uncertainty, "out_uncertainty": out_uncertainty}
    for name, uncertainty in kinds.items():
        if len(uncertainty) == 0:
            raise InputError(f"{name}: expected at least one input; got none")
    group = torch.unique(torch.cat([*kinds.values()]), return_inverse=True)[1]
    size = int(group.max()) + 1
    count_in, count_out = (
        torch.bincount(part, minlength=size).double().flip(0) for part in group.tensor_split([len(in_uncertainty)])
    )
    return count_in, count_out


def _average_precision(positive: Tensor, negative: Tensor) -> Tensor:
    caught = positive.cumsum(0)
    precision = caught / (caught + negative.cumsum(0))
    return (positive * precision).sum() / positive.sum()


def ood_auroc(in_uncertainty: Tensor, out_uncertainty: Tensor, *, validate: bool = True) -> Tensor:
    r"""Probability that an out-of-distribution input is more uncertain than an in-distribution one; ties count half.

    .. math:: P(u_\mathrm{out} > u_\mathrm{in}) + \tfrac12 P(u_\mathrm{out} = u_\mathrm{in})

    the area under the ROC curve (Hendrycks and Gimpel 2017, arXiv 1610.02136).

    Args:
        in_uncertainty: a number per in-distribution input [N].
        out_uncertainty: a number per out-of-distribution input [M].
        validate: False skips the checks of the inputs.

    Returns:
        A float64 scalar between 0 and 1; 0.5 for guessing.

    Raises:
        InputError: an uncertainty is NaN, or there are no inputs of one kind.

    Example:
        >>> ood_auroc(torch.tensor([0.1, 0.2]), torch.tensor([0.2, 0.3]))
        tensor(0.8750, dtype=torch.float64)
    """
    count_in, count_out = _counts(in_uncertainty, out_uncertainty, validate)
    less_certain = count_out.cumsum(0) - count_out / 2
    return (count_in * less_certain).sum() / (count_in.sum() * count_out.sum())


def ood_aupr_out(in_uncertainty: Tensor, out_uncertainty: Tensor, *, validate: bool = True) -> Tensor:
    """Average precision of finding out-of-distribution inputs by high uncertainty.

    It is the sum over thresholds of precision times gain in recall (without trapezoids), as in scikit-learn. Guessing
    gives the share of out-of-distribution inputs. Args and errors are those of `ood_auroc`.

    Example:
        >>> ood_aupr_out(torch.tensor([0.1, 0.2]), torch.tensor([0.2, 0.3]))
        tensor(0.8333, dtype=torch.float64)
    """
    count_in, count_out = _counts(in_uncertainty, out_uncertainty, validate)
    return _average_precision(count_out, count_in)


def ood_aupr_in(in_uncertainty: Tensor, out_uncertainty: Tensor, *, validate: bool = True) -> Tensor:
    """Average precision of finding in-distribution inputs by low uncertainty: `ood_aupr_out` with roles exchanged.

    Args and errors are those of `ood_auroc`.

    Example:
        >>> ood_aupr_in(torch.tensor([0.1, 0.2]), torch.tensor([0.2, 0.3]))
        tensor(0.8333, dtype=torch.float64)
    """
    count_in, count_out = _counts(in_uncertainty, out_uncertainty, validate)
    return _average_precision(count_in.flip(0), count_out.flip(0))


def fpr_at_tpr(in_uncertainty: Tensor, out_uncertainty: Tensor, tpr: float = 0.95, *, validate: bool = True) -> Tensor:
    """Share of in-distribution inputs flagged when at least `tpr` of the out-of-distribution ones are (FPR95).

    Out-of-distribution is the positive class; Liang et al. 2018 (ODIN) use the opposite convention. The threshold is
    the highest that flags enough. Args and errors are those of `ood_auroc`, with 0 < `tpr` <= 1.

    Example:
        >>> fpr_at_tpr(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.3, 0.5]))
        tensor(0.5000, dtype=torch.float64)
    """
    check_fraction("tpr", tpr)
    check_positive("tpr", tpr)
    count_in, count_out = _counts(in_uncertainty, out_uncertainty, validate)
    enough = count_out.cumsum(0) >= tpr * count_out.sum() - 1e-9  # 0.95 * 20 need not be 19 in binary
    return count_in.cumsum(0)[enough][0] / count_in.sum()


class _OodMetric(StoringMetric):
    names = ("in_uncertainty", "out_uncertainty")
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Validate the options now, not at the first batch.
        type(self).function(torch.zeros(1), torch.ones(1), **self.options)
        self._add_lists()

    def update(self, in_uncertainty: Tensor, out_uncertainty: Tensor) -> None:
        """Keep both, [N] and [M]; either may be empty."""
        if self.validate:
            _check_pair(in_uncertainty, out_uncertainty)
        self._keep(in_uncertainty, out_uncertainty)


class OodAuroc(_OodMetric):
    """`ood_auroc` of all inputs seen, which are kept."""

    function = staticmethod(ood_auroc)


class OodAuprIn(_OodMetric):
    """`ood_aupr_in` of all inputs seen, which are kept."""

    function = staticmethod(ood_aupr_in)


class OodAuprOut(_OodMetric):
    """`ood_aupr_out` of all inputs seen, which are kept."""

    function = staticmethod(ood_aupr_out)


class FprAtTpr(_OodMetric):
    """`fpr_at_tpr` of all inputs seen, which are kept; option `tpr`."""

    function = staticmethod(fpr_at_tpr)
    higher_is_better = False
