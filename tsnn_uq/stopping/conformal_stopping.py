"""Conformal sets that are valid at all time steps at once; an input stops when its set is small enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_positive, describe
from tsnn_uq.metrics.conformal import ConformalClassifier, Method
from tsnn_uq.metrics.input_checks import mean_of_samples
from tsnn_uq.stopping.base import StoppingRule

__all__ = ["ConformalStopping"]

Correction = Literal["max-rank", "bonferroni", "simes"]


class ConformalStopping(StoppingRule):
    r"""Stop when a conformal set of classes is small enough; the sets are valid at any stopping time.

    This is SpikeCP (Chen, Park and Simeone 2025, arXiv 2305.11322) with sets that only shrink and, by default, a
    sharper correction for looking at K checkpoints. After each checkpoint t a class leaves the set of an input if its
    score exceeds :math:`q_t`, and never comes back. The input stops at the first checkpoint at which its set has at
    most `size` classes, or after step T. The set is empty if every class left; it then counts as one that misses the
    truth.

    **Guarantee.** If calibration inputs and a test input are exchangeable, then

    .. math:: P(\text{the true class is in the set after every checkpoint}) \ge 1 - \alpha,

    so the set holds the truth with that probability at any stopping time, by this rule or any other cause (such as an
    empty battery). The probability is over the draw of the calibration set and the test input together: over many
    calibration sets the mean coverage is at least 1 - alpha, that of a single one varies around it. There is no
    guarantee for a single class, a single stopping time, or the share of errors among sets of one class.

    **Thresholds.** Let :math:`s_t(i)` be the score of the true class of calibration input i, from 1 to n, at checkpoint
    t, and :math:`k = \lfloor \alpha (n + 1) \rfloor`. The threshold :math:`q_t` is the v-th largest of the
    :math:`s_t(1), \dots, s_t(n)`, where

    .. math:: \text{bonferroni: } v = \lfloor k / K \rfloor, \qquad
              \text{max-rank: } v = \max(\lfloor k / K \rfloor,\; m_{(k)} - 1),

    with :math:`m(i) = \min_t \#\{j \le n: s_t(j) \ge s_t(i)\}`, the best rank of input i from the top at any
    checkpoint, and :math:`m_{(k)}` the k-th smallest of them. If v = 0, n is too small: no class ever leaves, and no
    input stops before step T. Bonferroni needs n of at least K / alpha - 1, max-rank something between that and 1 /
    alpha - 1. With one checkpoint both are the usual split conformal quantile. Max-rank uses how strongly scores at
    different steps depend on each other (Timans et al. 2025, arXiv 2311.10900, after Westfall and Young 1993), and its
    v is never below that of bonferroni.

    *Proof.* Let n + 1 be the test input with its true class, :math:`A_t(i) = \#\{j \le n + 1: s_t(j) \ge s_t(i)\}` and
    :math:`M(i) = \min_t A_t(i)`. The M(i) are exchangeable, so the event E that at most k of the n + 1 have :math:`M(i)
    \le M(n + 1)` has probability at most k / (n + 1), ties or not. The true class leaves if, at some t, fewer than v
    calibration scores reach its own, which says :math:`M(n + 1) \le v`. That implies E: if :math:`v = m_{(k)} - 1`,
    fewer than k calibration inputs have :math:`m(i) \le v`, and :math:`M(i) \ge m(i)`, so with the test input at most k
    have :math:`M(i) \le v`. If :math:`v = \lfloor k / K \rfloor`, at most v of the n + 1 have :math:`A_t(i) \le v` at
    each t, so at most Kv, which is at most k, have :math:`M(i) \le v`.

    **Heuristic.** "simes" removes a class once, for some r, r of its conformal p-values :math:`\#\{j \le n + 1: s_t(j)
    \ge s_t(n + 1)\} / (n + 1)` so far are at most :math:`r \alpha / K` (Simes 1986). It is valid under some forms of
    positive dependence, which predictions of successive steps need not have, so it has no guarantee here. It stores K
    numbers per class and is slower.

    Args:
        alpha: the share of sets that may miss the true class, above 0 and below 1.
        size: the number of classes at which to stop.
        method: the score, "lac", "aps" or "raps", as in `tsnn_uq.metrics.ConformalClassifier`.
        correction: "max-rank", "bonferroni", or the heuristic "simes".
        checkpoints: the steps, from 1 to T, after which to look; None for all. Chosen before seeing calibration inputs.

    Attributes:
        thresholds: float64 [T], infinite where no class leaves, once `fit` was called; None with "simes".

    Raises:
        InputError: an option is unknown or out of range.

    Example:
        >>> probs = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.95, 0.05]])[:, None].repeat(1, 30, 1)
        >>> rule = ConformalStopping(alpha=0.1).fit(probs, torch.zeros(30, dtype=torch.long))
        >>> rule.stop(torch.tensor([[[0.6, 0.4], [0.5, 0.5]], [[0.9, 0.1], [0.2, 0.8]], [[1.0, 0.0], [0.1, 0.9]]]))
        Stopped(steps=tensor([1, 1]), decisions=tensor([0, 0]), sets=tensor([[ True, False],
                [False, False]]))
    """

    def __init__(
        self,
        alpha: float = 0.1,
        size: int = 1,
        *,
        method: Method = "lac",
        correction: Correction = "max-rank",
        checkpoints: Sequence[int] | None = None,
    ) -> None:
        self._classifier = ConformalClassifier(alpha, method)
        check_positive("size", size, integer=True)
        check_choice("correction", correction, ["max-rank", "bonferroni", "simes"])
        for checkpoint in checkpoints or ():
            check_positive("checkpoints", checkpoint, integer=True)
        if checkpoints is not None and len(checkpoints) == 0:
            raise InputError("checkpoints: expected at least one step; got none")
        self.alpha, self.size, self.method, self.correction = alpha, size, method, correction
        self.checkpoints = None if checkpoints is None else sorted(set(checkpoints))
        self.thresholds: Tensor | None = None

    def _scores(self, probs: Tensor) -> Tensor:
        """Scores [..., C] of float64 samples [S, ..., C]."""
        mean = mean_of_samples(probs)
        return self._classifier.scores(mean.flatten(0, -2)).reshape(mean.shape)

    def _fit(self, probs: Tensor, target: Tensor) -> None:
        steps, inputs = probs.shape[1:3]
        checkpoints = self.checkpoints or range(1, steps + 1)
        if checkpoints[-1] > steps:
            raise InputError(f"checkpoints: expected steps from 1 to {steps}; got {describe(checkpoints[-1])}")
        looks = torch.tensor(checkpoints, device=probs.device) - 1
        labels = target.expand(len(looks), inputs)[..., None]
        true = self._scores(probs[:, looks]).gather(-1, labels)[..., 0]  # [K, N]
        ordered = true.sort(-1).values
        self._row = {step - 1: row for row, step in enumerate(checkpoints)}
        self._allowed = math.floor((inputs + 1) * self.alpha + 1e-9)  # k; 0.1 * 30 need not be 3 in binary
        self._ordered, self.thresholds = ordered, None
        if self.correction != "simes":
            rank = self._allowed // len(looks)
            if self.correction == "max-rank" and self._allowed:
                best = _from_top(ordered, true).amin(0)
                rank = max(rank, int(best.kthvalue(self._allowed).values) - 1)
            self.thresholds = torch.full((steps,), math.inf, dtype=torch.float64)
            if rank:
                self.thresholds[looks.cpu()] = ordered[:, inputs - rank].cpu()

    def _start(self, inputs: int) -> Tensor:
        """For each class, whether it has left; with "simes", also the number of p-values that reached each level."""
        assert self.classes is not None
        levels = len(self._row) if self.correction == "simes" else 0
        return torch.zeros(inputs, self.classes, 1 + levels, dtype=torch.int16)

    def _step(self, step: int, probs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if step in self._row:
            scores = self._scores(probs)
            if self.thresholds is not None:
                memory[..., 0] |= scores > self.thresholds[step].item()
            else:
                ranks = 1 + _from_top(self._ordered[self._row[step]].to(scores.device), scores)
                near = (ranks <= self._allowed) & (memory[..., 0] == 0)  # others reach no level, or have left
                levels = torch.arange(1, len(self._row) + 1, device=scores.device)
                counts = memory[near][:, 1:] + (ranks[near, None] * len(self._row) <= levels * self._allowed)
                memory[near] = torch.cat([(counts >= levels).any(-1, keepdim=True), counts], dim=-1).to(memory.dtype)
        sets = memory[..., 0] == 0
        done = (sets.sum(-1) <= self.size) & (step in self._row)
        return done, sets, memory


def _from_top(ordered: Tensor, scores: Tensor) -> Tensor:
    """Number of `ordered` scores, ascending along the last axis, that are at least as high as each of `scores`."""
    return ordered.shape[-1] - torch.searchsorted(ordered, scores)
