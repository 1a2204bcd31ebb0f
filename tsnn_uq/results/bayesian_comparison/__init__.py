"""Bayesian comparison of results over seeds: how much methods differ, with what uncertainty."""

from tsnn_uq.results.bayesian_comparison.mcmc_diagnostics import Limits, effective_sample_size, split_r_hat
from tsnn_uq.results.bayesian_comparison.method_comparison import MethodComparison, compare_methods

__all__ = ["Limits", "MethodComparison", "compare_methods", "effective_sample_size", "split_r_hat"]
