"""Monte Carlo prediction in bounded memory: running statistics of S samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Unpack, overload

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Collected, Data, Source
from tsnn_uq.checks import InputError
from tsnn_uq.state import rest
from tsnn_uq.uncertainty.blockwise_prediction import Labelled, over_blocks
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
    """Statistics of the samples of `mc_predict`, in memory that does not grow with their number.

    The draws are those of `mc_predict` from the same generator. At most 32 samples are in memory at once if all random
    layers of `model` are ours. Layers of other libraries draw for a whole pass at once; then only the memory limit
    bounds the number.

    With a `tolerance` each block of inputs stops separately: at the first multiple of 8 samples at which the estimated
    standard error of the mean probability is below the tolerance for all its inputs and classes. The samples of a
    block that stops early are the first of those drawn without a tolerance (except for layers of other libraries).
    Stopping favours low estimates, so the true error is slightly larger.

    Args:
        model: see `mc_predict`, also for everything not described here.
        inputs: inputs of the model, N along `batch_dim`; or a map-style Dataset, a DataLoader or a pair of tensors, of
            which only one block, or one batch of a DataLoader, is in memory.
        samples: S, the number of draws; with a `tolerance`, the maximum.
        generator: the source of randomness; each network advances it by one draw.
        tolerance: the standard error of a probability at which to stop, 0 < tolerance; None never stops.
        mask: ``"fixed"`` over the time steps of a sample, redrawn ``"per-step"``, or None.
        batch_dim: the axis of `inputs` that counts inputs.
        batch_size: inputs in a block.
        memory_limit: approximate bytes for the activations and masks of one pass; on a CPU a size that fits into the
            caches is fastest, on a GPU a gigabyte or more.
        output: converts what the model returns to outputs [T, N, C] or [N, C].
        reset: resets the hidden state of `model` before each pass.
        progress: called with the number of inputs done after each block.

    Returns:
        Statistics of N inputs, including the number of samples of each. Unless `inputs` is one tensor, they come with
        the labels, as ``(predictions, labels)``.

    Raises:
        InputError: as `mc_predict`; or the tolerance is not a positive number, or is given for several networks.
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
