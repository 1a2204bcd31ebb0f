"""A world whose risks are known: a finite population of predictions over time, from which inputs are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["draws", "gap_losses", "leave", "population"]


def population(
    inputs: int = 4000,
    steps: int = 10,
    classes: int = 3,
    *,
    drift: float = 4.0,
    sharpness: float = 2.0,
    levels: int = 0,
) -> tuple[Tensor, Tensor]:
    """Noisy evidence for the true class adds up; easy inputs get much of it, hard ones none.

    Every calibration input is an independent draw from the population, so means over the population are true risks.

    Args:
        inputs: N.
        steps: T.
        classes: C.
        drift: the most evidence an input gets in a step. Less makes the inputs harder: a shift.
        sharpness: above 1, the network is too sure.
        levels: round the logits to so many values per unit, for ties.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (inputs,), generator=generator)
    evidence = torch.randn(steps, inputs, classes, generator=generator)
    truth = torch.nn.functional.one_hot(labels, classes)
    evidence += drift * torch.rand(inputs, 1, generator=generator) * truth
    logits = sharpness * evidence.cumsum(0) / torch.arange(1, steps + 1)[:, None, None].sqrt()
    if levels:
        logits = (logits * levels).round() / levels
    return logits.softmax(-1), labels


def draws(inputs: int, size: int, splits: int, seed: int = 0) -> Tensor:
    """Calibration sets [splits, size] of a population of `inputs`, drawn with replacement."""
    return torch.randint(inputs, (splits, size), generator=torch.Generator().manual_seed(seed))


def leave(sure: Tensor, thresholds: Tensor) -> Tensor:
    """Steps from 0 after which inputs leave, of scores [T, N] and thresholds [T]; what never gets there leaves last."""
    reached = sure.double() >= thresholds[:, None]
    reached[-1] = True
    return reached.long().argmax(0)


def gap_losses(probs: Tensor, labels: Tensor) -> Tensor:
    """1 where the full run is right and leaving after a step is wrong, float64 [T, N]."""
    right = probs.argmax(-1) == labels
    return (right[-1] & ~right).double()
