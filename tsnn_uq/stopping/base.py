"""The base class of stopping rules, and streams of predictions that arrive one time step at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_labels, check_probabilities, describe
from tsnn_uq.metrics.input_checks import mean_of_samples
from tsnn_uq.metrics.over_time import with_samples

__all__ = ["Stopped", "StoppingRule", "Stream"]


class Stopped(NamedTuple):
    """The step at which each input stopped, with its decision and its prediction set."""

    steps: Tensor  #: time steps used, int64 [N], from 1 to T
    decisions: Tensor  #: class numbers, int64 [N]
    sets: Tensor  #: whether each class is in the set, bool [N, C]


class StoppingRule(ABC):
    """A rule that stops each input at its own time step, calibrated on held-out predictions.

    Predictions over time are `probs` [T, N, C]: after each time step, the class probabilities the network would return
    if it stopped there. They may be the softmax of the mean or the sum of the outputs so far, or the mean of the
    probabilities so far; `tsnn_uq.uncertainty.mc_predict` with ``per_step=True`` returns the first. Any choice is valid
    if calibration and use make the same one. With Monte Carlo samples, [S, T, N, C], the mean over samples decides. Of
    equally probable classes the first one is the decision.

    A guarantee holds for inputs from the distribution of the calibration inputs, with the same network, number of steps
    and number of samples. Calibration inputs must not have been used for training or for choosing the network. There is
    no guarantee for shifted inputs, and no rule detects a shift.

    Attributes:
        steps: T, once `fit` was called.
        classes: C, once `fit` was called.
        samples: S of [S, T, N, C], once `fit` was called; None for [T, N, C].
    """

    steps: int | None = None
    classes: int | None = None
    samples: int | None = None

    def fit(self, probs: Tensor, target: Tensor, *, validate: bool = True) -> Self:
        """Calibrate on held-out predictions.

        Args:
            probs: predictions after each step [T, N, C] or [S, T, N, C].
            target: class numbers [N].
            validate: False skips the checks of the values.

        Returns:
            The rule itself.

        Raises:
            InputError: `probs` are not probabilities or have no time axis, `target` are not labels of their classes, or
                there are no inputs.
        """
        runs = with_samples(probs)
        if validate:
            check_probabilities("probs", runs, "[S, T, N, C]")
            check_labels("target", target, classes=runs.shape[-1], count=runs.shape[2])
        if runs.shape[2] == 0:
            raise InputError("probs: expected at least one input to calibrate on; got none (N = 0)")
        self._fit(runs.detach().double(), target.long())
        self.samples = len(runs) if probs.dim() == 4 else None
        self.steps, self.classes = runs.shape[1], runs.shape[-1]
        return self

    def stop(self, probs: Tensor, *, validate: bool = True) -> Stopped:
        """Stop each input of a batch whose predictions after all steps are known.

        Args:
            probs: predictions after each step [T, N, C] or [S, T, N, C], with as many steps, classes and samples as in
                `fit`; [T, N, C] may be the mean over samples.
            validate: False skips the checks of the values.

        Returns:
            `Stopped`: steps from 1 to T, decisions and sets.

        Raises:
            InputError: `fit` was not called, or `probs` are not probabilities or have other steps, classes or samples.
        """
        runs = with_samples(probs)
        if runs.shape[1] != self.steps and self.steps is not None:
            raise InputError(f"probs: expected {self.steps} time steps, as in fit; got {describe(probs)}")
        if validate:
            check_probabilities("probs", runs, "[S, T, N, C]")
        stream = self.stream(runs.shape[2], device=runs.device)
        while len(stream.running):
            now = runs[:, stream.step, stream.running]
            stream.update(now if probs.dim() == 4 else now[0], validate=False)
        return stream.result()

    def stream(self, inputs: int, *, device: torch.device | str = "cpu") -> Stream:
        """Start a batch of `inputs` whose predictions arrive one time step at a time, on `device`.

        Raises:
            InputError: `fit` was not called.
        """
        return Stream(self, inputs, device)

    @abstractmethod
    def _fit(self, probs: Tensor, target: Tensor) -> None:
        """Calibrate on float64 [S, T, N, C] and int64 [N]."""

    @abstractmethod
    def _start(self, inputs: int) -> Tensor:
        """The initial memory of each input, [N, ...]."""

    @abstractmethod
    def _step(self, step: int, probs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether to stop [n], sets [n, C] and the new memory after `step` (from 0), for float64 `probs` [S, n, C]."""


