"""Stop when the network is certain enough, at the lowest threshold whose risk passes a statistical test."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsnn_uq.checks import check_choice, check_fraction, check_positive
from tsnn_uq.metrics.early_exit import Score, sureness
from tsnn_uq.metrics.input_checks import mean_of_samples
from tsnn_uq.stopping.base import StoppingRule
from tsnn_uq.stopping.risks import RISKS, Losses, Risk, losses_by_step, p_values

__all__ = ["RiskControlledExit"]

PARTS = (0.25, 0.5, 0.75)  # shares of epsilon that the proposed thresholds may lose


class RiskControlledExit(StoppingRule):
    r"""Stop when the network is certain enough; the threshold keeps a risk below a chosen bound.

    An input leaves after the first step at which its score reaches the threshold, or after step T. The scores, of the
    mean prediction unless said otherwise, are "confidence", the highest probability, "margin", its distance from the
    second highest, "entropy", and "mutual-information" of the Monte Carlo samples; for the last two, low means certain.
    The set of an input only has its decision.

    **Risks.** The risk R is the mean loss over new inputs. The loss of an input is

    - "accuracy-gap": 1 if the decision after step T is right and the early one wrong, else 0 (Ringel et al. 2024);
    - "disagreement": 1 if the early decision is not that after step T (the consistency risk of Jazbec et al. 2024);
    - "brier-gap": how much higher the Brier score is than after step T, at least 0, and halved to be at most 1;
    - "exited-error": 1 if the decision is wrong; R is the mean over those that leave before step T only.

    **Guarantee.** If calibration inputs are independent draws from the distribution of the new inputs, then

    .. math:: P(R \le \epsilon) \ge 1 - \delta,

    where the probability is over the draw of the calibration set, whatever the distribution, the network and N. With
    `conditional`, the same holds for all risks :math:`R_t` of the inputs that leave by step t at once (Ringel et al.
    2024, arXiv 2402.00857: accumulated time of leaving), so the loss is not concentrated on those that leave first. If
    there are too few inputs to show that a threshold is safe, no input leaves early. N must be at least
    log(delta) / log(1 - epsilon), 299 for the defaults, and in practice a few times that.

    **Method.** Learn then Test (Angelopoulos et al. 2021, arXiv 2110.01052; for early exits Jazbec et al. 2024, arXiv
    2405.20915). Every threshold has the hypothesis R > epsilon and a p-value (`p_values`: the exact binomial tail for
    losses of 0 and 1, else Hoeffding-Bentkus). Thresholds are tested from high to low, all real numbers, and the last
    one before the first p-value above delta is taken. No grid has to be chosen.

    *Proof.* Suppose that the threshold taken has R > epsilon. Let :math:`\lambda_j` be thresholds with R > epsilon that
    rise to the supremum of all of those (equal to it, if its R > epsilon). For j large enough the threshold taken is at
    most :math:`\lambda_j`, so :math:`\lambda_j` was accepted, which has probability at most delta. These events grow
    with j, so the probability of their union is at most delta, too.

    The risk of those that left cannot be tested if hardly any input leaves, so for "exited-error" the sequence
    begins at the threshold of the smallest p-value among one half of the calibration inputs, and is tested on the other
    half.

    With `conditional` there is a threshold for each step. One half of the calibration inputs proposes sequences: at
    each step in turn the lowest threshold at which the mean loss of those that left so far is at most 1/4, 1/2 or 3/4
    of epsilon, and the same with the first steps left out. It also orders them by their own p-values, the largest over
    the steps t, smallest first (Laufer-Goldshtein et al. 2023, arXiv 2210.07913). The other half tests them in this
    order up to the first p-value above delta. Of those accepted, the one with the fewest steps is taken.

    Args:
        epsilon: the allowed risk, between 0 and 1.
        delta: the probability of a calibration set that leads to a higher risk, between 0 and 1.
        score: "confidence", "margin", "entropy" or "mutual-information".
        risk: "accuracy-gap", "disagreement", "brier-gap" or "exited-error".
        conditional: guarantee the risk of the inputs that leave by step t, for every t.
        seed: seed of the split of the calibration inputs into halves, if they are split.

    Attributes:
        limits: float64 [T], once `fit` was called: an input leaves at the first step at which
            `tsnn_uq.metrics.early_exit.sureness` reaches it. Infinite if no input leaves; minus infinity if all do, as
            after step T.

    Raises:
        InputError: an option is unknown or out of range; in `fit`, mutual information of fewer than two samples.

    Example:
        >>> probs = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3]])[:, None].repeat(1, 90, 1)
        >>> labels = torch.zeros(90, dtype=torch.long)
        >>> probs[0, :20] = torch.tensor([0.45, 0.55])
        >>> rule = RiskControlledExit(epsilon=0.05, delta=0.1).fit(probs, labels)
        >>> rule.thresholds
        tensor([0.5750, 0.5750,   -inf], dtype=torch.float64)
        >>> rule.stop(probs[:, 19:21]).steps
        tensor([2, 1])
    """

    def __init__(
        self,
        epsilon: float = 0.01,
        delta: float = 0.05,
        score: Score = "confidence",
        risk: Risk = "accuracy-gap",
        *,
        conditional: bool = False,
        seed: int = 0,
    ) -> None:
        for name, value in (("epsilon", epsilon), ("delta", delta)):
            check_fraction(name, value, below_one=True)
            check_positive(name, value)
        check_choice("risk", risk, RISKS)
        sureness(torch.full((2, 1, 2), 0.5), score)  # an unknown score fails here
        self.epsilon, self.delta, self.score, self.risk = epsilon, delta, score, risk
        self.conditional, self.seed = conditional, seed
        self.limits: Tensor | None = None

    @property
    def thresholds(self) -> Tensor | None:
        """The limits as values of the score, negative for entropy and mutual information: float64 [T].

        Confidences and margins near 1 are rounded, so two thresholds of 1 may have different `limits`.
        """
        return self.limits if self.limits is None or self.score not in ("confidence", "margin") else self.limits + 1

    def _fit(self, probs: Tensor, target: Tensor) -> None:
        probs = probs.cpu()
        sure = sureness(probs, self.score)
        losses = losses_by_step(self.risk, mean_of_samples(probs), target.cpu())
        self.limits = torch.full((len(sure),), -math.inf, dtype=torch.float64)  # after step T all inputs leave
        if len(sure) > 1:
            control = self._control_by_step if self.conditional else self._control_at_once
            self.limits[:-1] = control(sure, losses)

    def _halves(self, inputs: int) -> tuple[Tensor, Tensor]:
        order = torch.randperm(inputs, generator=torch.Generator().manual_seed(self.seed))
        return order[: inputs // 2], order[inputs // 2 :]

    def _control_at_once(self, sure: Tensor, losses: Losses) -> Tensor:
        """One threshold for the first T - 1 steps: the last of the sequence of all thresholds, from high to low."""
        start = math.inf
        if losses.early_only:
            first, second = self._halves(sure.shape[1])
            thresholds, p = self._path(sure[:, first], losses.of(first))
            start = thresholds[p.argmin()]
            sure, losses = sure[:, second], losses.of(second)
        thresholds, p = self._path(sure, losses)
        begin = int((thresholds >= start).sum()) - 1
        passed = int(np.logical_and.accumulate(p[begin:] <= self.delta).sum())
        threshold = math.inf
        if passed:
            # At all thresholds down to the next one, the same inputs leave, so they are accepted. The middle is robust
            # to rounding.
            high = min(start, thresholds[begin + passed - 1])
            low = thresholds[begin + passed] if begin + passed < len(p) else -math.inf
            threshold = (high + low) / 2 if high < math.inf else high
        return torch.full((len(sure) - 1,), threshold, dtype=torch.float64)

    def _path(self, sure: Tensor, losses: Losses) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Thresholds from infinity down at which inputs leave earlier, and the p-value at each."""
        # An input has left by a step if its most certain step so far reaches the threshold.
        surest = sure[:-1].cummax(0).values
        falling, order = surest.flatten().sort(descending=True)
        change = (losses.values[:-1] - losses.values[1:]).flatten()[order]
        arrives = torch.zeros_like(surest)
        arrives[-1:] = 1
        left = arrives.flatten()[order].cumsum(0)
        total = losses.values[-1].sum() + change.cumsum(0)
        ends = torch.ones_like(falling, dtype=torch.bool)
        ends[:-1] = falling[1:] != falling[:-1]  # equal ones leave together
        infinity = torch.full((1,), math.inf, dtype=torch.float64)
        total = torch.cat([losses.values[-1:].sum()[None], total[ends]]).clamp_min(0)
        count = torch.cat([torch.zeros(1), left[ends]]).long() if losses.early_only else torch.tensor(sure.shape[1])
        p = p_values(total.numpy(), count.numpy(), self.epsilon, binary=losses.binary)
        return torch.cat([infinity, falling[ends]]).numpy(), p

    def _control_by_step(self, sure: Tensor, losses: Losses) -> Tensor:
        """A threshold for each of the first T - 1 steps: the fastest of the accepted sequences."""
        first, second = self._halves(sure.shape[1])
        proposals = torch.stack([_propose(sure[:, first], losses.of(first), self.epsilon * part) for part in PARTS])
        learned, tested = (
            np.array([self._tails(sure[:, half], losses.of(half), each) for each in proposals])
            for half in (first, second)
        )  # [proposal, first step, (p-value, steps)]
        order = np.argsort(learned[..., 0], axis=None, kind="stable")
        accepted = order[np.logical_and.accumulate(tested[..., 0].flat[order] <= self.delta)]
        if len(accepted) == 0:
            return torch.full_like(proposals[0], math.inf)
        steps = (learned + tested)[..., 1]
        which, begin = np.unravel_index(accepted[steps.flat[accepted].argmin()], steps.shape)
        thresholds = proposals[which]
        thresholds[:begin] = math.inf
        return thresholds

    def _tails(self, sure: Tensor, losses: Losses, thresholds: Tensor) -> list[tuple[float, float]]:
        """For thresholds without those before each step, the largest p-value over time and the steps of all inputs."""
        steps, inputs = sure.shape
        counted = steps - losses.early_only
        leaves, everyone, p = torch.full((inputs,), steps - 1), torch.arange(inputs), 0.0  # none leaves: no risk
        tails = []
        for step in reversed(range(steps - 1)):
            if thresholds[step] < math.inf:
                leaves[sure[step] >= thresholds[step]] = step
                total = torch.bincount(leaves, losses.values[leaves, everyone], steps).cumsum(0)[step:counted]
                count = torch.bincount(leaves, minlength=steps).cumsum(0)[step:counted]
                p = p_values(total.numpy(), count.numpy(), self.epsilon, binary=losses.binary).max().item()
            tails.append((p, leaves.sum().item()))
        return tails[::-1]

    def _start(self, inputs: int) -> Tensor:
        return torch.zeros(inputs, 0)

    def _step(self, step: int, probs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert self.limits is not None
        done = sureness(probs, self.score) >= self.limits[step].item()
        sets = torch.nn.functional.one_hot(mean_of_samples(probs).argmax(-1), probs.shape[-1]).bool()
        return done, sets, memory


def _propose(sure: Tensor, losses: Losses, epsilon: float) -> Tensor:
    """Step by step, the lowest threshold at which the mean loss of those that left so far is at most `epsilon`."""
    steps, inputs = sure.shape
    thresholds = torch.full((steps - 1,), math.inf, dtype=torch.float64)
    running, total, count = torch.arange(inputs), 0.0, 0
    for step in range(steps - 1):
        falling, order = sure[step, running].sort(descending=True)
        totals = total + losses.values[step, running[order]].cumsum(0)
        counts = count + torch.arange(1, len(running) + 1)
        small = totals <= epsilon * counts
        small[:-1] &= falling[1:] != falling[:-1]  # equal ones leave together
        if small.any():
            leave = int(small.nonzero()[-1]) + 1
            low = falling[leave].item() if leave < len(falling) else -math.inf
            thresholds[step] = (falling[leave - 1].item() + low) / 2
            total, count, running = totals[leave - 1].item(), count + leave, running[order[leave:]]
    return thresholds
