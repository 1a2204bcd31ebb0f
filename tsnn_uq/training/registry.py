"""Training methods by name."""

from __future__ import annotations

from collections.abc import Callable

from tsnn_uq.training.indirect import Distill, Indirect
from tsnn_uq.training.methods import Direct, Float, Method

__all__ = ["METHODS"]

METHODS: dict[str, Callable[..., Method]] = {
    "float": Float,
    "direct": Direct,
    "indirect": Indirect,
    "distill": Distill,
}
