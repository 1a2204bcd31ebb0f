"""The runs of an ablation: uncertainty terms with their weights, and the settings that all runs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.experiments import Settings, make_settings
from tsnn_uq.files import as_path
from tsnn_uq.training import regularizer_terms

__all__ = ["CANDIDATES", "FINALS", "FOREIGN_SETS", "SCREENING", "Stage", "chosen_terms", "suited", "term_of"]

SCREENING: dict[str, Any] = {"train_limit": 10_000, "epochs": 12, "samples": 16}
FINALS: dict[str, Any] = {"epochs": 8}
"""Settings of each stage that replace those of MNIST. More epochs would hardly improve a direct run."""
FOREIGN_SETS: dict[str, dict[str, str]] = {
    "mnist": {
        "fashion": "fashion-mnist",
        "rotated": "mnist:rotate=90",
        "noise": "noise",
        "emnist": "emnist-letters",
    },
    "fashion-mnist": {
        "mnist": "mnist",
        "rotated": "fashion-mnist:rotate=90",
        "noise": "noise",
        "emnist": "emnist-letters",
    },
    "cifar10": {"rotated": "cifar10:rotate=90", "noise": "noise"},
    "digits": {"rotated": "digits:rotate=90", "noise": "noise"},
}
"""For each data set, the out-of-distribution sets by their names in columns."""
FAMILIES = {"cifar10": ("vgg",)}
"""Network families of data sets that are too hard for fully connected ones."""


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
"""For each term or sum of terms, the four weights from which one is chosen."""


def suited(settings: Mapping[str, Any], data: str) -> dict[str, Any]:
    """The settings of a stage, such as `FINALS`, for a data set.

    Data sets that are smaller or harder than MNIST keep their own number of epochs.
    """
    return {name: value for name, value in settings.items() if name != "epochs" or data in ("mnist", "fashion-mnist")}


def term_of(text: str) -> str:
    """The names in a text for the loss, without weights.

    Example:
        >>> term_of("variance:5+outliers:0.5")
        'variance+outliers'
    """
    return "+".join(regularizer_terms(text))


def chosen_terms(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The terms of a screening and their weights, as in `CANDIDATES`.

    Args:
        texts: labels of `CANDIDATES`, for all their weights, and texts with weights, such as ``"variance:5"``. Texts
            with the same names are weights of one term. Without any, all of `CANDIDATES` are returned.

    Raises:
        InputError: a text is neither.

    Example:
        >>> chosen_terms(["consistency", "variance:2", "variance:8"])["variance"]
        ('variance:2', 'variance:8')
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        if text not in CANDIDATES and None in regularizer_terms(text).values():
            raise InputError(
                f"terms: expected a weight, such as {text}:1, or one of {', '.join(CANDIDATES)}; got {text}"
            )
        label, weights = (text, CANDIDATES[text]) if text in CANDIDATES else (term_of(text), (text,))
        found[label] = tuple(dict.fromkeys((*found.get(label, ()), *weights)))
    return found or CANDIDATES


@dataclass(frozen=True)
class Stage:
    """The settings of a stage, and the folders of its runs.

    Runs with one text for the loss, such as ``"variance:5"``, have a folder of their own, since names of runs do not
    contain the text.

    Args:
        out: folder of the stage.
        seeds: number of seeds; they are 0, 1, ...
        settings: settings of every run that replace the defaults for its data set and network.
        terms: terms and their weights, as in `CANDIDATES`.
        foreign: out-of-distribution sets by their names in columns; if empty, those in `FOREIGN_SETS`.
        data: a data set of images.
        network: network family of a screening and of posteriors; by default the first of `families`.

    Raises:
        InputError: the data set is unknown.
    """

    out: Path
    seeds: int = 3
    settings: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: CANDIDATES)
    foreign: Mapping[str, str] = field(default_factory=dict)
    data: str = "mnist"
    network: str = ""

    def __post_init__(self) -> None:
        check_choice("data", self.data, FOREIGN_SETS)
        object.__setattr__(self, "out", as_path(self.out))
        object.__setattr__(self, "foreign", self.foreign or FOREIGN_SETS[self.data])
        object.__setattr__(self, "network", self.network or self.families[0])

    @property
    def families(self) -> tuple[str, ...]:
        """The network families of finals, by default."""
        return FAMILIES.get(self.data, ("dropout", "dropconnect"))

    def run(self, family: str, method: str, text: str = "none", seed: int = 0) -> Settings:
        """Settings of a run, with all layers ternary. The teacher of a distilled run is trained without a term."""
        teacher = {"teacher_from": self.start} if method == "distill" else {}
        own = {"data": self.data, "network": family, "method": method, "regularizer": text, "seed": seed}
        return make_settings(own | teacher | dict(self.settings))

    def folder(self, text: str) -> Path:
        """The folder of the runs with a text for the loss."""
        return self.out / "runs" / text.replace(":", "-")

    @property
    def start(self) -> str:
        """The folder of the runs without a term, from which others may start."""
        return str(self.folder("none").resolve())

    def place(self, config: Settings) -> Path:
        """The folder of a run; runs that start from others are beside them."""
        continued = config.start_from == self.start
        return (self.out / "runs" / "continued" if continued else self.folder(config.regularizer.name)) / config.name

    def candidates(self, method: str) -> dict[str, tuple[str, ...]]:
        """The `terms` that are available for a method."""
        check_choice("method", method, ("float", "direct", "indirect", "distill"))
        return {
            label: texts
            for label, texts in self.terms.items()
            if method == "direct" or "quantization-gap" not in label  # only the direct method keeps the float weights
        }
