"""Monte Carlo prediction in bounded memory: statistics of S samples, which are never alive at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Unpack, overload

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Collected, Data, Source
from tsnn_uq.checks import InputError
from tsnn_uq.state import rest
from tsnn_uq.uncertainty.blocks import Labelled, over_blocks
from tsnn_uq.uncertainty.ensemble_members import as_networks
from tsnn_uq.uncertainty.mc_passes import Passes
from tsnn_uq.uncertainty.moments import Moments, gather_moments, samples_at_once
from tsnn_uq.uncertainty.sampling_options import Networks, Options, Output, Sampling

__all__ = ["mc_moments"]


@overload
def mc_moments(
    model: Networks, inputs: Tensor, *, tolerance: float | None = None, **options: Unpack[Options]
) -> Moments: ...
@overload
def mc_moments(
    model: Networks, inputs: Collected | Source, *, tolerance: float | None = None, **options: Unpack[Options]
) -> Labelled[Moments]: ...
@torch.no_grad()
def mc_moments(
    model: Networks,
    inputs: Data | Source,
    *,
    samples: int | None = None,
    generator: torch.Generator | None = None,
    tolerance: float | None = None,
    mask: str | None = None,
    batch_dim: int = 0,
    batch_size: int = 256,
    memory_limit: int = 32 * 2**20,
    output: Output | None = None,
    reset: Callable[[nn.Module], object] = rest,
    progress: Callable[[int], object] | None = None,
) -> Moments | Labelled[Moments]:
    """Statistics of what `mc_predict` returns, in memory that does not grow with the number of samples.

    The draws are those of `mc_predict` from the same generator. At most 32 samples are alive at once, if `model` has
    no random layers but ours; those of other libraries draw for a whole pass at once, and then the memory limit
    alone is the bound.

    With a `tolerance` each block of inputs stops by itself: at the first multiple of 8 samples at which the standard
    error of the mean probability, estimated from the samples so far, is below the tolerance for all its inputs and
    classes. The samples of a block that stopped are the first of those it would have had without (layers of other
    libraries draw anew). Since it stops when the estimate happens to be low, the true error is a little larger.

    Args:
        model: see `mc_predict`, as for all that is not said here.
        inputs: what the model takes, N inputs along `batch_dim`; or a map-style Dataset, a DataLoader or a pair of
            tensors, of which no more than a block, or a DataLoader's batch, is in memory.
        samples: S, the number of draws; with a `tolerance`, the most.
        generator: where the randomness comes from; each network advances it by one draw.
        tolerance: the standard error of a probability at which to stop, 0 < tolerance; None never stops.
        mask: ``"fixed"`` over the time steps of a sample, redrawn ``"per-step"``, or None.
        batch_dim: the axis of `inputs` that counts inputs.
        batch_size: inputs in a block.
        memory_limit: bytes that the activations and masks of one pass may take, roughly; what fits into a processor's
            caches is fastest there, a gigabyte or more on a GPU.
        output: from what the model returns to outputs [T, N, C] or [N, C].
        reset: puts `model`'s hidden state to rest before each pass.
        progress: called with the number of inputs done after each block.

    Returns:
        Statistics of N inputs, among them how many samples each had; for other data than one tensor with the labels,
        as ``(predictions, labels)``.

    Raises:
        InputError: as `mc_predict`; or the tolerance is not a positive number, or given for several networks.
    """
    every = samples_at_once(tolerance)
    sampling = Sampling(samples, generator, mask, batch_dim, batch_size, memory_limit, output, reset, progress)
    if tolerance is not None and (count := len(as_networks(model))) > 1:
        raise InputError(f"tolerance: expected None for {count} networks, each of which counts; got {tolerance}")

    def gather(passes: Passes) -> Moments:
        as_mc_predict = tolerance is None and not passes.randomness.by_sample
        return gather_moments(passes.probabilities(passes.sampling.count if as_mc_predict else every), tolerance)

    blocks, labels = over_blocks(model, inputs, sampling, gather, partial(reduce, Moments.merge))
    moments = Moments.cat(blocks)
    return moments if isinstance(inputs, Tensor) else Labelled(moments, labels)
