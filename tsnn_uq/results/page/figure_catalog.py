"""The catalog of the page's figures, drawn from predictions of named networks or from trained runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.storage import read_config
from tsnn_uq.results import figures, studies
from tsnn_uq.results.paired_differences import NetworkTables
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.studies import Runs, RunsOrPredictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["PREDICTED_ANEW", "STORED", "DescribedFigure", "FigureSource", "draw_described", "prediction_figures"]

INPUTS = 1000  # largest number of inputs that networks predict again for a figure


@dataclass(frozen=True)
class FigureSource:
    """The data for figures.

    Args:
        tables: tables of the networks, and their predictions; figures show the first seed.
        source: the runs, whose networks can predict again; or the predictions, if there are no runs.
    """

    tables: NetworkTables
    source: RunsOrPredictions

    @classmethod
    def of(cls, runs: Runs) -> FigureSource:
        """The stored predictions of runs, with the number of bins in their settings."""
        bins = read_config(next(iter(runs.folders.values())))["bins"]
        return cls(NetworkTables(runs.predictions(), bins), runs)

    @property
    def networks(self) -> NamedPredictions:
        """What the networks predicted."""
        return self.tables.networks

    @property
    def bins(self) -> int:
        """Bins of calibration errors."""
        return self.tables.bins

    @property
    def runs(self) -> Runs:
        """The runs.

        Raises:
            InputError: there are none.
        """
        if not isinstance(self.source, Runs):
            raise InputError("networks: expected runs in a folder, whose networks can be loaded; got only predictions")
        return self.source

    @property
    def predictions(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By method, Monte Carlo probabilities [S, N, C] and labels [N]."""
        return self.networks.pairs()

    @property
    def samples(self) -> int:
        """Number of Monte Carlo samples S."""
        return self.networks.samples

    @property
    def inputs(self) -> int:
        """Number of test inputs N."""
        return len(self.networks.labels)


@dataclass(frozen=True)
class DescribedFigure:
    """A figure with its table and description.

    Args:
        draw: function that draws the figure from the table.
        table: the numbers in the figure.
        says: description of the figure.
        inputs: number of inputs N; None if the figure does not depend on inputs.
        sampled: whether Monte Carlo samples were drawn.
    """

    draw: Callable[[DataFrame], Figure]
    table: DataFrame
    says: str
    inputs: int | None
    sampled: bool = True

    @cached_property
    def figure(self) -> Figure:
        """The figure, drawn on first use."""
        return self.draw(self.table)


def prediction_figures(
    networks: NamedPredictions | NetworkTables, *, bins: int = 15
) -> dict[str, Callable[[], DescribedFigure]]:
    """All figures that can be drawn from predictions alone, by title.

    Args:
        networks: the networks, or their tables; figures show the first seed.
        bins: number of bins of calibration errors; tables have their own.

    Returns:
        Functions without arguments. Each returns a `DescribedFigure`, or raises an `InputError` that says what is
        missing in the predictions.
    """
    tables = networks if isinstance(networks, NetworkTables) else NetworkTables(networks, bins)
    shown = FigureSource(tables, tables.networks)
    drawings = dict(OF_PREDICTIONS)
    for name in shown.networks.foreign_names:
        drawings[f"Entropy of {name}"] = partial(_foreign_entropy, name=name)
        drawings[f"Detection of {name}"] = partial(_foreign_roc, name=name)
    drawings["Detection of foreign sets by each score"] = _detection
    return {title: partial(draw_described, shown, draw) for title, draw in drawings.items()}


def draw_described(shown: FigureSource, draw: Callable[[FigureSource], DescribedFigure]) -> DescribedFigure:
    """Draw a figure after adding data set, seed and reference to its table, from which its caption is made."""
    drawn = draw(shown)
    return replace(drawn, table=figures.describe(drawn.table, **shown.source.facts))


def _reliability(shown: FigureSource) -> DescribedFigure:
    bins = shown.bins
    says = (
        f"Top: accuracy against confidence in {bins} bins of equal width, with 95 % Wilson intervals; on the dashed "
        "diagonal, accuracy equals confidence. Bottom: number of inputs in each bin. "
        f"ECE: expected calibration error with {bins} bins."
    )
    return DescribedFigure(
        figures.reliability_diagram, figures.reliability_table(shown.predictions, bins), says, shown.inputs
    )


def _entropy(shown: FigureSource) -> DescribedFigure:
    says = (
        "Predictive entropy (top) and mutual information (bottom) of correctly and wrongly classified inputs; counts "
        "are divided by the size of each group. A useful uncertainty is higher for the wrong ones."
    )
    return DescribedFigure(figures.entropy_histogram, figures.entropy_table(shown.predictions), says, shown.inputs)


