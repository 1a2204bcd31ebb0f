"""Compare predictions with the class labels that many people gave to each input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_dims, check_probabilities, describe
from tsnn_uq.metrics.base import PerInputMetric, StoringMetric
from tsnn_uq.metrics.input_checks import Reduction, at_least_float32, check_uncertainty, mean_prediction, reduce_inputs

__all__ = ["DoubtCorrelation", "HumanCrossEntropy", "doubt_correlation", "human_cross_entropy"]


def _shares(counts: Tensor, inputs: int, validate: bool) -> Tensor:
    """The share of each class among the answers, float64 [N, C]."""
    if validate:
        check_dims("counts", counts, "[N, C]")
        if len(counts) != inputs:
            raise InputError(f"counts: expected the answers to {inputs} inputs; got {describe(counts)}")
        if counts.is_complex() or counts.dtype == torch.bool or not (counts >= 0).all() or counts.isinf().any():
            raise InputError(f"counts: expected counts of each class, 0 or more; got {describe(counts)}")
        if len(counts) and not (counts.double().sum(-1) > 0).all():
            raise InputError("counts: expected at least one answer per input; got inputs without one")
    counts = counts.double()
    return counts / counts.sum(-1, keepdim=True)


def human_cross_entropy(
    probs: Tensor, counts: Tensor, *, reduction: Reduction = "mean", validate: bool = True
) -> Tensor:
    r"""Cross-entropy of a prediction to the distribution of people's answers, in nats.

    .. math:: -\sum_c h_c \log p_c, \qquad h_c = n_c / \sum_{c'} n_{c'}

    See Peterson et al. 2019, arXiv 1908.07086. It is the expected `negative_log_likelihood` of a person's answer. Its
    minimum is the entropy of the answers, for p = h. Nothing is clipped. Keep probabilities in float32, since float16
    rounds those below 3e-8 to zero.

    Args:
        probs: probabilities [N, C].
        counts: how often each class was chosen [N, C], at least one answer per input; shares are also accepted.
        reduction: over the inputs: "mean", "sum", or "none" for a value per input [N].
        validate: False skips the checks of the inputs.

    Returns:
        A scalar or [N]; infinite where a class that someone chose has probability 0.

    Raises:
        InputError: `probs` are not probabilities, `counts` are not counts of the same inputs, or the reduction is
            unknown.

    Example:
        >>> human_cross_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[30, 20], [50, 0]]))
        tensor(0.3466)
    """
    if validate:
        check_probabilities("probs", probs)
        if counts.dim() == 2 and counts.shape[-1] != probs.shape[-1]:
            raise InputError(f"counts: expected {probs.shape[-1]} classes, as in probs; got {describe(counts)}")
    probs = at_least_float32(probs)
    shares = _shares(counts, len(probs), validate).to(probs)
    return reduce_inputs(-torch.special.xlogy(shares, probs).sum(-1), reduction)


def doubt_correlation(uncertainty: Tensor, counts: Tensor, *, validate: bool = True) -> Tensor:
    r"""Spearman's correlation of an uncertainty with the entropy of people's answers.

    .. math:: \rho = \mathrm{corr}(\mathrm{rank}(u_n), \mathrm{rank}(H[h_n]))

    with mean ranks for ties. It is 1 if the network and people rank the inputs alike.

    Args:
        uncertainty: a number per input [N], high where the network is unsure, such as `predictive_entropy`, or its
            parts `expected_entropy` (aleatoric) and `mutual_information` (epistemic), with ``reduction="none"``.
        counts: how often each class was chosen [N, C]; see `human_cross_entropy`.
        validate: False skips the checks of the inputs.

    Returns:
        A float64 scalar from -1 to 1; NaN where all inputs are equally uncertain, to the network or to people.

    Raises:
        InputError: `uncertainty` contains NaN, `counts` are not counts of the same inputs, or there are no inputs.

    Example:
        >>> doubt_correlation(torch.tensor([0.1, 0.5, 0.3]), torch.tensor([[50, 0], [25, 25], [40, 10]]))
        tensor(1., dtype=torch.float64)
    """
    if validate:
        check_uncertainty("uncertainty", uncertainty)
    shares = _shares(counts, len(uncertainty), validate)
    if len(uncertainty) == 0:
        raise InputError("uncertainty: expected at least one input; got none")
    entropy = torch.special.entr(shares.sort(-1).values).sum(-1)  # sorted: equal answers give equal bits
    ranks = torch.stack([_ranks(uncertainty), _ranks(entropy)])
    centred = ranks - ranks.mean(1, keepdim=True)
    first, second = centred
    return (first @ second / (first.square().sum() * second.square().sum()).sqrt()).clamp(-1, 1)


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1 in float64; ties share their mean rank."""
    _, group, counts = torch.unique(values.detach(), return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[group]


class HumanCrossEntropy(PerInputMetric):
    """Running `human_cross_entropy`; of samples [S, N, C] it scores the mean prediction."""

    function = staticmethod(human_cross_entropy)
    higher_is_better = False

    def __init__(self, *, sample_dim: int | None = 0, **options: Any) -> None:
        super().__init__(sample_dim=sample_dim, **options)

    def _try_options(self) -> None:
        """The function has no options to validate."""

    def update(self, probs: Tensor, counts: Tensor) -> None:  # type: ignore[override]
        """Add `probs` [N, C] (or [S, N, C], whose mean is scored) and `counts` [N, C]."""
        self._add(mean_prediction(probs, self.sample_dim, self.validate), counts)


class DoubtCorrelation(StoringMetric):
    """`doubt_correlation` of all inputs seen, which are kept."""

    function = staticmethod(doubt_correlation)
    names = ("uncertainty", "counts")
    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._add_lists()

    def update(self, uncertainty: Tensor, counts: Tensor) -> None:
        """Keep `uncertainty` [N] and `counts` [N, C]."""
        if self.validate:
            check_uncertainty("uncertainty", uncertainty)
            _shares(counts, len(uncertainty), True)
        self._keep(uncertainty, counts)
