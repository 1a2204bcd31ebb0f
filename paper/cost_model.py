"""The cost model for the authors' rows: the geometry of their networks, and the difference from their energies.

The time steps are not in the authors' table. They are inferred from the energy of the float rows.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pandas as pd

from paper.number_format import records
from tsnn_uq.cost import DRAM_FETCH_PJ, FLOAT_ADD_PJ, LayerCount, cost

__all__ = ["NETWORKS", "cost_rows", "effective_steps"]


def _fully_connected(*sizes: int) -> tuple[LayerCount, ...]:
    return tuple(LayerCount(f"{a}-{b}", "fc", weights=a * b, macs=a * b) for a, b in pairwise(sizes))


_MNIST = _fully_connected(784, 500, 500, 500, 10)
NETWORKS: dict[str, tuple[LayerCount, ...]] = {
    "SNN-Dropconnect": _MNIST,
    "SNN-Dropout": _MNIST,
    "SNN-Slayer": _fully_connected(34 * 34 * 2, 512, 10),
    "SNN-PLIF": (
        LayerCount("conv1", "conv", weights=128 * 9, macs=128 * 9 * 28**2),
        LayerCount("conv2", "conv", weights=128 * 128 * 9, macs=128 * 128 * 9 * 14**2),
        *_fully_connected(128 * 7**2, 2048, 100),
    ),
}
"""Layers without biases, which match the storage and FLOPs of the authors' float rows."""
KINDS = {"none": (), "FC": ("fc",), "2FC": ("fc",), "2Conv": ("conv",), "2Conv+2FC": ("conv", "fc")}


def effective_steps(theirs: pd.DataFrame, algorithm: str) -> float:
    """The energy of the authors' float row, divided by that of one time step in the cost model."""
    energy = theirs[(theirs["algorithm"] == algorithm) & (theirs["method"] == "none")]["energy_pj"].item()
    return energy / (sum(layer.macs for layer in NETWORKS[algorithm]) * (DRAM_FETCH_PJ + FLOAT_ADD_PJ))


def _layers(row: dict[str, Any]) -> list[LayerCount]:
    """Layers of a row, with its zeros distributed evenly over the ternary layers."""
    layers, kinds = NETWORKS[row["algorithm"]], KINDS[row["quantized_part"]]
    ternary = sum(layer.weights for layer in layers if layer.kind in kinds)
    zeros = row["sparsity_pct"] / 100 * sum(layer.weights for layer in layers)
    return [
        replace(layer, ternary=True, sparsity=zeros / ternary) if layer.kind in kinds else layer for layer in layers
    ]


def cost_rows(theirs: pd.DataFrame) -> pd.DataFrame:
    """The authors' energy of each row, and that of the cost model in both accountings, in pJ.

    Args:
        theirs: the authors' table.

    Returns:
        The names, ``energy_pj``, and ``paper_pj`` and ``layer_pj`` of the two accountings at the `effective_steps`.
    """
    rows = []
    for row in records(theirs):
        steps = effective_steps(theirs, row["algorithm"])
        energies = {way: cost(_layers(row), steps=steps, accounting=way).energy_pj for way in ("paper", "layer")}
        names = {name: row[name] for name in ("algorithm", "quantized_part", "method", "energy_pj")}
        rows.append({**names, "paper_pj": energies["paper"], "layer_pj": energies["layer"]})
    return pd.DataFrame(rows)
