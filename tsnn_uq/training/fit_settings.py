"""The budget and the optimizer of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive
from tsnn_uq.training.losses import check_loss_times

__all__ = ["PRECISIONS", "FitSettings"]

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precision of forward passes by name (``torch.autocast``)."""


@dataclass(frozen=True)
class FitSettings:
    """Budget and optimizer options of `fit`; the default optimizer is AdamW.

    Args:
        epochs: passes over the training set.
        batch_size: inputs in a step; the last of an epoch may have fewer. A DataLoader has its own.
        learning_rate: peak learning rate of AdamW.
        weight_decay: decoupled weight decay of AdamW, multiplied by the learning rate in each step.
        regularizer_weight: factor of the regularizer in the loss.
        regularizer_warm_up: share of the training over which that factor grows from 0, linearly.
        clip_norm: maximum norm of the gradient of all parameters together; larger gradients are scaled down.
        precision: ``"float32"``, or ``"bfloat16"`` or ``"float16"`` for forward passes under autocast; weights and
            their updates keep their precision.
        loss_over_time: where the loss is computed: on the mean output over time (default, empty); with ``"every"``, on
            each step's output, averaged over steps (temporal efficient training, Deng et al., 2022); or on the running
            mean after the given steps, counted from 1.
        batchnorm_inputs: approximate number of training inputs from which BatchNorm's running statistics are recomputed
            with the final weights, with dropout and augmentation; 0 keeps the running means of the training.

    Raises:
        InputError: a value is out of range.
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    regularizer_weight: float = 0.0
    regularizer_warm_up: float = 0.0
    clip_norm: float | None = None
    precision: str = "float32"
    loss_over_time: str | Sequence[int] = ()
    batchnorm_inputs: int = 0

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
        check_loss_times(self.loss_over_time)
        if self.batchnorm_inputs:
            check_positive("batchnorm_inputs", self.batchnorm_inputs, integer=True)
