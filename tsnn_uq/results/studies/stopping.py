"""Early stopping with guarantees: steps saved, accuracy lost and energy of decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from tsnn_uq import data
from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError
from tsnn_uq.cost import ACCOUNTINGS, conventional_energy, count_activity, count_layers, decision_energy, step_energy
from tsnn_uq.devices import use_threads
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.metrics.functional import early_exit
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.studies.run_inputs import draw_inputs, own_inputs, run_settings
from tsnn_uq.results.studies.run_selection import Runs, RunsOrPredictions
from tsnn_uq.seeds import generator_for
from tsnn_uq.stopping import ConformalStopping, RiskControlledExit, StoppingRule, stopping_summary
from tsnn_uq.uncertainty import mc_predict, set_generator

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["stopping_curves"]

_BLOCK = 50  # inputs per pass

Energy = dict[str, Tensor]
"""Energy in pJ of each step of each input [T, N], by accounting."""


def stopping_curves(
    source: RunsOrPredictions,
    *,
    epsilons: Sequence[float] = (0.002, 0.005, 0.01, 0.02, 0.05),
    alphas: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2),
    thresholds: Sequence[float] = (0.5, 0.7, 0.9, 0.95, 0.99),
    delta: float = 0.05,
    inputs: int | None = None,
) -> DataFrame:
    """Results of stopping rules on the test part, after calibration on the validation part of each network.

    Decisions use the mean over Monte Carlo samples after each time step. The networks of runs predict again. Given
    predictions need a time axis in both parts, and have no energies, since counting operations needs the network.
    Energies are those of all S passes, with the spikes of the network without random masks. The network without spikes
    also runs S times, with a single step each.

    Args:
        source: runs of one data set, T and S; or predictions, of which the first seed is used.
        epsilons: accuracy gaps that `RiskControlledExit` guarantees with probability 1 - `delta`.
        alphas: error rates of `ConformalStopping`, which stops at one class and guarantees a coverage of 1 - alpha.
        thresholds: confidences of `early_exit`, which has no guarantee.
        delta: error probability of risk control.
        inputs: for runs, largest number of inputs per part; by default all.

    Returns:
        A row for each ``method`` and rule. ``rule`` is ``"risk-control"``, ``"conformal"``, ``"early-exit"`` or ``"all
        steps"``; ``promise`` is epsilon, 1 - alpha, or the threshold; ``mean_steps``, ``saved`` (share of all steps),
        ``accuracy_gap``, ``accuracy`` and ``coverage`` are measured on the test part; ``fetch-all_pj``,
        ``operations_pj`` and ``fetch-spikes_pj`` are mean energies of a decision (`tsnn_uq.cost.step_energy`);
        ``steps_std`` and ``..._pj_std`` are standard deviations over inputs. Rows
        with ``rule`` ``"8 bits"`` or ``"2 bits"`` only have the energies of the network without spikes
        (`tsnn_uq.cost.conventional_energy`). All rows have the numbers of ``inputs`` and ``calibration`` inputs,
        ``steps``, ``samples`` and ``delta``.

    Raises:
        InputError: an option is out of range, or data cannot be loaded.
    """
    import pandas as pd

    rules: list[tuple[str, float, StoppingRule]] = [
        *(("risk-control", epsilon, RiskControlledExit(epsilon, delta)) for epsilon in epsilons),
        *(("conformal", 1 - alpha, ConformalStopping(alpha)) for alpha in alphas),
    ]
    rows: list[dict[str, Any]] = []
    for method, one in (
        _from_predictions(source) if isinstance(source, NamedPredictions) else _from_runs(source, inputs)
    ):
        probs, labels, energy = one.test, one.labels, one.energy
        common = {"method": method, "inputs": len(labels), "calibration": len(one.held_out_labels)}
        common |= {"steps": len(probs), "samples": one.samples, "delta": delta}
        for rule, promise, fitted in rules:
            fitted.fit(one.held_out, one.held_out_labels)
            rows.append(common | {"rule": rule, "promise": promise} | _stopped(probs, labels, fitted, energy))
        for threshold in thresholds:
            found = _left(probs, labels, threshold, energy)
            rows.append(common | {"rule": "early-exit", "promise": threshold} | found)
        rows.append(common | {"rule": "all steps"} | _left(probs, labels, float("inf"), energy))
        rows += [common | {"rule": name} | prices for name, prices in one.conventional]
    first = ["method", "rule", "promise", "mean_steps", "steps_std", "saved", "accuracy_gap", "accuracy", "coverage"]
    table = pd.DataFrame(rows)
    return table[first + [name for name in table if name not in first]]


class Steps(NamedTuple):
    """Predictions of a network after each time step, averaged over samples, and the energy of the steps."""

    held_out: Tensor  #: [T, M, C]
    held_out_labels: Tensor
    test: Tensor  #: [T, N, C]
    labels: Tensor
    samples: int
    energy: Mapping[str, Tensor] = MappingProxyType({})
    conventional: Sequence[tuple[str, dict[str, float]]] = ()


def _from_predictions(networks: NamedPredictions) -> Iterator[tuple[str, Steps]]:
    """Given predictions."""
    for name, of in networks.first().items():
        parts = of.part("validation"), of.test
        over_time = [part.over_time for part in parts if part.over_time is not None]
        if len(over_time) < 2:
            needed = "probs and validation_probs of shape [S, T, N, C], after each time step"
            raise InputError(f"{name}: expected {needed}; got arrays without a time axis")
        if over_time[0].shape[1] != over_time[1].shape[1]:
            found = " and ".join(str(part.shape[1]) for part in over_time)
            raise InputError(f"{name}: expected the same number of time steps in both parts; got {found}")
        held_out, test = (part.mean(0) for part in over_time)
        yield name, Steps(held_out, parts[0].pair[1], test, networks.labels, len(over_time[1]))


def _from_runs(runs: Runs, inputs: int | None) -> Iterator[tuple[str, Steps]]:
    """New predictions of the runs' networks, and their energies."""
    configs = run_settings(runs)
    test = own_inputs(runs, inputs)
    for method, config in configs.items():
        network = runs.network(method)
        held_out = draw_inputs(load_splits(config, runs.data_dir).validation, inputs)
        with use_threads(config.threads):
            calibration, probs = (_over_time(network, part, config) for part in (held_out, test))
            energy, conventional = _energies(network, test, config)
        yield method, Steps(calibration, held_out.labels, probs, test.labels, config.samples, energy, conventional)


