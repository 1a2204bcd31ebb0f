"""The components of this package, each with its default settings.

To add one, write a function or class in its own file and register it here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from tsnn_uq import data, networks, neurons, training
from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.components.registry import register
from tsnn_uq.neurons import LIFParameters, SRMParameters
from tsnn_uq.quantization import PARTS, make_rule

__all__ = ["FACTORS"]

FACTORS = {"direct": 0.8, "indirect": 1.1, "distill": 1.17}
"""Threshold / mean magnitude of each method, chosen on validation splits: best accuracy with at least half zeros.

In the indirect methods free weights continue to train and grow past the threshold more often, so it must be higher.
"""
SPARSITY = 0.5  # default of the rule "quantile"


def _load(name: str, seed: int, data_dir: str | Path | None, folds: int, **binning: Any) -> data.Splits:
    """Load a data set in its fixed parts, or in those of one fold of a cross-validation."""
    if folds:
        return data.load_fold(name, data_dir, folds=folds, seed=seed, **binning)
    return data.load(name, data_dir, seed=seed, **binning)


def images(name: str) -> Callable[..., data.Splits]:
    """Make a function that loads grey images: digits, MNIST or Fashion-MNIST."""

    def load(seed: int = 0, data_dir: str | Path | None = None, folds: int = 0) -> data.Splits:
        return _load(name, seed, data_dir, folds)

    return load


def cifar10(seed: int = 0, data_dir: str | Path | None = None, folds: int = 0, *, augment: bool = True) -> data.Splits:
    """Load CIFAR-10.

    Args:
        seed: seed of the validation part; with folds, it selects the fold.
        data_dir: folder of the data sets.
        folds: parts of a cross-validation; 0 for the official test part.
        augment: crop and flip training images at random.
    """
    splits = _load("cifar10", seed, data_dir, folds)
    return splits if augment else replace(splits, augment=None)


def nmnist(
    seed: int = 0,
    data_dir: str | Path | None = None,
    folds: int = 0,
    *,
    steps: int = 300,
    bin_ms: float = 1.0,
    skip_bad: bool = False,
) -> data.Splits:
    """Load recordings of N-MNIST.

    Args:
        seed: seed of the validation part; with folds, it selects the fold.
        data_dir: folder of the data sets.
        folds: parts of a cross-validation; 0 for the official test part.
        steps: number of time steps from the start of a recording.
        bin_ms: length of a time step, in ms.
        skip_bad: skip damaged recordings and count them, instead of raising an error.
    """
    return _load("nmnist", seed, data_dir, folds, steps=steps, bin_ms=bin_ms, skip_bad=skip_bad)


def nmnist_simulated(
    seed: int = 0, data_dir: str | Path | None = None, folds: int = 0, *, steps: int = 300, bin_ms: float = 1.0
) -> data.Splits:
    """Load events simulated from MNIST.

    Args:
        seed: as for `nmnist`.
        data_dir: folder of the data sets.
        folds: parts of a cross-validation.
        steps: number of time steps from the start of a recording.
        bin_ms: length of a time step, in ms.
    """
    return _load("nmnist-simulated", seed, data_dir, folds, steps=steps, bin_ms=bin_ms)


def lif(
    *,
    decay: float = 0.5,
    threshold: float = 1.0,
    reset: str = "soft",
    surrogate: str = "arctan",
    sharpness: float = 2.0,
) -> LIFParameters:
    """A leaky integrate-and-fire neuron, or the initial parameters of a PLIF neuron.

    Args:
        decay: factor on the membrane potential in each step.
        threshold: membrane potential at which a neuron fires.
        reset: ``"soft"`` subtracts the threshold, ``"hard"`` sets the potential to zero.
        surrogate: surrogate gradient, a name in `tsnn_uq.neurons.SURROGATES`.
        sharpness: sharpness alpha of the surrogate gradient.
    """
    slope = neurons.surrogate(surrogate, sharpness)
    return LIFParameters(decay=decay, threshold=threshold, reset=reset, surrogate=slope)


def srm(
    *,
    threshold: float = 10.0,
    tau_s_ms: float = 10.0,
    tau_r_ms: float = 1.0,
    tau_rho: float = 1.0,
    step_ms: float = 1.0,
) -> SRMParameters:
    """The spike response neuron of SLAYER.

    Args:
        threshold: membrane potential at which a neuron fires.
        tau_s_ms: time constant of the synapse's response, in ms.
        tau_r_ms: time constant of the refractory response, in ms.
        tau_rho: width of the escape-rate gradient, in thresholds.
        step_ms: length of a time step, in ms.
    """
    return SRMParameters(threshold=threshold, tau_s_ms=tau_s_ms, tau_r_ms=tau_r_ms, tau_rho=tau_rho, step_ms=step_ms)


def direct(
    *, layers: str = "all", rule: str = "mean-fraction", factor: float = 0.0, scale: str = "layer"
) -> training.Method:
    """Train with ternary weights from the first step on, with straight-through gradients.

    Args:
        layers: ternary layers: ``"all"``, ``"inner"`` (all but the first and the last), ``"conv"`` or ``"fc"``.
        rule: threshold rule, a name in `tsnn_uq.quantization.RULES` or ``"learned"``.
        factor: threshold / mean magnitude, or the sparsity of the rule ``"quantile"``; 0 for the default of the method.
        scale: one scale per ``"layer"``, per output ``"channel"``, or ``"none"``.
    """
    check_choice("quantized_part", layers, PARTS)
    return training.Direct(layers=layers, rule=rule, scale=scale, **_rule_options(rule, factor, own=FACTORS["direct"]))


def indirect(
    *,
    layers: str = "all",
    rule: str = "mean-fraction",
    factor: float = 0.0,
    scale: str = "layer",
    start: float = 0.5,
    end: float = 0.9,
) -> training.Method:
    """Train in full precision while a growing share of the weights becomes ternary.

    Args:
        layers: as for `direct`.
        rule: as for `direct`, but not ``"learned"``.
        factor: as for `direct`.
        scale: as for `direct`.
        start: share of the training before the first quantization.
        end: share of the training at the last quantization.
    """
    check_choice("quantized_part", layers, PARTS)
    options: dict[str, Any] = {"start": start, "end": end, **_rule_options(rule, factor, own=FACTORS["indirect"])}
    return training.Indirect(layers=layers, rule=rule, scale=scale, **options)


def distill(
    teacher: nn.Module | None = None,
    *,
    layers: str = "all",
    rule: str = "mean-fraction",
    factor: float = 0.0,
    scale: str = "layer",
    start: float = 0.5,
    end: float = 0.9,
    temperature: float = 4.0,
    weight: float = 0.5,
) -> training.Method:
    """Train by the indirect method with a float network as the teacher.

    Args:
        teacher: the float network.
        layers: as for `indirect`.
        rule: threshold rule.
        factor: threshold / mean magnitude.
        scale: one scale per layer, per output channel, or none.
        start: share of the training before the first quantization.
        end: share of the training at the last quantization.
        temperature: softens the predictions of teacher and student.
        weight: share of the distillation term in the loss.
    """
    check_choice("quantized_part", layers, PARTS)
    options: dict[str, Any] = {"layers": layers, "scale": scale, "start": start, "end": end}
    options |= {"rule": rule, **_rule_options(rule, factor, own=FACTORS["distill"])}
    return training.Distill(teacher or nn.Identity(), temperature=temperature, weight=weight, **options)


def _rule_options(rule: str, factor: float, own: float) -> dict[str, float]:
    """The options of the threshold rule."""
    if rule == "mean-rounding":
        if factor:
            raise InputError(f"factor: expected 0, since the rule mean-rounding takes none; got {factor}")
        return {}
    if not 0 <= factor < float("inf"):
        raise InputError(f"factor: expected a number of at least 0; got {factor}")
    options = {"sparsity": factor or SPARSITY} if rule == "quantile" else {"factor": factor or own}
    if rule != "learned":
        make_rule(rule, options)  # raises if the rule does not take them
    return options


_IMAGES = {"network.steps": 4, "epochs": 18, "batch_size": 128, "network.hidden": (500, 500, 500)}
_EVENTS = {"network.coding": "events", "network.steps": 300, "network.hidden": (512,), "batch_size": 32}
_LATENCY = {"network.coding": "latency", "network.steps": 20}
_LARGE = {"network.hidden": (128, 128, 2048), "epochs": 8}
_VGG = {"network.hidden": (16, 32, 32, 64, 128), "network.steps": 2, "epochs": 8}
_SMALL = {"network.hidden": (16, 16, 128), "epochs": 20, "batch_size": 32, "learning_rate": 5e-3}

register(
    "data",
    "digits",
    images("digits"),
    suits={"": _IMAGES | {"network.hidden": (128, 128), "epochs": 60, "batch_size": 32}},
)
register("data", "mnist", images("mnist"), suits={"": _IMAGES})
register("data", "fashion-mnist", images("fashion-mnist"), suits={"": _IMAGES})
register("data", "cifar10", cifar10, suits={"": _IMAGES | {"network.steps": 2, "epochs": 20, "batch_size": 100}})
register("data", "nmnist", nmnist, suits={"": _EVENTS | {"epochs": 40}})
register("data", "nmnist-simulated", nmnist_simulated, suits={"": _EVENTS | {"epochs": 6}})

register(
    "data",
    "fsdd",
    data.load_spoken_digits,
    suits={
        "": {"network.coding": "events", "network.steps": 50, "network.hidden": (256, 256), "epochs": 40},
        "slayer": {"neuron.step_ms": 12.5, "neuron.tau_s_ms": 50.0},
    },
)

register("network", "dropconnect", networks.dropconnect)
register("network", "dropout", networks.dropout)
register(
    "network",
    "plif",
    networks.plif,
    suits={
        "": {"neuron.reset": "hard", "batch_size": 64, "learning_rate": 1e-3},
        "digits": _SMALL,
        "mnist": _LARGE,
        "fashion-mnist": _LARGE,
    },
)
register(
    "network",
    "slayer",
    networks.slayer,
    suits={
        "": {"neuron": "srm", "learning_rate": 1e-2},
        "digits": _LATENCY,
        "mnist": _LATENCY,
        "fashion-mnist": _LATENCY,
    },
)
register(
    "network",
    "vgg",
    networks.vgg,
    suits={
        "digits": _SMALL,
        "mnist": _VGG,
        "fashion-mnist": _VGG,
        "cifar10": {"network.hidden": (32, 64, 64, 128, 128, 256), "learning_rate": 5e-3, "batchnorm_inputs": 5000},
    },
)

register("neuron", "lif", lif)
register("neuron", "srm", srm)

register("method", "float", training.Float)
register("method", "direct", direct)
register("method", "indirect", indirect)
register("method", "distill", distill)

for _name, _term in training.REGULARIZERS.items():
    register("regularizer", _name, _term)
