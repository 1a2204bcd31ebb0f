"""Number of time steps until a decision no longer changes, or until the network is confident enough."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from tsnn_uq.checks import InputError, check_choice, check_labels, check_probabilities, describe
from tsnn_uq.metrics.base import PerInputMetric, UncertaintyMetric
from tsnn_uq.metrics.entropy import predictive_entropy
from tsnn_uq.metrics.information import mutual_information
from tsnn_uq.metrics.input_checks import Reduction, at_least_float32, mean_of_samples, reduce_inputs
from tsnn_uq.metrics.over_time import with_samples

__all__ = ["EarlyExit", "EarlyExitPoints", "FirstStableStep", "Score", "early_exit", "first_stable_step", "sureness"]

Score = Literal["confidence", "margin", "entropy", "mutual-information"]


def _margin(samples: Tensor) -> Tensor:
    """Highest minus second highest mean probability; with a single class, the highest."""
    highest = mean_of_samples(samples).topk(min(2, samples.shape[-1])).values
    return highest[..., 0] - highest[..., 1:].sum(-1)


_PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {  # higher means more certain
    "confidence": lambda samples: mean_of_samples(samples).amax(-1),
    "margin": _margin,
}
_INFORMATION: dict[str, Callable[[Tensor], Tensor]] = {  # lower means more certain, in nats
    "entropy": partial(predictive_entropy, reduction="none", validate=False),
    "mutual-information": partial(mutual_information, reduction="none", validate=False),
}


def _below_one(samples: Tensor, score: Score) -> Tensor:
    """The confidence or the margin minus 1, computed as a sum of small probabilities to avoid rounding to 0."""
    mean = mean_of_samples(samples)
    others = mean.scatter(-1, mean.argmax(-1, keepdim=True), 0.0)
    return -others.sum(-1) if score == "confidence" else -others.sum(-1) - others.amax(-1)


def sureness(probs: Tensor, score: Score) -> Tensor:
    """Certainty of each prediction by one of the scores; higher means more certain, and 0 is the highest value.

    For "confidence" it is the highest mean probability minus 1, and for "margin" its distance from the second highest
    minus 1, both computed without rounding at 1: predictions whose confidences are 1 - 1e-9 and 1 - 1e-12 differ. For
    "entropy" it is the negative entropy of the mean prediction, and for "mutual-information" the negative mutual
    information of the samples, both in nats.

    Args:
        probs: probabilities [S, ..., C], samples first.
        score: "confidence", "margin", "entropy" or "mutual-information".

    Returns:
        [...], in float32 or the wider dtype of `probs`.

    Raises:
        InputError: `score` is unknown, or mutual information is requested for a single sample.
    """
    _check_score(score, len(probs))
    samples = at_least_float32(probs).flatten(1, -2)
    sure = -_INFORMATION[score](samples) if score in _INFORMATION else _below_one(samples, score)
    return sure.reshape(probs.shape[1:-1])


def _check_score(score: Score, samples: int) -> None:
    check_choice("score", score, _PROBABILITIES | _INFORMATION)
    if score == "mutual-information" and samples < 2:
        raise InputError("score: expected at least two Monte Carlo samples for 'mutual-information'; got one")


def _samples_over_time(probs: Tensor, validate: bool) -> Tensor:
    """Convert predictions after each step [T, N, C] or [S, T, N, C] to [S, T, N, C], in float32 or better."""
    probs = with_samples(probs)
    if validate:
        check_probabilities("probs", probs, "[S, T, N, C]")
    return at_least_float32(probs)


def first_stable_step(probs: Tensor, *, reduction: Reduction = "none", validate: bool = True) -> Tensor:
    """Number of time steps after which the predicted class no longer changes, 1 to T.

    It is 1 if the decision after the first step is the final one, and T if the decision changes at the last step.

    Args:
        probs: predictions after each step [T, N, C], or [S, T, N, C], whose mean over samples decides. Of equally
            probable classes the first is predicted.
        reduction: over the inputs: "none" for a value per input [N], "mean" or "sum".
        validate: False skips the checks of `probs`.

    Returns:
        Whole numbers [N] (int64), or a float64 scalar.

    Raises:
        InputError: `probs` are not probabilities or have no time axis, an option is unknown, or the mean of no inputs
            is requested.

    Example:
        >>> first_stable_step(torch.tensor([[[0.6, 0.4], [0.6, 0.4]], [[0.3, 0.7], [0.8, 0.2]]]))
        tensor([2, 1])
    """
    decision = mean_of_samples(_samples_over_time(probs, validate)).argmax(-1)
    numbers = torch.arange(1, len(decision) + 1, device=decision.device)[:, None]
    steps = 1 + ((decision != decision[-1]) * numbers).amax(0)
    return steps if reduction == "none" else reduce_inputs(steps.double(), reduction)


class EarlyExitPoints(NamedTuple):
    """The steps at which inputs leave, and the accuracy there."""

    steps: Tensor  #: time steps used by each input [N], int64, 1 to T
    mean_steps: Tensor  #: their mean, a float64 scalar
    accuracy: Tensor  #: share of inputs that are right when they leave, float64
    reached: Tensor  #: share of inputs that reached the threshold, float64; the others leave after step T


def _points(steps: Tensor, correct: Tensor, reached: Tensor) -> EarlyExitPoints:
    if len(steps) == 0:
        raise InputError("probs: expected at least one input; got none (N = 0)")
    return EarlyExitPoints(steps, *(part.double().mean() for part in (steps, correct, reached)))


def _exits(probs: Tensor, target: Tensor, threshold: float, score: Score, validate: bool) -> tuple[Tensor, ...]:
    """Steps used, whether the prediction is right, and whether the threshold was reached: [N] each."""
    _check_score(score, len(with_samples(probs)))
    if not isinstance(threshold, (int, float)) or isinstance(threshold, bool) or threshold != threshold:
        raise InputError(f"threshold: expected a number; got {describe(threshold)}")
    samples = _samples_over_time(probs, validate).detach()
    steps, inputs, classes = samples.shape[1:]
    if validate:
        target = check_labels("target", target, classes=classes, count=inputs)
    each = samples.flatten(1, -2)
    sure = _INFORMATION[score](each) <= threshold if score in _INFORMATION else _PROBABILITIES[score](each) >= threshold
    sure = sure.reshape(steps, inputs)
    reached = sure.any(0)
    last = torch.where(reached, sure.long().argmax(0), steps - 1)  # argmax returns the first sure step
    decision = mean_of_samples(samples).argmax(-1).gather(0, last[None])[0]
    return last + 1, decision == target.long(), reached


def early_exit(
    probs: Tensor, target: Tensor, threshold: float, score: Score = "confidence", *, validate: bool = True
) -> EarlyExitPoints:
    """Stop each input at the first time step at which the network is certain enough.

    It is certain enough if the confidence (the highest mean probability) or the margin (its distance from the second
    highest) is at least `threshold`, or if the entropy of the mean prediction or the mutual information of the samples,
    in nats, is at most `threshold` (entropy as in BranchyNet: Teerapittayanon et al. 2016, arXiv 1709.01686). All other
    inputs leave after step T. There is no guarantee; `tsnn_uq.stopping` chooses thresholds with one.

    Args:
        probs: predictions after each step [T, N, C] or [S, T, N, C].
        target: class numbers [N].
        threshold: threshold of the score.
        score: "confidence", "margin", "entropy" or, with several samples, "mutual-information".
        validate: False skips the checks of the inputs.

    Returns:
        `EarlyExitPoints`.

    Raises:
        InputError: `probs` are not probabilities or have no time axis, `target` are not labels of their classes, an
            option is unknown, or there are no inputs.

    Example:
        >>> probs = torch.tensor([[[0.6, 0.4], [0.9, 0.1]], [[0.2, 0.8], [0.9, 0.1]]])
        >>> points = early_exit(probs, torch.tensor([1, 0]), threshold=0.8)
        >>> points.steps, points.mean_steps.item(), points.accuracy.item()
        (tensor([2, 1]), 1.5, 1.0)
    """
    return _points(*_exits(probs, target, threshold, score, validate))


class FirstStableStep(PerInputMetric):
    """Running `first_stable_step`, by default its mean over inputs."""

    function = staticmethod(first_stable_step)
    is_differentiable = False
    higher_is_better = False

    def __init__(self, *, reduction: Reduction = "mean", validate: bool = True, **options: Any) -> None:
        super().__init__(reduction=reduction, sample_dim=None, validate=validate, **options)

    def _try_options(self) -> None:
        """The function has no options to validate."""

    def update(self, probs: Tensor, target: Tensor | None = None) -> None:
        """Add the inputs of `probs` [T, N, C] or [S, T, N, C]; `target` is ignored."""
        self._add(probs)


class EarlyExit(UncertaintyMetric):
    """Running `early_exit`; options `threshold` and `score`. Three small numbers are kept of each input."""

    function = staticmethod(early_exit)
    higher_is_better = None
    plot = Metric.plot  # the value is several numbers

    def __init__(self, threshold: float, score: Score = "confidence", *, validate: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.threshold, self.score, self.validate = threshold, score, validate
        # Validate the options now, not at the first batch.
        early_exit(torch.full((2, 1, 1, 2), 0.5), torch.tensor([0]), threshold, score)
        settings = {"threshold": threshold, "score": score}
        self._add_states(dict.fromkeys(("steps", "correct", "reached")), settings, validate=validate)

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Add the inputs of `probs` [T, N, C] or [S, T, N, C] and `target` [N]."""
        parts = _exits(probs, target, self.threshold, self.score, self.validate)
        for name, part in zip(("steps", "correct", "reached"), parts, strict=True):
            getattr(self, name).append(part)

    def compute(self) -> EarlyExitPoints:
        """The points of all inputs seen."""
        kept = [getattr(self, name) for name in ("steps", "correct", "reached")]
        self._require(all(len(batches) > 0 for batches in kept))
        return _points(*map(dim_zero_cat, kept))
