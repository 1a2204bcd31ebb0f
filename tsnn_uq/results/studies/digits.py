"""The inputs that a method is least sure of, and those it is surely wrong about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.data import Dataset, EventDataset
from tsnn_uq.metrics.functional import predictive_entropy
from tsnn_uq.results.studies.inputs import own_inputs
from tsnn_uq.results.studies.needed import Runs

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["pictures", "uncertain_inputs"]


def uncertain_inputs(runs: Runs, *, by: str = "", count: int = 8) -> DataFrame:
    """The most uncertain test inputs, and the most confidently wrong ones, with every method's mean prediction.

    Args:
        runs: the runs.
        by: the method whose uncertainty orders the inputs; by default the first ternary one, else float.
        count: inputs of either group, at most.

    Returns:
        For each ``group`` (``"uncertain"``: the highest predictive entropy; ``"wrong"``: the highest probability given
        to a wrong class), ``rank`` from 1, ``method`` and ``class`` its ``probability``, the mean over samples; with
        ``input`` (place in the test set), ``label``, and of the method ``predicted`` and ``predictive_entropy_nats``;
        and ``by``. Fewer than `count` are wrong where a method makes fewer errors.

    Raises:
        InputError: `by` is not among the runs, or `count` is not positive.
    """
    import pandas as pd

    check_positive("count", count, integer=True)
    by = check_choice("by", by or next((m for m in runs.folders if m != "float"), "float"), runs.folders)
    means = runs.mean_predictions()
    labels = means[by][1]
    for method, (_, others) in means.items():
        if not torch.equal(labels, others):
            raise InputError(f"runs: expected the same test inputs of {by} and {method}; got others")
    entropies = {m: predictive_entropy(probs[None].double(), reduction="none") for m, (probs, _) in means.items()}
    groups = {"uncertain": _first(entropies[by], count), "wrong": _confidently_wrong(*means[by], count)}
    rows = []
    for group, chosen in groups.items():
        for rank, place in enumerate(chosen, start=1):
            for method, (probs, _) in means.items():
                names = {"group": group, "rank": rank, "input": place, "label": int(labels[place]), "method": method}
                entropy = float(entropies[method][place])
                names |= {"predicted": int(probs[place].argmax()), "predictive_entropy_nats": entropy}
                rows += [{**names, "class": c, "probability": p} for c, p in enumerate(probs[place].tolist())]
    return pd.DataFrame(rows).assign(by=by)


def pictures(runs: Runs, table: DataFrame) -> dict[int, Tensor]:
    """By place in the test set, a picture [H, W] in [0, 1] of each input of a table of `uncertain_inputs`.

    An image is its own picture; of a recording it is the number of events of each pixel, of both polarities and the
    whole window, divided by the largest.
    """
    dataset = own_inputs(runs)
    return {place: _picture(dataset, place) for place in map(int, table["input"].unique())}


def _picture(dataset: Dataset, place: int) -> Tensor:
    if not isinstance(dataset, EventDataset):
        if len(dataset.shape) != 3:
            raise InputError(f"data: expected images to draw; got inputs of shape {list(dataset.shape)}")
        return dataset.select(torch.tensor([place])).images[0].mean(0)
    events = dataset.events(place)
    height, width = dataset.shape[1:]
    places = torch.from_numpy(events.y * width + events.x)
    counts = torch.bincount(places, minlength=height * width).reshape(height, width).float()
    return counts / counts.max().clamp(min=1)


def _first(values: Tensor, count: int) -> list[int]:
    """Places of the largest values, of equal ones the first."""
    return values.argsort(descending=True, stable=True)[:count].tolist()


def _confidently_wrong(probs: Tensor, labels: Tensor, count: int) -> list[int]:
    confidence, predicted = probs.max(-1)
    wrong = predicted != labels
    return _first(confidence.double().masked_fill(~wrong, -1), min(count, int(wrong.sum())))
