"""What suits a data set and a network family where the user does not say otherwise."""

from __future__ import annotations

from typing import Any

from tsnn_uq.checks import check_choice
from tsnn_uq.networks import FAMILIES

__all__ = ["PRESETS", "VARIABLE", "preset", "suits_alike"]

PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"hidden": (128, 128), "epochs": 60, "batch_size": 32},
    "mnist": {"hidden": (500, 500, 500), "epochs": 18, "batch_size": 128},
    "fashion-mnist": {"hidden": (500, 500, 500), "epochs": 18, "batch_size": 128},
    "nmnist": {"coding": "events", "steps": 300, "hidden": (512,), "epochs": 40, "batch_size": 32},
    "nmnist-simulated": {"coding": "events", "steps": 300, "hidden": (512,), "epochs": 6, "batch_size": 32},
}
# What suits a network family goes before it, and what suits both goes first.
SUITS_FAMILY: dict[str, dict[str, Any]] = {
    "plif": {"p": 0.5, "reset": "hard", "readout": "spikes", "batch_size": 64, "learning_rate": 1e-3},
    "slayer": {"threshold": 10.0, "readout": "spikes", "learning_rate": 1e-2},
}
SUITS_BOTH: dict[tuple[str, str], dict[str, Any]] = {
    ("plif", "digits"): {"hidden": (16, 16, 128), "epochs": 20, "batch_size": 32, "learning_rate": 5e-3},
    ("plif", "mnist"): {"hidden": (128, 128, 2048), "epochs": 8},
    ("plif", "fashion-mnist"): {"hidden": (128, 128, 2048), "epochs": 8},
    ("slayer", "digits"): {"coding": "latency", "steps": 20},
    ("slayer", "mnist"): {"coding": "latency", "steps": 20},
    ("slayer", "fashion-mnist"): {"coding": "latency", "steps": 20},
}
VARIABLE = {
    name for presets in (PRESETS, SUITS_FAMILY, SUITS_BOTH) for settings in presets.values() for name in settings
}
"""Names of the settings that depend on data set and family."""


def preset(data: str, family: str = "dropout") -> dict[str, Any]:
    """The settings that suit a data set and a network family: widths, epochs, batch size and so on."""
    suits = PRESETS[check_choice("data", data, PRESETS)]
    for_family = SUITS_FAMILY.get(check_choice("family", family, FAMILIES), {})
    return {"data": data, "family": family, **suits, **for_family, **SUITS_BOTH.get((family, data), {})}


def suits_alike(one: str, other: str, data: str) -> bool:
    """Whether the same settings suit two families on a data set."""
    return preset(data, one) | {"family": other} == preset(data, other)
