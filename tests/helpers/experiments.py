"""Runs on the handwritten digits that take a twentieth of a second, and how to compare what they leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tsnn_uq.experiments import Settings, make_settings
from tsnn_uq.experiments.settings import ALIASES

__all__ = ["FILES", "contents", "tiny", "undrawn", "without_time"]

TINY = {"hidden": (8,), "steps": 2, "epochs": 2, "batch_size": 32, "train_limit": 64, "samples": 2}
SUITS: dict[str, dict[str, Any]] = {
    "plif": {"hidden": (2, 2, 8), "learning_rate": 2e-3},
    "vgg": {"hidden": (2, 2, 8), "learning_rate": 2e-3},
    "slayer": {"steps": 6, "bin_ms": 5.0, "learning_rate": 2e-3},
}
FILES = ["config.toml", "history.json", "predictions.safetensors", "result.json", "weights.safetensors"]


def tiny(**settings: Any) -> Settings:
    """A run of four training steps; a ternary one quantizes all layers, and a float one ignores methods' options."""
    of_methods = {name for name, targets in ALIASES.items() if targets[0].startswith("method.")}
    if settings.get("method", "float") == "float":
        settings = {name: value for name, value in settings.items() if name not in of_methods}
    return make_settings(TINY | SUITS.get(settings.get("family", ""), {}) | settings)


@contextmanager
def undrawn() -> Iterator[None]:
    """Comparisons without figures of their own, which take longer than tiny runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsnn_uq.experiments.comparison.draw_figures", lambda *_: [])
        yield


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the one number that the clock decides; numbers that there are not are equal."""
    return {name: None if value != value else value for name, value in row.items() if name != "train_seconds"}


def contents(folder: Path) -> dict[str, bytes]:
    """The bits of a run's weights and predictions."""
    return {
        f"{name}/{key}": tensor.numpy().tobytes()
        for name in ("weights", "predictions")
        for key, tensor in load_file(folder / f"{name}.safetensors").items()
    }
