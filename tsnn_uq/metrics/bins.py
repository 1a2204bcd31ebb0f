"""Equal-width bins of confidence: sums over bins, and the base class of metrics that keep them.

Bins are [lo, hi), the last one closed: numpy's and netcal's convention, in which confidence 0 and confidence 1 both
belong to a bin. (Guo et al. 2017 bin (lo, hi] and lose 0; torchmetrics gives 1 a separate bin.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.metrics.base import UncertaintyMetric
from tsnn_uq.metrics.input_checks import as_forecast, mean_prediction

__all__ = ["BinnedMetric", "Of", "bin_numbers", "bin_sums", "confidences_and_hits", "expected_gap", "weights_and_gaps"]

Of = Literal["predicted", "classes"]


def bin_numbers(confidence: Tensor, bins: int) -> Tensor:
    """The bin of each confidence, 0 to `bins` - 1, in the shape of `confidence`."""
    # i / bins is correctly rounded, so the literal 0.3 opens the fourth of ten bins (numpy's linspace has 3 * 0.1).
    edges = torch.arange(1, bins, dtype=torch.float64, device=confidence.device) / bins
    return torch.bucketize(confidence.double(), edges, right=True)


def _bin_sums(confidence: Tensor, hit: Tensor, bins: int) -> Tensor:
    """Count, sum of confidences and number of hits in each bin: [N, G], [N, G] -> float64 [3, G, bins]."""
    confidence = confidence.detach().double().T.contiguous()
    index = bin_numbers(confidence, bins)
    values = torch.stack([torch.ones_like(confidence), confidence, hit.T.double()])
    return values.new_zeros(3, len(confidence), bins).scatter_add(2, index.expand_as(values), values)


def confidences_and_hits(probs: Tensor, target: Tensor, of: Of, validate: bool) -> tuple[Tensor, Tensor]:
    """Confidences and hits, [N, G] each, of the predicted class (G = 1) or of all C classes.

    The predicted class is the most probable one; of equally probable classes, the first.
    """
    check_choice("of", of, ["predicted", "classes"])
    probs, target = as_forecast(probs, target, validate)
    if of == "classes":
        return probs, torch.nn.functional.one_hot(target, probs.shape[-1])
    confidence, predicted = probs.max(-1, keepdim=True)
    return confidence, predicted == target[:, None]


def bin_sums(probs: Tensor, target: Tensor, bins: int, of: Of = "predicted", validate: bool = True) -> Tensor:
    """Count, sum of confidences and number of hits in each bin, float64 [3, G, bins]."""
    check_positive("bins", bins, integer=True)
    return _bin_sums(*confidences_and_hits(probs, target, of, validate), bins)


def weights_and_gaps(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the inputs in each bin, and mean confidence minus share of hits (0 in an empty bin): [G, bins]."""
    count, confidence, hits = sums
    if count.sum() == 0:
        raise InputError("probs: expected at least one input to measure calibration on; got none (N = 0)")
    return count / count.sum(-1, keepdim=True), (confidence - hits) / count.clamp_min(1)


def expected_gap(sums: Tensor) -> Tensor:
    """Mean over groups of the weighted mean gap."""
    weight, gap = weights_and_gaps(sums)
    return (weight * gap.abs()).sum(-1).mean()


class BinnedMetric(UncertaintyMetric):
    """Base class of metrics that keep sums over bins; subclasses set the statistic of these sums.

    Args:
        bins: number of bins of equal width on [0, 1].
        of: "predicted" or "classes", if the function has this option.
        sample_dim: the axis of the samples in `probs` [S, N, C], whose mean is taken; `probs` [N, C] has none. With
            None, `probs` must be [N, C].
        validate: False skips the checks of the inputs.
        options: of `function`, or of `torchmetrics.Metric`.
    """

    of: Of = "predicted"
    statistic: ClassVar[Callable[..., Any]]
    plot_lower_bound: float | None = 0.0
    sums: Tensor

    def __init__(self, bins: int = 15, *, sample_dim: int | None = 0, validate: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.bins, self.sample_dim, self.validate = bins, sample_dim, validate
        # Validate the options now, not at the first batch.
        type(self).function(torch.full((1, 2), 0.5), torch.tensor([0]), bins, **self.options)
        self.of = self.options.pop("of", type(self).of)
        # With a sum per class, the first batch widens the second axis to the number of classes.
        states = {"sums": torch.zeros(3, 1, bins, dtype=torch.float64)}
        self._add_states(states, {"bins": bins, "of": self.of}, sample_dim=sample_dim, validate=validate)

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Add `probs` [N, C] (or [S, N, C], whose mean is taken) and `target` [N]."""
        probs = mean_prediction(probs, self.sample_dim, self.validate)
        self.sums = self.sums + bin_sums(probs, target, self.bins, self.of, self.validate)

    def compute(self) -> Any:
        """The statistic of all inputs seen."""
        self._require(bool(self.sums[0].sum() > 0))
        return type(self).statistic(self.sums, **self.options)
