"""The base class of recalibrators, and the checks of their inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_labels, check_probabilities, class_numbers, describe

__all__ = ["Recalibrator", "log_probabilities", "mean_log_probabilities"]


def log_probabilities(probs: Tensor, validate: bool = True) -> Tensor:
    """Logarithms in float64 of probabilities [N, C] or [S, N, C]: logits, up to a constant per row.

    Zeros count as the smallest normal number of their dtype, since a zero may be an underflow.
    """
    if validate:
        if not isinstance(probs, Tensor) or probs.dim() not in (2, 3):
            raise InputError(f"probs: expected a tensor of shape [N, C] or [S, N, C]; got {describe(probs)}")
        check_probabilities("probs", probs, "[N, C]" if probs.dim() == 2 else "[S, N, C]")
    return probs.detach().double().clamp_min(torch.finfo(probs.dtype).tiny).log()


def mean_log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities [N, C] of logits [N, C], or of the mean prediction of logits [S, N, C]."""
    logs = logits.log_softmax(-1)
    return logs if logs.dim() == 2 else logs.logsumexp(0) - torch.tensor(len(logs), dtype=logs.dtype).log()


class Recalibrator(ABC):
    """A map from probabilities to better calibrated ones, fitted on held-out inputs.

    Call `fit` on a validation split, never on the test inputs that are reported. Monte Carlo probabilities [S, N, C]
    are mapped sample by sample; classes that support them are fitted to the likelihood of the *mean* prediction.
    """

    classes: int | None = None  #: C, once fitted

    @property
    @abstractmethod
    def determined(self) -> bool:
        """Whether the held-out inputs determine all fitted parameters; False before `fit` was called."""

    def fit(self, probs: Tensor, target: Tensor, *, validate: bool = True) -> Any:
        """Fit to held-out predictions.

        Args:
            probs: probabilities [N, C], or [S, N, C] if the class supports samples.
            target: class numbers [N].
            validate: False skips the checks of the inputs.

        Returns:
            The recalibrator itself.

        Raises:
            InputError: `probs` are not probabilities or have another shape, `target` are not labels of their classes,
                or there are no inputs.
        """
        # Fitting needs gradients, and fitted tensors must be usable outside a caller's inference mode.
        with torch.inference_mode(False), torch.no_grad():
            logs = log_probabilities(probs, validate)
            labels = class_numbers("target", target)
            if validate:
                check_labels("target", labels, classes=logs.shape[-1], count=logs.shape[-2])
            if 0 in logs.shape:
                raise InputError(f"probs: expected at least one input to fit to; got {describe(probs)}")
            self._fit(probs.detach(), logs, labels.clone() if labels.is_inference() else labels)
            self.classes = logs.shape[-1]
        return self

    def transform(self, probs: Tensor, *, validate: bool = True) -> Tensor:
        """Recalibrated probabilities, in the shape of `probs` [N, C] or [S, N, C] and in float32 or its wider dtype.

        Raises:
            InputError: `fit` was not called, or `probs` are not probabilities or have another number of classes.
        """
        if self.classes is None:
            raise InputError(f"{type(self).__name__}: expected fit before transform; call it on held-out predictions")
        with torch.inference_mode(False), torch.no_grad():
            logs = log_probabilities(probs, validate)
            if logs.shape[-1] != self.classes:
                raise InputError(f"probs: expected the {self.classes} classes it was fitted to; got {describe(probs)}")
            dtype = torch.promote_types(probs.dtype, torch.float32)
            return self._transform(probs.detach(), logs).to(dtype)

    @abstractmethod
    def _fit(self, probs: Tensor, logs: Tensor, target: Tensor) -> None:
        """Fit to probabilities, their float64 logarithms and int64 labels."""

    @abstractmethod
    def _transform(self, probs: Tensor, logs: Tensor) -> Tensor:
        """Probabilities in float64."""
