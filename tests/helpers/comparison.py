"""Results of made-up runs, and the comparison's model written out row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd


def made_up_results(
    families: Sequence[str] = ("dropout", "dropconnect"),
    methods: Sequence[str] = ("float", "direct", "distill"),
    seeds: int = 4,
    seed: int = 0,
    parts: Sequence[str] = ("all",),
) -> pd.DataFrame:
    """Methods that cost accuracy and add entropy, by factors that differ a little between families."""
    random = np.random.default_rng(seed)
    rows = []
    for family in families:
        shared = random.normal(0, 0.03, seeds)
        for method in methods:
            for part in ["none"] if method == "float" else parts:
                effect = 0.3 * methods.index(method) + random.normal(0, 0.05)
                for run in range(seeds):
                    log = effect + shared[run] + random.normal(0, 0.05)
                    names = {"family": family, "quantized_part": part, "method": method, "seed": run}
                    error, entropy = 0.02 * math.exp(log), 0.05 * math.exp(2 * log)
                    rows.append({**names, "accuracy": 1 - error, "predictive_entropy": entropy, "sparsity": 0.0})
    return pd.DataFrame(rows)


def plain_covariance(results: pd.DataFrame, tau: float, upsilon: float, sigma: dict[str, float]) -> np.ndarray:
    """Covariance of the rows from the model's formula, pair by pair."""
    rows = results.to_dict("records")
    covariance = np.zeros((len(rows), len(rows)))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            family = a["family"] == b["family"]
            treatment = (a["quantized_part"], a["method"]) == (b["quantized_part"], b["method"])
            covariance[i, j] = 4 * family + 4 * treatment + tau**2 * (family and treatment)
            covariance[i, j] += upsilon**2 * (family and a["seed"] == b["seed"]) + sigma[a["method"]] ** 2 * (i == j)
    return covariance
