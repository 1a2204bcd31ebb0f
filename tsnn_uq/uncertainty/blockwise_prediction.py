"""Monte Carlo prediction over a data set in blocks; each block is loaded once for all networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from itertools import chain
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

from tsnn_uq.batches import Data, Source, cat_labels, open_data
from tsnn_uq.checks import InputError
from tsnn_uq.uncertainty.ensemble_members import Member, members
from tsnn_uq.uncertainty.mc_passes import Passes, random_passes
from tsnn_uq.uncertainty.sampling_options import Networks, Sampling

__all__ = ["Labelled", "over_blocks"]

Predictions = TypeVar("Predictions")


class Labelled(NamedTuple, Generic[Predictions]):
    """Predictions for the inputs of a Dataset or a DataLoader, with their labels.

    Attributes:
        predictions: predictions for N inputs.
        labels: class numbers [N], int64; None if the data have none.
    """

    predictions: Predictions
    labels: Tensor | None


def over_blocks(
    model: Networks,
    inputs: Data | Source,
    sampling: Sampling,
    gather: Callable[[Passes], Predictions],
    merge: Callable[[list[Predictions]], Predictions],
) -> Labelled[list[Predictions]]:
    """Predict block by block and keep what `gather` returns for each block.

    Args:
        model: a network, or several.
        inputs: their inputs.
        sampling: how samples are drawn.
        gather: summarizes the passes of one network over a block.
        merge: combines the summaries of all networks.

    Returns:
        The summary of each block, and the labels of all blocks.

    Raises:
        InputError: see `tsnn_uq.uncertainty.mc_predict`.
    """
    source = open_data("inputs", inputs, batch_dim=sampling.batch_dim)
    blocks = source.blocks(sampling.batch_size)
    first = next(blocks, None)
    if first is None:
        raise InputError("inputs: expected at least one input; got none")
    networks = members(model, first.inputs, sampling)
    found: list[Predictions] = []
    labels: list[Tensor | None] = []
    done = 0
    with ExitStack() as stack:
        ready = []  # networks made random once for all blocks; networks that share layers take turns in each block
        if not _share_modules(networks):
            ready = [stack.enter_context(random_passes(member, member.bring(first.inputs))) for member in networks]
        for number, block in enumerate(chain([first], blocks)):
            parts = []
            for i, member in enumerate(networks):
                given = member.bring(block.inputs)
                with nullcontext(ready[i]) if ready else random_passes(member, given) as passes:
                    parts.append(gather(passes(number, given)))
                done += given.shape[sampling.batch_dim]
                if sampling.progress:
                    sampling.progress(done)
            found.append(merge(parts))
            labels.append(None if block.labels is None else block.labels.to(given.device))
    return Labelled(found, cat_labels(labels))


def _share_modules(networks: Sequence[Member]) -> bool:
    modules = [module for member in networks for module in member.network.modules()]
    return len(set(modules)) < len(modules)
