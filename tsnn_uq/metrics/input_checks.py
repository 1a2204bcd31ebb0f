"""Validate the inputs of metrics, average over samples and ties, and reduce over inputs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_dims, check_labels, check_probabilities
from tsnn_uq.devices import widest_float

__all__ = [
    "Reduction",
    "as_forecast",
    "as_samples",
    "at_least_float32",
    "average_ties",
    "check_uncertainty",
    "mean_of_samples",
    "mean_prediction",
    "reduce_inputs",
]

Reduction = Literal["mean", "sum", "none"]


def at_least_float32(probs: Tensor) -> Tensor:
    """Convert half precision to float32; wider types are unchanged."""
    return probs.float() if probs.dtype in (torch.float16, torch.bfloat16) else probs


def as_samples(probs: Tensor, sample_dim: int = 0, validate: bool = True) -> Tensor:
    """Monte Carlo probabilities as [S, N, C], in float32 or better, checked unless `validate` is off.

    Raises:
        InputError: the number of axes is wrong, there are no samples, or values are not probabilities.
    """
    if validate:
        check_dims("probs", probs, "[S, N, C]")
        if sample_dim not in range(-3, 3):
            raise InputError(f"sample_dim: expected an axis of [S, N, C] from -3 to 2; got {sample_dim!r}")
        if probs.shape[sample_dim] == 0:
            raise InputError(f"probs: expected at least one sample along axis {sample_dim}; got {list(probs.shape)}")
        check_probabilities("probs", probs.movedim(sample_dim, 0), "[S, N, C]")
    return at_least_float32(probs.movedim(sample_dim, 0))


def as_forecast(probs: Tensor, target: Tensor, validate: bool = True) -> tuple[Tensor, Tensor]:
    """Probabilities [N, C] in float32 or better and labels [N] as int64, checked unless `validate` is off."""
    if validate:
        check_probabilities("probs", probs)
        target = check_labels("target", target, classes=probs.shape[-1], count=len(probs))
    return at_least_float32(probs), target.long()


def check_uncertainty(argument: str, uncertainty: Tensor) -> None:
    """Raise unless `uncertainty` is a vector without NaN; infinities are ranked like any other value."""
    check_dims(argument, uncertainty, "[N]")
    if uncertainty.isnan().any():
        raise InputError(f"{argument}: expected numbers that can be ranked; got {int(uncertainty.isnan().sum())} NaN")


def mean_of_samples(samples: Tensor) -> Tensor:
    """Mean over the first axis that is exact if all samples agree."""
    return samples[0] if len(samples) == 1 else samples[0] + (samples - samples[0]).mean(0)


def mean_prediction(probs: Tensor, sample_dim: int | None, validate: bool = True) -> Tensor:
    """The mean prediction [N, C]: `probs` itself if it is [N, C], else the mean of [S, N, C] over its `sample_dim`.

    With `sample_dim=None` there are no samples, and `probs` is returned unchanged.
    """
    if sample_dim is None or (isinstance(probs, Tensor) and probs.dim() == 2):
        return probs
    return mean_of_samples(as_samples(probs, sample_dim, validate))


def reduce_inputs(values: Tensor, reduction: Reduction) -> Tensor:
    """Mean, sum or nothing over the inputs, the first axis of `values`; accumulated in float64 where the device has it.

    Raises:
        InputError: the reduction is unknown, or the mean of no inputs is requested.
    """
    check_choice("reduction", reduction, ["mean", "sum", "none"])
    if reduction == "none":
        return values
    total = values.sum(0, dtype=widest_float(values.device))
    if reduction == "mean":
        if len(values) == 0:
            raise InputError("probs: expected at least one input to take a mean over; got none (N = 0)")
        total = total / len(values)
    return total.to(values.dtype)


def average_ties(keys: Tensor, values: Tensor) -> Tensor:
    """`values` [N] with each one replaced by the float64 mean over the inputs of equal `keys` [N].

    A cumulative sum in the order of the keys then does not depend on the order of the rows; it is the expectation over
    all orders of the tied inputs.
    """
    group = torch.unique(keys, return_inverse=True)[1]
    return (torch.bincount(group, values.double()) / torch.bincount(group))[group]
