"""The figures of a report: each drawn from the finished runs of one family and quantized part, with what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from tsnn_uq.experiments.storage import read_config
from tsnn_uq.results import figures, studies
from tsnn_uq.results.studies import Runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PREDICTED_ANEW", "STORED", "Drawn", "Shown"]

INPUTS = 1000  # that are predicted anew for a figure, at most


@dataclass(frozen=True)
class Shown:
    """The runs that figures are drawn from, and what they said of their test sets.

    Args:
        runs: the runs.
        predictions: by method, Monte Carlo probabilities [S, N, C] and labels [N].
        bins: of their calibration errors.
    """

    runs: Runs
    predictions: dict[str, tuple[Tensor, Tensor]]
    bins: int

    @classmethod
    def of(cls, runs: Runs) -> Shown:
        """Runs with their predictions, read from their folders."""
        first = next(iter(runs.folders.values()))
        return cls(runs, runs.predictions(), read_config(first)["bins"])

    @property
    def samples(self) -> int:
        """S."""
        return len(next(iter(self.predictions.values()))[0])

    @property
    def inputs(self) -> int:
        """N."""
        return len(next(iter(self.predictions.values()))[1])


@dataclass(frozen=True)
class Drawn:
    """A figure and what it shows.

    Args:
        figure: the figure.
        says: what is drawn.
        inputs: N, the inputs behind it; None where they play no part.
        sampled: whether Monte Carlo samples were drawn.
    """

    figure: Figure
    says: str
    inputs: int | None
    sampled: bool = True


def _reliability(shown: Shown) -> Drawn:
    bins = shown.bins
    means = {method: (probs.mean(0), labels) for method, (probs, labels) in shown.predictions.items()}
    says = (
        f"Above, accuracy against confidence in {bins} bins of equal width, with 95 % Wilson intervals: on the dashed "
        "diagonal a network is as often right as it says. Below, how many inputs have that confidence. "
        f"ECE: expected calibration error with {bins} bins."
    )
    return Drawn(figures.reliability_diagram(figures.reliability_table(means, bins)), says, shown.inputs)


def _entropy(shown: Shown) -> Drawn:
    says = (
        "Predictive entropy (above) and mutual information (below) of inputs that are classified rightly and wrongly, "
        "each group divided by its own size. A useful uncertainty puts the wrong ones to the right."
    )
    return Drawn(figures.entropy_histogram(figures.entropy_table(shown.predictions)), says, shown.inputs)


def _selective(shown: Shown) -> Drawn:
    says = (
        "Errors among the accepted inputs if only the share called coverage, those of least predictive entropy, is "
        "answered. A curve begins where the first error is accepted. AURC and AUGRC are areas, the smaller the better."
    )
    return Drawn(figures.selective_curves(figures.selective_table(shown.predictions)), says, shown.inputs)


def _variance(shown: Shown) -> Drawn:
    says = (
        "Monte Carlo variance of each input, ternary against float network: above, the darker a cell, the more inputs "
        "that both get right; a cross is an input that at least one gets wrong. Below, the mean difference by class. "
        "Intervals are 95 % of a paired bootstrap over inputs. Temperatures of the softmax are as trained, and a "
        "softer softmax alone lowers the variance."
    )
    return Drawn(figures.variance_scatter(studies.paired_variances(shown.runs)), says, shown.inputs)


def _weights(shown: Shown) -> Drawn:
    says = (
        "Weights of the float network by layer, coloured by the code that each has in the ternary network of the same "
        "seed. Dashed: where the method's rule would cut the float weights."
    )
    return Drawn(figures.weight_code_histogram(studies.weight_codes(shown.runs)), says, None)


def _fitted_variance(shown: Shown) -> Drawn:
    says = (
        "Monte Carlo variance of each input, ternary against float network, after each network's temperature was "
        "fitted on its own validation split; otherwise as the figure with temperatures as trained."
    )
    table = studies.paired_variances(shown.runs, recalibrate=True)
    return Drawn(figures.variance_scatter(table), says, shown.inputs)


def _shift(shown: Shown) -> Drawn:
    table = studies.shift_curves(shown.runs, inputs=INPUTS, bins=shown.bins)
    examples = studies.shifted_examples(shown.runs, inputs=INPUTS)
    says = (
        "Accuracy with 95 % Wilson intervals, predictive entropy and calibration error of test images that are "
        "rotated, noisy or blurred more and more. Above, one of them."
    )
    return Drawn(figures.shift_figure(table, examples), says, int(table["inputs"].iloc[0]))


def _anytime(shown: Shown) -> Drawn:
    table = studies.anytime_curves(shown.runs, inputs=INPUTS, bins=shown.bins)
    says = (
        "What fewer Monte Carlo samples and fewer time steps cost, with masks fixed over the time steps and with masks "
        "redrawn at each. Bands are standard deviations over random orders of the same samples, zero at the last."
    )
    return Drawn(figures.anytime_figure(table), says, min(INPUTS, shown.inputs))


def _sparsity(shown: Shown) -> Drawn:
    table = studies.layer_sparsity(shown.runs)
    says = "Share of zero weights, and spikes per neuron and time step, of each layer, without random masks."
    return Drawn(figures.layer_sparsity_chart(table), says, int(table["inputs"].iloc[0]), sampled=False)


def _potentials(shown: Shown) -> Drawn:
    table = studies.potential_distribution(shown.runs)
    says = "Membrane potentials before the reset, in firing thresholds, without random masks: from 1 on a neuron fires."
    return Drawn(figures.potential_histogram(table), says, int(table["inputs"].iloc[0]), sampled=False)


def _raster(shown: Shown) -> Drawn:
    says = "Which neurons fire at which time step for the first test input, without random masks."
    return Drawn(figures.spike_raster(studies.spike_trains(shown.runs)), says, None)


def _digits(shown: Shown) -> Drawn:
    table = studies.uncertain_inputs(shown.runs)
    says = (
        f"The test inputs that the {table['by'].iloc[0]} network is least sure of, and those that it gives the highest "
        "probability to a wrong class, with each network's mean prediction."
    )
    return Drawn(figures.digit_gallery(table, studies.pictures(shown.runs, table)), says, shown.inputs)


STORED: dict[str, Callable[[Shown], Drawn]] = {
    "Reliability": _reliability,
    "Entropy and mutual information": _entropy,
    "Selective prediction": _selective,
    "Variance, input by input": _variance,
    "Weights and their codes": _weights,
}
"""Figures, by title, of what the runs have stored."""
PREDICTED_ANEW: dict[str, Callable[[Shown], Drawn]] = {
    "Variance at fitted temperatures": _fitted_variance,
    "Shifted images": _shift,
    "Fewer samples, fewer time steps": _anytime,
    "Sparsity of weights and spikes": _sparsity,
    "Membrane potentials": _potentials,
    "Spikes": _raster,
    "The most uncertain inputs": _digits,
}
"""Figures for which networks predict anew, or data are needed."""
