"""Which runs a stage has: terms, their weights, and all else alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsnn_uq.checks import check_choice
from tsnn_uq.experiments import Settings, make_settings
from tsnn_uq.files import as_path

__all__ = ["CANDIDATES", "FINALS", "FOREIGN", "SCREENING", "Stage"]

SCREENING: dict[str, Any] = {"train_limit": 10_000, "epochs": 12, "samples": 16}
FINALS: dict[str, Any] = {"epochs": 8}
"""Settings over MNIST's own, of either stage; a direct run learns next to nothing after so many epochs."""
FOREIGN = {"fashion": "fashion-mnist", "rotated": "mnist:rotate=90", "noise": "noise", "emnist": "emnist-letters"}
"""Name in a column -> out-of-distribution set."""


def _weighted(term: str, *weights: float, besides: str = "") -> tuple[str, ...]:
    return tuple(f"{term}:{weight:g}{besides}" for weight in weights)


CANDIDATES: dict[str, tuple[str, ...]] = {
    "consistency": _weighted("consistency", 0.5, 1, 2, 4),
    "consistency+information": _weighted("consistency:1+information", 0.3, 1, 3, 10),
    "consistency+outliers": _weighted("consistency", 0.5, 1, 2, 4, besides="+outliers:0.5"),
    "variance": _weighted("variance", 1, 5, 20, 50),
    "entropy": _weighted("entropy", 0.03, 0.1, 0.3, 1),
    "information": _weighted("information", 0.3, 1, 3, 10),
    "variance-right": _weighted("variance-right", 1, 5, 20, 50),
    "variance-contrast": _weighted("variance-contrast", 1, 5, 10, 20),
    "entropy-contrast": _weighted("entropy-contrast", 0.03, 0.1, 0.3, 1),
    "information-contrast": _weighted("information-contrast", 0.3, 1, 3, 10),
    "accuracy-uncertainty": _weighted("accuracy-uncertainty", 0.1, 0.3, 1, 3),
    "soft-binned": _weighted("soft-binned", 0.1, 0.3, 1, 3),
    "kernel-calibration": _weighted("kernel-calibration", 0.1, 0.3, 1, 3),
    "quantization-gap": _weighted("quantization-gap", 0.1, 0.3, 1, 3),
    "membrane": _weighted("membrane", 0.01, 0.03, 0.1, 0.3),
    "outliers": _weighted("outliers", 0.1, 0.3, 0.5, 1),
    "variance+outliers": _weighted("variance", 1, 5, 20, 50, besides="+outliers:0.5"),
    "variance-right+outliers": _weighted("variance-right", 1, 5, 20, 50, besides="+outliers:0.5"),
}
"""Term, or sum of terms -> the four weights from which one is chosen."""


@dataclass(frozen=True)
class Stage:
    """A stage's common settings, and the folders of its runs.

    Runs of one text for the loss, such as ``"variance:5"``, have a folder of their own, since they are called alike.

    Args:
        out: the stage's folder.
        seeds: number of seeds, 0 and on.
        settings: of every run, over the preset of MNIST.
        terms: as `CANDIDATES`.
        foreign: as `FOREIGN`.
    """

    out: Path
    seeds: int = 3
    settings: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: CANDIDATES)
    foreign: Mapping[str, str] = field(default_factory=lambda: FOREIGN)

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", as_path(self.out))

    def run(self, family: str, method: str, text: str = "none", seed: int = 0) -> Settings:
        """A run, its ternary layers all of them; a distilled one has the teacher that was trained with no term."""
        teacher = {"teacher_from": str(self.folder("none").resolve())} if method == "distill" else {}
        own = {"data": "mnist", "network": family, "method": method, "regularizer": text, "seed": seed}
        return make_settings(own | teacher | dict(self.settings))

    def folder(self, text: str) -> Path:
        """The folder of the runs with a text for the loss."""
        return self.out / "runs" / text.replace(":", "-")

    def place(self, config: Settings) -> Path:
        """A run's own folder."""
        return self.folder(config.regularizer.name) / config.name

    def candidates(self, method: str) -> dict[str, tuple[str, ...]]:
        """Those of `terms` that go with a method."""
        check_choice("method", method, ("float", "direct", "indirect", "distill"))
        return {
            label: texts
            for label, texts in self.terms.items()
            if method == "direct" or "quantization-gap" not in label  # only direct keeps the float copy
        }