class Stream:
    """A batch of inputs whose predictions arrive one time step at a time; see `StoppingRule.stream`.

    Attributes:
        step: time steps taken so far.
        running: indices of the inputs that have not stopped, int64 [n], in order.

    Example:
        >>> from tsnn_uq.stopping import RiskControlledExit
        >>> probs = torch.tensor([[[0.6, 0.4], [0.9, 0.1]], [[0.2, 0.8], [0.9, 0.1]]])
        >>> rule = RiskControlledExit(epsilon=0.3, delta=0.1).fit(probs.repeat(1, 20, 1), torch.tensor([1, 0] * 20))
        >>> stream = rule.stream(inputs=2)
        >>> while len(stream.running):
        ...     stopped = stream.update(probs[stream.step, stream.running])
        >>> stream.result().steps, stream.result().decisions
        (tensor([2, 1]), tensor([1, 0]))
    """

    def __init__(self, rule: StoppingRule, inputs: int, device: torch.device | str) -> None:
        if rule.classes is None:
            raise InputError(f"{type(rule).__name__}: expected fit before stop; call it on held-out predictions")
        self._rule, self.step = rule, 0
        self.running = torch.arange(inputs, device=device)
        self._memory = rule._start(inputs).to(device)
        self._steps, self._decisions = torch.zeros_like(self.running), torch.zeros_like(self.running)
        self._sets = torch.zeros(inputs, rule.classes, dtype=torch.bool, device=device)

    def update(self, probs: Tensor, *, validate: bool = True) -> Tensor:
        """Process the next time step of the running inputs.

        Args:
            probs: their predictions after this step [n, C] or [S, n, C], in the order of `running`.
            validate: False skips the checks of the values.

        Returns:
            Which of them stop here, bool [n]; all of them after step T.

        Raises:
            InputError: `probs` are not probabilities, or have another number of inputs, classes or samples.
        """
        rule = self._rule
        if not isinstance(probs, Tensor) or probs.dim() not in (2, 3):
            raise InputError(f"probs: expected a tensor of shape [n, C] or [S, n, C]; got {describe(probs)}")
        now = probs if probs.dim() == 3 else probs[None]
        if now.shape[1:] != (len(self.running), rule.classes):
            wanted = f"{len(self.running)} running inputs and {rule.classes} classes"
            raise InputError(f"probs: expected predictions of {wanted}; got {describe(probs)}")
        if probs.dim() == 3 and rule.samples not in (None, len(now)):
            raise InputError(f"probs: expected {rule.samples} Monte Carlo samples, as in fit; got {describe(probs)}")
        if validate:
            check_probabilities("probs", now, "[S, n, C]")
        samples = now.detach().double()
        done, sets, memory = rule._step(self.step, samples, self._memory)
        self.step += 1
        if self.step == rule.steps:
            done = torch.ones_like(done)
        if not done.any():  # the usual case for the few inputs that run long
            self._memory = memory
            return done
        # The decision is the most probable class of the set; of all classes, if the set is empty.
        allowed = sets | ~sets.any(-1, keepdim=True)
        decisions = mean_of_samples(samples).masked_fill(~allowed, -1.0).argmax(-1)
        left = self.running[done]
        self._steps[left], self._decisions[left], self._sets[left] = self.step, decisions[done], sets[done]
        self.running, self._memory = self.running[~done], memory[~done]
        return done

    def result(self) -> Stopped:
        """The steps, decisions and sets of all inputs.

        Raises:
            InputError: some inputs are still running.
        """
        if len(self.running):
            raise InputError(f"Stream: expected all inputs to have stopped; got {len(self.running)} still running")
        return Stopped(self._steps, self._decisions, self._sets)