def _over_time(network: nn.Module, dataset: data.Dataset, config: Settings) -> Tensor:
    """Mean probabilities over the samples after each time step [T, N, C], float64.

    In float32, probabilities underflow to 0 if logits differ by more than 104, and their order is lost.
    """
    draw = partial(mc_predict, samples=config.samples, per_step=True, output=Tensor.double)
    generator = generator_for(config.seed, "stopping", dataset.name)
    parts = [draw(network, block, generator=generator).mean(0).cpu() for block in dataset.images.split(_BLOCK)]
    return torch.cat(parts, dim=1)


def _energies(
    network: nn.Module, dataset: data.Dataset, config: Settings
) -> tuple[Energy, list[tuple[str, dict[str, float]]]]:
    """Energies of all passes by step, and those of the network without spikes."""
    set_generator(network, generator_for(config.seed, "activity"))  # a random input coding needs one
    images = dataset.images.to(device_of(network))
    layers = count_layers(network, images[:1])
    activity = count_activity(network, images, batch_size=_BLOCK)
    energy = {name: config.samples * step_energy(layers, activity, name) for name in ACCOUNTINGS}
    once = [
        (f"{bits} bits", {f"{of}_pj": config.samples * conventional_energy(layers, bits, of) for of in ACCOUNTINGS})
        for bits in (8, 2)
    ]
    return energy, once


def _stopped(probs: Tensor, labels: Tensor, rule: StoppingRule, energy: Mapping[str, Tensor]) -> dict[str, float]:
    points = stopping_summary(probs, labels, rule)
    names = ("mean_steps", "saved", "accuracy_gap", "accuracy", "coverage")
    measured = {name: getattr(points, name).item() for name in names}
    return measured | _over_inputs(energy, rule.stop(probs).steps)


def _left(probs: Tensor, labels: Tensor, threshold: float, energy: Mapping[str, Tensor]) -> dict[str, float]:
    """The same for `early_exit`, which has no prediction sets."""
    points = early_exit(probs, labels, threshold)
    full = probs[-1].argmax(-1) == labels
    early = probs.argmax(-1).gather(0, points.steps[None] - 1)[0] == labels
    mean_steps = points.mean_steps.item()
    measured = {"mean_steps": mean_steps, "saved": 1 - mean_steps / len(probs)}
    measured |= {"accuracy_gap": (full & ~early).double().mean().item(), "accuracy": points.accuracy.item()}
    return measured | _over_inputs(energy, points.steps)


def _over_inputs(energy: Mapping[str, Tensor], steps: Tensor) -> dict[str, float]:
    """Spread of the steps over inputs, and mean and spread of the energies."""
    found = {"steps_std": steps.double().std(correction=0).item()}
    for name, by_step in energy.items():
        each = decision_energy(by_step, steps).double()
        found |= {f"{name}_pj": each.mean().item(), f"{name}_pj_std": each.std(correction=0).item()}
    return found
