"""Factorized distributions of a layer's weights: learned parameters, moments and draws.

Training by local reparameterization needs only the moments (`tsnn_uq.bayes.output_noise`), training by drawn weights
only `WeightFamily.rsample`; the draws are deployed. Each family also returns its distribution and its prior as Pyro
distributions, from which Pyro computes the divergence.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsnn_uq.checks import InputError, check_fraction, check_positive, describe
from tsnn_uq.quantization.rules import ternary_parts

__all__ = ["FAMILIES", "DroppedWeights", "GaussianWeights", "TernaryWeights", "WeightFamily"]


class WeightFamily(nn.Module):
    """Independent weights of one layer, initialized from weights `weight` [out, ...].

    Attributes:
        options: the arguments that are not learned, JSON-serializable.
    """

    options: dict[str, Any]

    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each weight, of the weights' shape."""

    @abstractmethod
    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw all weights; carries no gradient."""

    @abstractmethod
    def rsample(self, generator: torch.Generator) -> Tensor:
        """Draw all weights by reparameterization, with a gradient to the learned parameters."""

    def mode(self) -> Tensor:
        """The most likely weights; carries no gradient."""
        return self.moments()[0].detach()

    @abstractmethod
    def guide(self) -> Any:
        """The distribution of the weights in Pyro."""

    @abstractmethod
    def prior(self) -> Any:
        """The prior of the weights in Pyro."""


class TernaryWeights(WeightFamily):
    r"""A weight is s c, with a code c in {-1, 0, 1}, whose probabilities are its own, and a scale s per layer.

    As in Shayer, Levi and Fetaya (2018), :math:`P(c = 0) = \sigma(a)` and :math:`P(c = 1 | c \ne 0) = \sigma(b)`, so
    the mean is :math:`s \sigma(-a) \tanh(b / 2)`. With u = w / s clipped to -1 and 1, and a certainty q, the initial
    probabilities of a weight w are

    .. math:: P(c = 0) = q - (2 q - 1) |u|, \quad P(c = 1 | c \ne 0) = (1 + u / P(c \ne 0)) / 2,

    the latter clipped to 1 - q and q. The initial mean equals w for small weights, and approximately for weights up to
    s. The scale is learned too. Its initial value is `spread` standard deviations of the weights, or their own scale
    if they are ternary. A small scale clips many weights, a large one makes draws noisy. Shayer et al. use 1; in
    spiking networks draws are then much worse than with 2, since neurons hardly reach their threshold.

    Args:
        weight: initial weights.
        prior: prior probabilities of -1, 0 and 1; the more likely 0, the sparser the draws.
        certainty: q, the largest initial probability.
        spread: initial scale, in standard deviations of the layer's weights.
        relaxation: temperature of the Gumbel-softmax in `rsample`; the lower, the less biased and the noisier is its
            gradient.
    """

    def __init__(
        self,
        weight: Tensor,
        prior: Sequence[float] = (0.25, 0.5, 0.25),
        certainty: float = 0.99,
        spread: float = 2.0,
        relaxation: float = 1.0,
    ) -> None:
        super().__init__()
        if len(prior) != 3 or min(prior) <= 0 or not math.isclose(sum(prior), 1, abs_tol=1e-6):
            raise InputError(f"prior: expected probabilities of -1, 0 and 1 above 0 that sum to 1; got {list(prior)}")
        if not 0.5 < certainty < 1:
            raise InputError(f"certainty: expected a probability above 0.5 and below 1; got {describe(certainty)}")
        check_positive("spread", spread)
        check_positive("relaxation", relaxation)
        self.options = {"prior": list(prior), "certainty": certainty, "spread": spread, "relaxation": relaxation}
        parts = ternary_parts(weight)
        scale = spread * weight.detach().std(correction=0)
        if parts is not None and parts[1].numel() == 1 and parts[0].any():
            scale = parts[1].squeeze()
        if not scale > 0:
            raise InputError(f"weight: expected weights that are not all the same; got a spread of {scale.item()}")
        mean = (weight.detach() / scale).clamp(-1, 1)
        zero = certainty - (2 * certainty - 1) * mean.abs()
        plus = ((1 + mean / (1 - zero)) / 2).clamp(1 - certainty, certainty)
        self.zero_logit = nn.Parameter(zero.logit())
        self.plus_logit = nn.Parameter(plus.logit())
        self.log_scale = nn.Parameter(scale.log())

    @property
    def scale(self) -> Tensor:
        """The scale s []."""
        return self.log_scale.exp()

    def log_probabilities(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithms of the probabilities of -1, 0 and 1, each of the weights' shape."""
        zero = functional.logsigmoid(self.zero_logit)
        plus = zero - self.zero_logit + functional.logsigmoid(self.plus_logit)  # log(1 - s(a)) = log s(a) - a
        return plus - self.plus_logit, zero, plus

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean s (p+ - p-) and variance s^2 (p+ + p- - (p+ - p-)^2)."""
        nonzero = torch.sigmoid(-self.zero_logit)
        mean = nonzero * torch.tanh(self.plus_logit / 2)
        return self.scale * mean, self.scale.square() * (nonzero - mean.square())

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw all weights, each exactly -1, 0 or 1 times s."""
        minus, zero, _ = (log.exp() for log in self.log_probabilities())
        level = torch.empty_like(minus).uniform_(generator=generator)
        return self.scale * ((level >= minus + zero).to(level.dtype) - (level < minus).to(level.dtype))

    def rsample(self, generator: torch.Generator) -> Tensor:
        """Draw all weights with the straight-through Gumbel-softmax (Jang, Gu and Poole, 2017).

        Values are exactly -1, 0 or 1 times s. Gradients are those of the relaxed draw with codes -1, 0 and 1 in
        proportions softmax((log p + g) / relaxation), with Gumbel noise g.
        """
        logs = torch.stack(self.log_probabilities())
        uniform = torch.empty_like(logs).uniform_(generator=generator)  # faster than exponential_ and argmax
        logs = logs - uniform.clamp_(min=torch.finfo(logs.dtype).tiny).log_().neg_().log_()
        shares = (logs / self.options["relaxation"]).softmax(0)
        relaxed = shares[2] - shares[0]
        minus, zero, plus = logs.detach()
        codes = (plus > torch.maximum(minus, zero)).to(logs.dtype) - (minus >= torch.maximum(zero, plus)).to(logs.dtype)
        return self.scale * (codes + (relaxed - relaxed.detach()))  # exactly the codes

    @torch.no_grad()
    def mode(self) -> Tensor:
        """The most likely code of each weight, times s."""
        return self.scale * (torch.stack(self.log_probabilities()).argmax(0) - 1)

    def guide(self) -> Any:
        """The distribution of the codes; the scale is not random."""
        from tsnn_uq.bayes.pyro_distributions import TernaryCodes

        return TernaryCodes(*self.log_probabilities())

    def prior(self) -> Any:
        """The prior of the codes, the same for all weights."""
        from tsnn_uq.bayes.pyro_distributions import TernaryCodes

        logs = self.zero_logit.new_tensor(self.options["prior"]).log()
        return TernaryCodes(*(log.expand(self.zero_logit.shape) for log in logs))


