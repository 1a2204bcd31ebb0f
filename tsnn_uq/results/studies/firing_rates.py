"""Accuracy, uncertainty and energy of networks with different firing rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsnn_uq.cost import ACCOUNTINGS, count_activity, count_layers, step_energy
from tsnn_uq.experiments.storage import read_row
from tsnn_uq.results.studies.activity import hidden_rate, shown_inputs
from tsnn_uq.results.studies.run_selection import Runs

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["firing_rates"]


def firing_rates(comparisons: Sequence[Runs], *, inputs: int = 500) -> DataFrame:
    """Accuracy, uncertainty and energy of networks against the firing rate of their hidden neurons.

    Args:
        comparisons: runs of one family, each trained with a different weight of a regularizer.
        inputs: largest number N of test inputs to count spikes on, without random masks; accuracy and uncertainty are
            those of the whole test set.

    Returns:
        A row for each comparison and ``method``: ``rate``, spikes per hidden neuron, time step and input;
        ``regularizer`` and its ``weight`` (0 for none); ``accuracy``, ``scaled_ece`` (fractions),
        ``predictive_entropy`` (nats); and mean energies of one pass over all steps, ``fetch-all_pj``,
        ``operations_pj`` and ``fetch-spikes_pj`` (`tsnn_uq.cost.step_energy`). ``inputs`` is N.

    Raises:
        InputError: data are missing, or `inputs` is not a positive whole number.
    """
    import pandas as pd

    rows = []
    for runs in comparisons:
        for method, folder in runs.folders.items():
            network, images, config = shown_inputs(runs, method, inputs)
            row, layers = read_row(folder), count_layers(network, images[:1])
            activity = count_activity(network, images, batch_size=50)
            energies = {f"{of}_pj": step_energy(layers, activity, of).sum(0).mean().item() for of in ACCOUNTINGS}
            weight = config.regularizer_weight if config.regularizer.name != "none" else 0.0
            found = {"method": method, "regularizer": config.regularizer.name, "weight": weight}
            found |= {"rate": hidden_rate(network, images), "inputs": len(images)}
            measured = {name: row[name] for name in ("accuracy", "scaled_ece", "predictive_entropy")}
            rows.append(found | measured | energies)
    return pd.DataFrame(rows).sort_values(["method", "weight"], kind="stable", ignore_index=True)
