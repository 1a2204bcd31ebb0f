"""Our rows in the layout of the paper's table (Wu et al., doi:10.1007/s11704-025-51519-1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = ["paper_table"]

NAMES = {
    "dropconnect": "SNN-Dropconnect",
    "dropout": "SNN-Dropout",
    "slayer": "SNN-Slayer",
    "plif": "SNN-PLIF",
    "float": "none",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
}
COLUMNS = {
    **{"accuracy_pct_mean": "accuracy_pct", "accuracy_pct_std": "accuracy_std"},
    **{"sparsity_pct_mean": "sparsity_pct", "sparsity_pct_std": "sparsity_std"},
    **{
        f"{name}_mean": name
        for name in (
            *("predictive_entropy_nats", "normalized_entropy", "mutual_information_nats"),
            *("predictive_variance", "predictive_std"),
        )
    },
    "storage_mb_mean": "storage_mb",
    **{"energy_pj_mean": "energy_pj", "energy_pj_std": "energy_pj_std"},
    **{"flops_m_mean": "flops_m", "flops_m_std": "flops_m_std"},
}


def paper_table(summary: DataFrame) -> DataFrame:
    """Lay out a summary like the paper's table, with its names, order of rows and units.

    The paper's "uncertainty", which it does not define, is replaced by five columns. Float rows have the method
    ``"none"``.

    Args:
        summary: as returned by `tsnn_uq.results.tables.summarize`, with ``dataset`` and ``configuration``.

    Returns:
        A row for each dataset, algorithm, configuration, quantized part and method.
    """
    import pandas as pd

    families, methods = list(NAMES)[:4], ("float", "indirect", "direct", "distill")
    parts = ("none", "conv", "fc", "inner", "all")

    def rank(column: str, names: Sequence[str]) -> Series[int]:
        """Ranks in the paper's order; names that it does not have come last."""
        return summary[column].map(lambda name: names.index(name) if name in names else len(names))

    order = summary.assign(
        family=rank("family", families), quantized_part=rank("quantized_part", parts), method=rank("method", methods)
    ).sort_values(["family", "dataset", "quantized_part", "method"])
    rows = summary.loc[order.index]
    names = pd.DataFrame(
        {
            "dataset": rows["dataset"].replace(NAMES),
            "algorithm": rows["family"].replace(NAMES),
            "configuration": rows["configuration"],
            "quantized_part": [
                _part(part, configuration)
                for part, configuration in zip(rows["quantized_part"], rows["configuration"], strict=True)
            ],
            "method": rows["method"].replace(NAMES),
        }
    )
    return pd.concat([names, rows[["seeds", *COLUMNS]].rename(columns=COLUMNS)], axis=1).reset_index(drop=True)


def _part(part: str, configuration: str) -> str:
    """The quantized layers of a configuration, such as ``"2Conv"`` of ``"2Conv+2FC"``."""
    if part == "none":
        return "none"
    if part == "inner":
        return f"inner {configuration}"
    kinds = {"conv": "Conv", "fc": "FC", "all": ""}
    return "+".join(layers for layers in configuration.split("+") if layers.endswith(kinds[part]))
