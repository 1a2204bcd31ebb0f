"""The most uncertain inputs of a method, and the inputs that are most confidently wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.data import EventDataset
from tsnn_uq.metrics.functional import predictive_entropy
from tsnn_uq.results.predictions import NamedPredictions
from tsnn_uq.results.studies.run_inputs import own_inputs
from tsnn_uq.results.studies.run_selection import Runs, RunsOrPredictions

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["input_pictures", "uncertain_inputs"]


def uncertain_inputs(networks: NamedPredictions, *, by: str = "", count: int = 8) -> DataFrame:
    """The most uncertain test inputs, and the most confidently wrong ones, with the mean predictions of all methods.

    Args:
        networks: predictions, of which the first seed is used.
        by: name of the network that orders the inputs; by default the first that is not the reference.
        count: largest number of inputs per group.

    Returns:
        A row for each ``group`` (``"uncertain"``: highest predictive entropy; ``"wrong"``: highest probability of a
        wrong class), ``rank`` from 1, ``method`` and ``class``, with the ``probability``, averaged over samples;
        ``input`` (its index in the test set) and ``label``; ``predicted`` and ``predictive_entropy_nats`` of the
        method; ``by``, ``inputs`` (N) and ``samples`` (S).

    Raises:
        InputError: `by` is not among the networks, or `count` is not positive.
    """
    import pandas as pd

    check_positive("count", count, integer=True)
    names = [name for name in networks.names if name != networks.reference] or networks.names
    by = check_choice("by", by or names[0], networks.names)
    means = networks.mean_pairs()
    labels = networks.labels
    entropies = {m: predictive_entropy(probs[None].double(), reduction="none") for m, (probs, _) in means.items()}
    groups = {"uncertain": _first(entropies[by], count), "wrong": _confidently_wrong(*means[by], count)}
    rows = []
    for group, chosen in groups.items():
        for rank, place in enumerate(chosen, start=1):
            for method, (probs, _) in means.items():
                row = {"group": group, "rank": rank, "input": place, "label": int(labels[place]), "method": method}
                entropy = float(entropies[method][place])
                row |= {"predicted": int(probs[place].argmax()), "predictive_entropy_nats": entropy}
                rows += [{**row, "class": c, "probability": p} for c, p in enumerate(probs[place].tolist())]
    return pd.DataFrame(rows).assign(by=by, inputs=len(labels), samples=networks.samples)


def input_pictures(source: RunsOrPredictions, table: DataFrame) -> dict[int, Tensor] | None:
    """Pictures [H, W] in [0, 1] of the inputs in a table of `uncertain_inputs`, by index in the test set.

    Channels of images [channels, H, W] are averaged. Images with values outside [0, 1] are rescaled. For recordings of
    events, pictures are the number of events of each pixel, over both polarities and all time, divided by the largest.

    Args:
        source: runs, whose data set is loaded, or predictions with their inputs. Without inputs, returns None.
        table: as returned by `uncertain_inputs`.

    Raises:
        InputError: the inputs are not images.
    """
    places = list(map(int, table["input"].unique()))
    if isinstance(source, Runs):
        dataset = own_inputs(source)
        if isinstance(dataset, EventDataset):
            return {place: _of_events(dataset, place) for place in places}
        return {place: _of_image(dataset.select(torch.tensor([place])).images[0]) for place in places}
    inputs = next((of.inputs for of in source.first().values() if of.inputs is not None), None)
    return None if inputs is None else {place: _of_image(inputs[place]) for place in places}


def _of_image(image: Tensor) -> Tensor:
    if image.dim() not in (2, 3):
        raise InputError(f"data: expected images to draw; got inputs of shape {list(image.shape)}")
    image = image.float() if image.dim() == 2 else image.float().mean(0)
    low, high = image.aminmax()
    return image if low >= 0 and high <= 1 else (image - low) / (high - low).clamp(min=1e-12)


def _of_events(dataset: EventDataset, place: int) -> Tensor:
    events = dataset.events(place)
    height, width = dataset.shape[1:]
    places = torch.from_numpy(events.y * width + events.x)
    counts = torch.bincount(places, minlength=height * width).reshape(height, width).float()
    return counts / counts.max().clamp(min=1)


def _first(values: Tensor, count: int) -> list[int]:
    """Indices of the largest values; ties are in order of index."""
    return values.argsort(descending=True, stable=True)[:count].tolist()


def _confidently_wrong(probs: Tensor, labels: Tensor, count: int) -> list[int]:
    confidence, predicted = probs.max(-1)
    wrong = predicted != labels
    return _first(confidence.double().masked_fill(~wrong, -1), min(count, int(wrong.sum())))
