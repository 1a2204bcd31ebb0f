"""Figures: each is a function that takes a table and returns a `matplotlib.figure.Figure`."""

from tsnn_uq.results.figures.ablation import ablation_figure, ablation_table
from tsnn_uq.results.figures.activity import layer_sparsity_chart, potential_histogram, spike_raster
from tsnn_uq.results.figures.anytime import anytime_figure
from tsnn_uq.results.figures.captions import describe
from tsnn_uq.results.figures.corruption import corruption_figure
from tsnn_uq.results.figures.detection import detection_heatmap
from tsnn_uq.results.figures.entropy import entropy_histogram, entropy_table
from tsnn_uq.results.figures.firing_rates import firing_rate_figure
from tsnn_uq.results.figures.human_uncertainty import doubt_figure
from tsnn_uq.results.figures.input_pictures import with_pictures
from tsnn_uq.results.figures.posterior_differences import posterior_differences, posterior_table
from tsnn_uq.results.figures.posteriors import posteriors_figure, posteriors_table
from tsnn_uq.results.figures.reliability import reliability_diagram, reliability_table
from tsnn_uq.results.figures.selective import selective_curves, selective_table
from tsnn_uq.results.figures.shift import shift_figure
from tsnn_uq.results.figures.stopping import stopping_figure
from tsnn_uq.results.figures.style import METHOD_COLORS, save_figure, save_plot, style
from tsnn_uq.results.figures.tradeoff import energy_figure, tradeoff_figure
from tsnn_uq.results.figures.uncertain_inputs import digit_gallery
from tsnn_uq.results.figures.variance import variance_scatter, variance_table
from tsnn_uq.results.figures.weight_histograms import weight_code_histogram

__all__ = [
    "METHOD_COLORS",
    "ablation_figure",
    "ablation_table",
    "anytime_figure",
    "corruption_figure",
    "describe",
    "detection_heatmap",
    "digit_gallery",
    "doubt_figure",
    "energy_figure",
    "entropy_histogram",
    "entropy_table",
    "firing_rate_figure",
    "layer_sparsity_chart",
    "posterior_differences",
    "posterior_table",
    "posteriors_figure",
    "posteriors_table",
    "potential_histogram",
    "reliability_diagram",
    "reliability_table",
    "save_figure",
    "save_plot",
    "selective_curves",
    "selective_table",
    "shift_figure",
    "spike_raster",
    "stopping_figure",
    "style",
    "tradeoff_figure",
    "variance_scatter",
    "variance_table",
    "weight_code_histogram",
    "with_pictures",
]