def _foreign_entropy(shown: FigureSource, name: str) -> DescribedFigure:
    says = (
        "Predictive entropy (top) and mutual information (bottom) of correctly and wrongly classified inputs, and of "
        f"the foreign inputs of {name}, for which a network should be uncertain; counts are divided by the size of "
        "each group."
    )
    foreign = studies.foreign_predictions(shown.source, name)
    table = figures.entropy_table(shown.predictions, outlier=foreign).assign(foreign=name)
    return DescribedFigure(figures.entropy_histogram, table, says, shown.inputs)


def _selective(shown: FigureSource) -> DescribedFigure:
    says = (
        "Errors among the accepted inputs, those of lowest predictive entropy, against their share of all inputs, the "
        "coverage. A curve is at 0 until the first error is accepted. AURC and AUGRC are areas; smaller is better."
    )
    return DescribedFigure(figures.selective_curves, figures.selective_table(shown.predictions), says, shown.inputs)


def _foreign_roc(shown: FigureSource, name: str) -> DescribedFigure:
    says = (
        f"Right: detection of the foreign inputs of {name} by predictive entropy, as the share of foreign inputs that "
        "are flagged against the share of test inputs that are flagged. Left: errors among the accepted test inputs."
    )
    foreign = studies.foreign_predictions(shown.source, name)
    table = figures.selective_table(shown.predictions, outlier=foreign).assign(foreign=name)
    return DescribedFigure(figures.selective_curves, table, says, shown.inputs)


def _detection(shown: FigureSource) -> DescribedFigure:
    if not shown.networks.foreign_names:
        raise InputError("foreign: expected predictions for foreign inputs; got none (add arrays foreign_NAME_probs)")
    table = studies.foreign_detection(shown.source)
    says = (
        "AUROC of detecting each foreign set among the test inputs, for each score that can be computed: energy and "
        "ViM need logits; detectors need features of the test, foreign and training (or validation) inputs. Bold: the "
        "best."
    )
    return DescribedFigure(figures.detection_heatmap, table, says, shown.inputs)


def _variance(shown: FigureSource) -> DescribedFigure:
    says = (
        f"Monte Carlo variance of each input against that of {shown.networks.reference}. Top: the darker a cell, the "
        "more inputs that both classify correctly; crosses are inputs that at least one classifies wrongly. Bottom: "
        "the mean difference by class, with 95 % intervals of a paired bootstrap over inputs. Predictions are not "
        "temperature-scaled; a softer softmax alone lowers the variance."
    )
    table = figures.variance_table(studies.paired_variances(shown.networks))
    return DescribedFigure(figures.variance_scatter, table, says, shown.inputs)


def _weights(shown: FigureSource) -> DescribedFigure:
    says = (
        "Weights of the float network by layer, coloured by their code in the ternary network of the same seed. "
        "Dashed: thresholds of the method's rule for the float weights."
    )
    return DescribedFigure(figures.weight_code_histogram, studies.weight_histograms(shown.runs), says, None)


def _fitted_variance(shown: FigureSource) -> DescribedFigure:
    says = (
        "Monte Carlo variance of each input, as in the figure without temperature scaling, after temperature scaling "
        "of each network on its own validation part."
    )
    table = figures.variance_table(studies.paired_variances(shown.networks, recalibrate=True))
    return DescribedFigure(figures.variance_scatter, table, says, shown.inputs)


def _shift(shown: FigureSource) -> DescribedFigure:
    table = studies.shift_curves(shown.runs, inputs=INPUTS, bins=shown.bins)
    table = figures.with_pictures(table, ["shift", "amount"], studies.shifted_examples(shown.runs, inputs=INPUTS))
    says = (
        "Accuracy with 95 % Wilson intervals, predictive entropy and calibration error of test images with increasing "
        "rotation, noise or blur. Top: one of them."
    )
    return DescribedFigure(figures.shift_figure, table, says, int(table["inputs"].iloc[0]))


def _anytime(shown: FigureSource) -> DescribedFigure:
    table = studies.anytime_curves(shown.source, inputs=INPUTS, bins=shown.bins, repeats=8)
    masks = (
        "" if set(table["mask"]) == {""} else ", with masks fixed over the time steps and with masks redrawn at each"
    )
    says = (
        f"The effect of fewer Monte Carlo samples and fewer time steps{masks}. Bands are standard deviations over "
        "random orders of the same samples, up to a quarter of them."
    )
    return DescribedFigure(figures.anytime_figure, table, says, int(table["inputs"].iloc[0]))


