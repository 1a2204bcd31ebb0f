"""Running mean, variance and entropies of Monte Carlo samples, which are not kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_dims, check_positive, check_probabilities, describe
from tsnn_uq.devices import widest_float

__all__ = ["Moments", "gather_moments", "samples_at_once"]

AT_ONCE = 32
CHECK_EVERY = 8  # samples between checks, and the fewest from which a standard error is estimated


@dataclass(frozen=True, eq=False)
class Moments:
    r"""Sufficient statistics of the S class probabilities of each input, in float64.

    They are in float32 on devices without float64. Each property equals, up to rounding, the function of the same name
    in `tsnn_uq.metrics.functional` on all samples [S, N, C] with ``reduction="none"``; if all samples agree, variance
    and mutual information are exactly 0. Two of them are merged by the update of Chan, Golub and LeVeque (1983, *The
    American Statistician* 37(3)), which avoids the cancellation of sums of squares:

    .. math:: \bar p = \bar p_a + \frac{S_b}{S} (\bar p_b - \bar p_a), \qquad
              Q = Q_a + Q_b + \frac{S_a S_b}{S} (\bar p_b - \bar p_a)^2, \qquad S = S_a + S_b

    Attributes:
        samples: S, the samples that each input had, whole numbers [N].
        mean: mean probabilities [N, C].
        squares: Q, sums over samples of squared deviations from the mean [N, C].
        surprise: mean over samples of -p log p of each class, in nats [N, C].

    Example:
        >>> moments = Moments.of(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]))
        >>> moments.mean, moments.predictive_variance
        (tensor([[0.7500, 0.2500]], dtype=torch.float64), tensor([0.1250], dtype=torch.float64))
    """

    samples: Tensor
    mean: Tensor
    squares: Tensor
    surprise: Tensor

    @staticmethod
    def of(probs: Tensor, *, validate: bool = True) -> Moments:
        """The statistics of samples [S, N, C]; `validate` as in the metrics.

        Raises:
            InputError: `probs` has another shape, no samples, or values that are no probabilities.
        """
        if validate:
            check_dims("probs", probs, "[S, N, C]")
            if len(probs) == 0:
                raise InputError(f"probs: expected at least one sample along axis 0; got {list(probs.shape)}")
            check_probabilities("probs", probs, "[S, N, C]")
        values = probs.to(widest_float(probs.device))
        mean = _mean(values)
        return Moments(
            samples=torch.full((values.shape[1],), len(values), device=probs.device),
            mean=mean,
            squares=(values - mean).square_().sum(0),
            surprise=_mean(torch.special.entr(values)),
        )

    @staticmethod
    def cat(parts: Sequence[Moments]) -> Moments:
        """The statistics of all inputs of `parts`, in order."""
        return Moments(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Moments)))

    def merge(self, other: Moments) -> Moments:
        """The statistics of both's samples of the same inputs; the order matters for rounding alone.

        Raises:
            InputError: the two are of other inputs or classes.
        """
        if self.mean.shape != other.mean.shape:
            raise InputError(f"other: expected means of shape {list(self.mean.shape)}; got {describe(other.mean)}")
        samples = self.samples + other.samples
        share = (other.samples.to(self.mean.dtype) / samples).unsqueeze(-1)  # [N, 1]
        difference = other.mean - self.mean
        return Moments(
            samples=samples,
            mean=self.mean + share * difference,
            squares=self.squares + other.squares + self.samples.unsqueeze(-1) * share * difference.square(),
            surprise=self.surprise + share * (other.surprise - self.surprise),
        )

    @property
    def variance(self) -> Tensor:
        """Population variance over samples of each class, [N, C]: `predictive_variance` ``of="classes"``."""
        return self.squares / self.samples.unsqueeze(-1)

    @property
    def standard_error(self) -> Tensor:
        r"""Estimated standard error of `mean`, :math:`\sqrt{Q / (S - 1) / S}`, [N, C]; infinite for one sample."""
        samples = self.samples.unsqueeze(-1)
        return torch.where(samples > 1, self.squares / ((samples - 1) * samples), torch.inf).sqrt()

    @property
    def predictive_entropy(self) -> Tensor:
        """Entropy of the mean prediction in nats, [N]."""
        return torch.special.entr(self.mean).sum(-1)

    @property
    def expected_entropy(self) -> Tensor:
        """Mean over samples of the entropy of each in nats, [N]."""
        return self.surprise.sum(-1)

    @property
    def mutual_information(self) -> Tensor:
        """Predictive minus expected entropy in nats, 0 or more, [N]."""
        # Per class, as in the metric: equal samples then cancel exactly.
        return (torch.special.entr(self.mean) - self.surprise).sum(-1).clamp_min(0)

    @property
    def predictive_variance(self) -> Tensor:
        """Population variance over samples, summed over classes, [N]."""
        return self.variance.sum(-1)

    @property
    def predictive_std(self) -> Tensor:
        """Square root of `predictive_variance`, [N]."""
        return self.predictive_variance.sqrt()


def _mean(values: Tensor) -> Tensor:
    """Mean over the first axis that is exact if all samples agree."""
    return values[0] + (values - values[0]).mean(0)


def samples_at_once(tolerance: float | None) -> int:
    """How many samples to draw between updates, at which `tolerance` is checked if given.

    Raises:
        InputError: the tolerance is not a positive number.
    """
    if tolerance is None:
        return AT_ONCE
    check_positive("tolerance", tolerance)
    return CHECK_EVERY


def gather_moments(chunks: Iterable[Tensor], tolerance: float | None = None) -> Moments:
    """Accumulate the statistics of chunks of samples, until they end or the tolerance is reached.

    The tolerance is checked only at multiples of 8 samples at which a chunk ends, so that the stopping point does not
    depend on the memory available for a chunk.

    Args:
        chunks: probabilities [s, N, C] of s samples each, of the same inputs; at least one.
        tolerance: stop once the largest standard error of a mean probability is below it.

    Returns:
        Statistics of all samples taken from `chunks`.

    Raises:
        InputError: there are no chunks.
    """
    moments, drawn = None, 0
    for probs in chunks:
        new = Moments.of(probs, validate=False)
        moments = new if moments is None else moments.merge(new)
        drawn += len(probs)
        if tolerance is not None and drawn % CHECK_EVERY == 0 and bool((moments.standard_error < tolerance).all()):
            break
    if moments is None:
        raise InputError("chunks: expected at least one chunk of samples; got none")
    return moments
