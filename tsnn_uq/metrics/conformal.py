"""Split conformal prediction: sets of classes that contain the true one with a chosen probability, for any network.

A score measures how badly a class conforms to a prediction. The threshold is a quantile of the scores of the true
classes of held-out inputs, and a set holds the classes whose score is not above it. If calibration and test inputs are
exchangeable, a set holds the true class with probability 1 - alpha at least, and at most 1 / (N + 1) above that where
scores are distinct (Vovk et al. 2005). The probability is over both sets of inputs, not for each input or class.
"""

from __future__ import annotations

import math
from copy import copy
from typing import Any, Literal, NamedTuple
from zlib import crc32

import torch
from torch import Tensor
from torchmetrics import Metric

from tsnn_uq.checks import InputError, check_choice, check_dims, check_fraction, check_positive, check_probabilities
from tsnn_uq.metrics.base import UncertaintyMetric
from tsnn_uq.metrics.input_checks import as_forecast, mean_prediction
from tsnn_uq.metrics.prediction_sets import set_coverage, set_size

__all__ = ["ConformalClassifier", "ConformalPoints", "ConformalSets", "conformal_sets"]

Method = Literal["lac", "aps", "raps"]


class ConformalClassifier:
    r"""The threshold of a split conformal predictor, fitted on held-out inputs.

    The score of class c, whose probability is the r-th highest (equal ones in the order of the classes):

    .. math:: \text{lac: } 1 - p_c, \qquad \text{aps: } \sum_{c': r(c') < r} p_{c'} + u \, p_c, \qquad
              \text{raps: aps} + \lambda \max(0, r - k)

    (Sadinle et al. 2019, arXiv 1609.00451; Romano et al. 2020, arXiv 2006.02544; Angelopoulos et al. 2021, arXiv
    2009.14193), with u = 1, or uniform on [0, 1] and drawn anew for each input if `randomized`. Of n calibration
    scores the ceil((n + 1)(1 - alpha))-th smallest is the threshold; with too few of them it is infinite, and sets hold
    all classes.

    Args:
        alpha: the share of sets that may miss the true class, above 0 and below 1.
        method: "lac" gives the smallest sets on average; "aps" and "raps" adapt more to the difficulty of an input.
        penalty: lambda of "raps", for each class beyond the first k.
        rank: k of "raps". Do not tune it, or `penalty`, on the inputs passed to `fit`.
        randomized: for "aps" and "raps": draw u, which avoids sets that are larger than necessary.
        allow_empty: False adds the predicted class to each set, which can only raise the coverage.

    Attributes:
        threshold: a number once `fit` was called, else None.

    Raises:
        InputError: an option is unknown or out of range.

    Example:
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
        >>> classifier = ConformalClassifier(alpha=0.2).fit(probs, torch.tensor([0, 0, 1, 0]))
        >>> conformal_sets(torch.tensor([[0.75, 0.25], [0.5, 0.5]]), classifier)
        tensor([[ True, False],
                [ True,  True]])
    """

    def __init__(
        self,
        alpha: float = 0.1,
        method: Method = "lac",
        *,
        penalty: float = 0.01,
        rank: int = 5,
        randomized: bool = False,
        allow_empty: bool = True,
    ) -> None:
        check_fraction("alpha", alpha, below_one=True)
        check_positive("alpha", alpha)
        check_choice("method", method, ["lac", "aps", "raps"])
        check_positive("penalty", penalty)
        check_positive("rank", rank, integer=True)
        if randomized and method == "lac":
            raise InputError("randomized: expected False with method 'lac', whose score has nothing to draw; got True")
        self.alpha, self.method, self.penalty, self.rank = alpha, method, penalty, rank
        self.randomized, self.allow_empty = randomized, allow_empty
        self.threshold: float | None = None

    def fit(
        self, probs: Tensor, target: Tensor, *, generator: torch.Generator | None = None, validate: bool = True
    ) -> ConformalClassifier:
        """Set the threshold from held-out probabilities [N, C] and labels [N], which were not used in training.

        Returns:
            The classifier itself.

        Raises:
            InputError: `probs` or `target` are invalid, there are no inputs, or a randomized classifier has no
                generator.
        """
        probs, target = as_forecast(probs, target, validate)
        n = len(probs)
        if n == 0:
            raise InputError("probs: expected at least one input to calibrate on; got none (N = 0)")
        scores = self.scores(probs, generator).gather(1, target[:, None])[:, 0]
        place = math.ceil((n + 1) * (1 - self.alpha) - 1e-9)  # 0.9 * 10 need not be 9 in binary
        self.threshold = scores.kthvalue(place).values.item() if place <= n else math.inf
        return self

    def scores(self, probs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The score of each class: [N, C] -> float64 [N, C]."""
        probs = probs.detach().double()
        if self.method == "lac":
            return 1 - probs
        ordered, order = probs.sort(dim=-1, descending=True, stable=True)
        scores = ordered.cumsum(-1)
        if self.randomized:
            if generator is None:
                raise InputError("generator: expected a torch.Generator for randomized sets; got None")
            u = torch.rand(len(probs), 1, dtype=torch.float64, generator=generator, device=generator.device)
            scores = scores - (1 - u.to(probs.device)) * ordered
        if self.method == "raps":
            ranks = torch.arange(1, probs.shape[-1] + 1, device=probs.device)
            scores = scores + self.penalty * (ranks - self.rank).clamp_min(0)
        return torch.empty_like(scores).scatter(-1, order, scores)


def conformal_sets(
    probs: Tensor,
    classifier: ConformalClassifier,
    *,
    generator: torch.Generator | None = None,
    validate: bool = True,
) -> Tensor:
    """The prediction sets of a fitted `ConformalClassifier`.

    Args:
        probs: probabilities [N, C] from the network on whose predictions `classifier` was fitted. For Monte Carlo
            samples, pass the mean prediction, here as in `fit`.
        classifier: a fitted classifier.
        generator: source of the draws, if `classifier` is randomized.
        validate: False skips the checks of `probs`.

    Returns:
        Whether each class is in the set, bool [N, C].

    Raises:
        InputError: `probs` are not probabilities, `classifier` is not fitted, or a generator is missing.
    """
    if classifier.threshold is None:
        raise InputError("classifier: expected a fitted classifier; call fit on held-out inputs first")
    if validate:
        check_dims("probs", probs, "[N, C]")
        check_probabilities("probs", probs)
    sets = classifier.scores(probs, generator) <= classifier.threshold
    if not classifier.allow_empty:
        sets = sets | torch.nn.functional.one_hot(probs.argmax(-1), probs.shape[-1]).bool()
    return sets


class ConformalPoints(NamedTuple):
    """Coverage and size of conformal sets on test inputs, float64 scalars."""

    coverage: Tensor  #: share of sets that hold the true class
    mean_size: Tensor  #: mean number of classes in a set
    empty: Tensor  #: share of empty sets


class ConformalSets(UncertaintyMetric):
    """Running coverage and mean size of `conformal_sets`; three sums are kept.

    Args:
        classifier: a fitted classifier.
        generator: source of the draws, if `classifier` is randomized.
        validate: False skips the checks of the inputs.
        options: of `torchmetrics.Metric`.
    """

    function = staticmethod(conformal_sets)
    higher_is_better = None
    plot = Metric.plot  # the value is several numbers
    sums: Tensor
    count: Tensor

    def __init__(
        self,
        classifier: ConformalClassifier,
        *,
        generator: torch.Generator | None = None,
        validate: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        # A copy, so that refitting the classifier does not mix thresholds.
        self.classifier, self.generator, self.validate = copy(classifier), generator, validate
        conformal_sets(torch.full((1, 2), 0.5), classifier, generator=generator)  # validates both arguments now
        states = {"sums": torch.zeros(3, dtype=torch.float64), "count": torch.tensor(0)}
        draws = None if generator is None else crc32(generator.get_state().numpy().tobytes())
        self._add_states(states, {"classifier": vars(self.classifier)}, generator=draws, validate=validate)

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Add `probs` [N, C] (or [S, N, C], whose mean is taken) and `target` [N]."""
        probs = mean_prediction(probs, 0, self.validate)
        sets = conformal_sets(probs, self.classifier, generator=self.generator, validate=self.validate)
        sizes = set_size(sets, reduction="none")
        covered = set_coverage(sets, target, reduction="none", validate=self.validate)
        self.sums = self.sums + torch.stack([covered.sum(), sizes.sum(), (sizes == 0).sum()]).double()
        self.count = self.count + len(sets)

    def compute(self) -> ConformalPoints:
        """Coverage and mean size over all inputs seen."""
        self._require(bool(self.count))
        return ConformalPoints(*(self.sums / self.count))
