"""Bayesian comparison of results over seeds: by how much methods differ, and how sure that is."""

from tsnn_uq.results.comparison.compare import Comparison, compare_methods
from tsnn_uq.results.comparison.diagnostics import Limits, effective_sample_size, split_r_hat

__all__ = ["Comparison", "Limits", "compare_methods", "effective_sample_size", "split_r_hat"]
