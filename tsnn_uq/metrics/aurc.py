"""Areas under risk-coverage curves, which measure how well uncertainty ranks errors (for ties see `selective`)."""

from __future__ import annotations

from torch import Tensor

from tsnn_uq.metrics.selective import SelectiveMetric, error_counts, ranks_of

__all__ = ["Augrc", "Aurc", "ExcessAurc", "augrc", "aurc", "excess_aurc"]


def aurc(uncertainty: Tensor, correct: Tensor, *, validate: bool = True) -> Tensor:
    r"""Area under the risk-coverage curve: the mean over k of the error among the k least uncertain inputs.

    .. math:: \frac1N \sum_{k=1}^N \frac{e_k}{k}, \qquad e_k \text{ errors among the first } k

    See Geifman and El-Yaniv 2017, arXiv 1705.08500. It is a sum, without trapezoids. Args and errors are those of
    `risk_coverage_curve`.

    Example:
        >>> import torch
        >>> aurc(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1, 1, 0]))
        tensor(0.1111, dtype=torch.float64)
    """
    errors = error_counts(uncertainty, correct, validate)
    return (errors / ranks_of(errors)).mean()


def excess_aurc(uncertainty: Tensor, correct: Tensor, *, validate: bool = True) -> Tensor:
    """`aurc` minus its minimum, which ranks all errors last: 0 or more.

    See Geifman et al. 2019, arXiv 1805.08206; here the best order also has a sum, not an integral. Args and errors are
    those of `risk_coverage_curve`.

    Example:
        >>> import torch
        >>> excess_aurc(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1, 0, 1]))
        tensor(0.1667, dtype=torch.float64)
    """
    errors = error_counts(uncertainty, correct, validate)
    ranks = ranks_of(errors)
    best = (ranks - correct.double().sum()).clamp_min(0)
    return ((errors - best) / ranks).mean().clamp_min(0)


def augrc(uncertainty: Tensor, correct: Tensor, *, validate: bool = True) -> Tensor:
    r"""Area under the generalized risk-coverage curve: the mean risk of an undetected error.

    .. math:: \int_0^1 \frac{e(c)}{N} \, dc = \frac1N \sum_{k=1}^N \frac{e_{k-1} + e_k}{2N}

    with the errors e(c) accepted at coverage c, as a share of *all* inputs (Traub et al. 2024, arXiv 2407.01032, with
    trapezoids from coverage 0). It equals (1 - AUROC) a (1 - a) + (1 - a)^2 / 2 with accuracy a and the AUROC of
    detecting errors by uncertainty. Args and errors are those of `risk_coverage_curve`.

    Example:
        >>> import torch
        >>> augrc(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1, 1, 0]))
        tensor(0.0556, dtype=torch.float64)
    """
    errors = error_counts(uncertainty, correct, validate)
    return (errors.sum() - errors[-1] / 2) / len(errors) ** 2


class Aurc(SelectiveMetric):
    """`aurc` of all inputs seen, which are kept."""

    function = staticmethod(aurc)


class ExcessAurc(SelectiveMetric):
    """`excess_aurc` of all inputs seen, which are kept."""

    function = staticmethod(excess_aurc)


class Augrc(SelectiveMetric):
    """`augrc` of all inputs seen, which are kept."""

    function = staticmethod(augrc)
