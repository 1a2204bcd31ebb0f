"""Histograms of full-precision weights by their codes after ternary training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.experiments.storage import load_network
from tsnn_uq.quantization import by_group, make_rule, select_layers
from tsnn_uq.quantization.rules import ternary_parts
from tsnn_uq.results.studies.run_selection import Runs

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["weight_histograms", "weight_layers"]

_REACH = 0.999  # share of a layer's float weights within the bins; others are counted in the outermost two


def weight_layers(network: nn.Module) -> dict[str, Tensor]:
    """The weights of each fully connected or convolutional layer, by a name with its position and size.

    Example:
        >>> list(weight_layers(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(32, 10))))
        ['conv 1: 1-8', 'fc 2: 32-10']
    """
    named = {}
    for place, layer in enumerate(select_layers(network).values(), start=1):
        weight: Any = layer.weight
        kind = "fc" if isinstance(layer, nn.Linear) else "conv"
        named[f"{kind} {place}: {weight.shape[1]}-{weight.shape[0]}"] = weight.detach()
    return named


def weight_histograms(runs: Runs, *, bins: int = 60) -> DataFrame:
    """Histograms of the float network's weights, split by their code in a ternary network of the same seed.

    Args:
        runs: runs of float and at least one ternary method.
        bins: number of bins of equal width in each layer, symmetric about 0. They span 99.9 % of the float weights; the
            outermost two also count the others.

    Returns:
        A row for each ternary ``method``, ternary ``layer``, ``code`` (-1, 0, +1) and bin (``bin_low``, ``bin_high``,
        float weights): the ``count`` of weights and their ``share`` of the layer's weights. The same in all rows of a
        layer are ``weights``, their number; ``code_share``, the share of this code (of 0: the sparsity); ``threshold``,
        the threshold that the method's rule has for the *float* weights (mean over output channels if each has its own;
        NaN if it is learned); and ``agreement``, the share of weights whose code is that of this threshold (NaN
        likewise).

    Raises:
        InputError: the float run or every ternary one is missing.
    """
    import pandas as pd

    check_positive("bins", bins, integer=True)
    if "float" not in runs.folders or len(runs.folders) < 2:
        wanted = "float and a ternary method"
        raise InputError(f"methods: expected {wanted}; got {', '.join(runs.folders)}")
    before = weight_layers(load_network(runs.folders["float"]))
    tables = []
    for method, folder in runs.folders.items():
        if method == "float":
            continue
        for layer, after in weight_layers(load_network(folder)).items():
            parts = ternary_parts(after)
            if parts is not None:
                table = pd.DataFrame(
                    _histogram(before[layer], parts[0], bins) | _threshold_agreement(before[layer], parts[0], folder)
                )
                tables.append(table.assign(method=method, layer=layer))
    columns = ["method", "layer", "code", "bin_low", "bin_high", "count", "share", "weights", "code_share"]
    return pd.concat(tables, ignore_index=True)[[*columns, "threshold", "agreement"]]


def _histogram(weight: Tensor, codes: Tensor, bins: int) -> dict[str, Any]:
    """Columns of the histograms of the three codes, one below the other."""
    values, coded = weight.double().flatten().numpy(), codes.flatten().numpy()
    reach = np.quantile(np.abs(values), _REACH) or 1.0  # all weights may be zero
    edges = np.linspace(-reach, reach, bins + 1)
    counts = [np.histogram(values[coded == code].clip(-reach, reach), edges)[0] for code in (-1, 0, 1)]
    return {
        "code": np.repeat([-1, 0, 1], bins),
        "bin_low": np.tile(edges[:-1], 3),
        "bin_high": np.tile(edges[1:], 3),
        "count": np.concatenate(counts),
        "share": np.concatenate(counts) / values.size,
        "weights": values.size,
        "code_share": np.repeat([count.sum() / values.size for count in counts], bins),
    }


def _threshold_agreement(weight: Tensor, codes: Tensor, folder: Path) -> dict[str, float]:
    """Threshold of a run's rule for the float weights, and the share of codes that agree with it."""
    config = Settings.load(folder / "config.toml")
    method = config.make("method")
    if getattr(method, "rule", "learned") == "learned":
        return {"threshold": float("nan"), "agreement": float("nan")}
    groups = by_group(weight, method.scale)
    rule = method.rule if callable(method.rule) else make_rule(method.rule, method.options)
    threshold = rule(groups.abs())
    cut = (groups.sign() * (groups.abs() > threshold)).reshape(codes.shape)
    return {"threshold": threshold.mean().item(), "agreement": (cut == codes).double().mean().item()}
