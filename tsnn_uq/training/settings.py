"""The budget and the optimizer of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive

__all__ = ["PRECISIONS", "FitSettings"]

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What forward passes may compute in where that is safe (``torch.autocast``)."""


@dataclass(frozen=True)
class FitSettings:
    """The budget and the optimizer, by default AdamW.

    Args:
        epochs: passes over the training set.
        batch_size: inputs in a step; the last of an epoch may have fewer. A DataLoader has its own.
        learning_rate: of AdamW, at the peak of the schedule.
        weight_decay: of AdamW, decoupled: times the learning rate in each step.
        regularizer_weight: factor of the regularizer in the loss.
        regularizer_warm_up: share of the training over which that factor grows from 0, linearly.
        clip_norm: largest norm of the gradient of all parameters together; a longer one is made that long.
        precision: ``"float32"``, or ``"bfloat16"`` or ``"float16"`` where forward passes may use it; weights and their
            updates stay as they are.

    Raises:
        InputError: a value out of range.
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    regularizer_weight: float = 0.0
    regularizer_warm_up: float = 0.0
    clip_norm: float | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_positive("epochs", self.epochs, integer=True)
        check_positive("batch_size", self.batch_size, integer=True)
        check_positive("learning_rate", self.learning_rate)
        check_fraction("weight_decay", self.weight_decay)
        check_fraction("regularizer_warm_up", self.regularizer_warm_up)
        if not 0 <= self.regularizer_weight < math.inf:
            raise InputError(f"regularizer_weight: expected a number of at least 0; got {self.regularizer_weight!r}")
        if self.clip_norm is not None:
            check_positive("clip_norm", self.clip_norm)
        check_choice("precision", self.precision, PRECISIONS)