class GaussianWeights(WeightFamily):
    """Float weights, each with a learned mean and standard deviation (Blundell et al., 2015).

    Args:
        weight: initial means.
        prior_std: standard deviation of the zero-mean prior; None for 1 / sqrt(fan-in).
        initial_std: initial standard deviation, in standard deviations of the layer's weights.
    """

    def __init__(self, weight: Tensor, prior_std: float | None = None, initial_std: float = 0.1) -> None:
        super().__init__()
        prior_std = weight[0].numel() ** -0.5 if prior_std is None else prior_std
        check_positive("prior_std", prior_std)
        check_positive("initial_std", initial_std)
        self.options = {"prior_std": prior_std, "initial_std": initial_std}
        spread = weight.detach().std(correction=0)
        if not spread > 0:
            raise InputError(f"weight: expected weights that are not all the same; got a spread of {spread.item()}")
        self.mean = nn.Parameter(weight.detach().clone())
        self.log_std = nn.Parameter((initial_std * spread).log().expand(weight.shape).clone())

    def moments(self) -> tuple[Tensor, Tensor]:
        """The learned means and variances."""
        return self.mean, (2 * self.log_std).exp()

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw all weights: the means plus noise."""
        return self.rsample(generator)

    def rsample(self, generator: torch.Generator) -> Tensor:
        """Draw all weights: the means plus noise, as in Bayes by backprop."""
        return self.mean + self.log_std.exp() * torch.empty_like(self.mean).normal_(generator=generator)

    def guide(self) -> Any:
        """A normal distribution for each weight."""
        from pyro.distributions import Normal

        return Normal(self.mean, self.log_std.exp())

    def prior(self) -> Any:
        """Normal around zero."""
        from pyro.distributions import Normal

        std = self.mean.new_tensor(self.options["prior_std"])
        return Normal(torch.zeros_like(std), std).expand(self.mean.shape)


class DroppedWeights(WeightFamily):
    """Dropconnect as variational inference: a weight is zero with probability p, and m / (1 - p) otherwise.

    Args:
        weight: initial means m.
        p: probability with which a weight is dropped, 0 < p < 1; not learned.
        prior_std: standard deviation of the zero-mean normal prior; None for 1 / sqrt(fan-in).
    """

    def __init__(self, weight: Tensor, p: float = 0.2, prior_std: float | None = None) -> None:
        super().__init__()
        check_fraction("p", p, below_one=True)
        check_positive("p", p)
        prior_std = weight[0].numel() ** -0.5 if prior_std is None else prior_std
        check_positive("prior_std", prior_std)
        self.options = {"p": p, "prior_std": prior_std}
        self.mean = nn.Parameter(weight.detach().clone())

    def moments(self) -> tuple[Tensor, Tensor]:
        """m, and m^2 p / (1 - p)."""
        p = self.options["p"]
        return self.mean, self.mean.square() * (p / (1 - p))

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw all weights: some are dropped, the others scaled by 1 / (1 - p)."""
        return self.rsample(generator)

    def rsample(self, generator: torch.Generator) -> Tensor:
        """Draw all weights: some are dropped, the others scaled by 1 / (1 - p)."""
        p = self.options["p"]
        kept = torch.empty_like(self.mean).uniform_(generator=generator).ge_(p)
        return self.mean * kept.mul_(1 / (1 - p))

    def guide(self) -> Any:
        """A mixture of two points, which Gal and Ghahramani approximate by narrow Gaussians."""
        from tsnn_uq.bayes.pyro_distributions import DroppedPoints

        return DroppedPoints(self.mean, self.options["p"])

    def prior(self) -> Any:
        """Normal around zero."""
        from pyro.distributions import Normal

        std = self.mean.new_tensor(self.options["prior_std"])
        return Normal(torch.zeros_like(std), std).expand(self.mean.shape)


FAMILIES: dict[str, type[WeightFamily]] = {
    "ternary": TernaryWeights,
    "gaussian": GaussianWeights,
    "dropconnect": DroppedWeights,
}
