"""Schedules of the learning rate and of the weight of a regularizer."""

from __future__ import annotations

import math

__all__ = ["one_cycle", "warmed_up"]


def one_cycle(progress: float, warm_up: float = 0.3) -> float:
    """Learning rate as a share of its peak: cosine from 1/25 to 1, then cosine to 0 (Smith and Topin, 2019).

    It has the shape of ``torch.optim.lr_scheduler.OneCycleLR`` with defaults, except that it ends at 0 instead of a
    10,000th of the start. With n steps, step k = 0 .. n - 1 has progress k / n here and k / (n - 1) there.

    Args:
        progress: share of the steps that are done, 0 to 1.
        warm_up: progress at the peak.

    Example:
        >>> one_cycle(0.0), one_cycle(0.3), one_cycle(1.0)
        (0.04, 1.0, 0.0)
    """
    if progress < warm_up:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / warm_up)) / 2
    return (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2


def warmed_up(progress: float, share: float) -> float:
    """Factor of a term that grows linearly from 0 to 1 over a `share` of the training.

    Example:
        >>> warmed_up(0.1, share=0.4), warmed_up(0.5, share=0.4), warmed_up(0.0, share=0.0)
        (0.25, 1.0, 1.0)
    """
    return min(1.0, progress / share) if share > 0 else 1.0