def _stopping(shown: FigureSource) -> DescribedFigure:
    table = studies.stopping_curves(shown.source)
    says = (
        "Loss of accuracy, and coverage, if inputs are stopped before the last time step, against the steps saved; "
        "rules are calibrated on the validation part. Crosses are the promised values."
    )
    return DescribedFigure(figures.stopping_figure, table, says, shown.inputs)


def _doubt(shown: FigureSource) -> DescribedFigure:
    answers = next((of.answers for of in shown.networks.first().values() if of.answers is not None), None)
    if answers is None:
        raise InputError("answers: expected counts of people's answers [N, C]; got none (add an array answers)")
    table = studies.compare_with_people(shown.predictions, answers, seed=shown.networks.seed)
    says = "Entropy of networks against the entropy of people's answers to the same inputs, and their correlations."
    return DescribedFigure(figures.doubt_figure, table, says, shown.inputs)


def _sparsity(shown: FigureSource) -> DescribedFigure:
    table = studies.layer_sparsity(shown.runs)
    says = "Share of zero weights, and spikes per neuron and time step, of each layer, without random masks."
    return DescribedFigure(figures.layer_sparsity_chart, table, says, int(table["inputs"].iloc[0]), sampled=False)


def _potentials(shown: FigureSource) -> DescribedFigure:
    table = studies.potential_distribution(shown.runs)
    says = "Membrane potentials before the reset, in thresholds, without random masks; neurons fire from 1 on."
    return DescribedFigure(figures.potential_histogram, table, says, int(table["inputs"].iloc[0]), sampled=False)


def _raster(shown: FigureSource) -> DescribedFigure:
    says = "Spikes of neurons at each time step for the first test input, without random masks."
    return DescribedFigure(figures.spike_raster, studies.spike_trains(shown.runs), says, None)


def _digits(shown: FigureSource) -> DescribedFigure:
    table = studies.uncertain_inputs(shown.networks)
    says = (
        f"The test inputs for which the {table['by'].iloc[0]} network is most uncertain, and those for which it gives "
        "the highest probability to a wrong class, with the mean prediction of each network."
    )
    table = figures.with_pictures(table, "input", studies.input_pictures(shown.source, table))
    return DescribedFigure(figures.digit_gallery, table, says, shown.inputs)


def _tradeoff(shown: FigureSource) -> DescribedFigure:
    known = [name for name in shown.networks.names if all(of.costs for of in shown.networks.members[name])]
    if len(known) < 2:
        wanted = "costs such as storage_bytes or energy_pj of at least two networks"
        raise InputError(f"costs: expected {wanted}; got those of {', '.join(known) or 'none'} (add such arrays)")
    table = studies.tradeoff_table(shown.tables.summary)
    says = (
        "Means over seeds with sample standard deviations. The grey line is the Pareto front of means. Predictive "
        "entropy has no front, since neither more nor less is better."
    )
    return DescribedFigure(figures.tradeoff_figure, table.dropna(subset=["cost_value"]), says, shown.inputs)


STORED: dict[str, Callable[[FigureSource], DescribedFigure]] = {
    "Reliability": _reliability,
    "Entropy and mutual information": _entropy,
    "Selective prediction": _selective,
    "Variance, input by input": _variance,
    "Weights and their codes": _weights,
}
"""Figures from stored results of runs, by title."""
PREDICTED_ANEW: dict[str, Callable[[FigureSource], DescribedFigure]] = {
    "Variance at fitted temperatures": _fitted_variance,
    "Shifted images": _shift,
    "Fewer samples, fewer time steps": _anytime,
    "Sparsity of weights and spikes": _sparsity,
    "Membrane potentials": _potentials,
    "Spikes": _raster,
    "The most uncertain inputs": _digits,
}
"""Figures for which networks predict again, or data are needed, by title."""
OF_PREDICTIONS: dict[str, Callable[[FigureSource], DescribedFigure]] = {
    "Reliability": _reliability,
    "Entropy and mutual information": _entropy,
    "Selective prediction": _selective,
    "Variance, input by input": _variance,
    "Variance at fitted temperatures": _fitted_variance,
    "Fewer samples, fewer time steps": _anytime,
    "Stopping early": _stopping,
    "The most uncertain inputs": _digits,
    "People's doubts": _doubt,
    "Accuracy and uncertainty against cost": _tradeoff,
}
"""Figures from predictions alone, by title, except those for each foreign set."""
