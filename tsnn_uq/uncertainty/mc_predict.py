"""Monte Carlo prediction: S draws of a stochastic network, folded into the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tsnn_uq.readout import logits, logits_over_time
from tsnn_uq.uncertainty.foreign import rest
from tsnn_uq.uncertainty.passes import Readout, random_passes

__all__ = ["mc_predict"]


@torch.no_grad()
def mc_predict(
    model: nn.Module,
    inputs: Tensor,
    *,
    samples: int = 32,
    generator: torch.Generator,
    per_step: bool = False,
    batch_dim: int = 0,
    batch_size: int = 256,
    memory_limit: int = 32 * 2**20,
    readout: Readout | None = None,
    reset: Callable[[nn.Module], object] = rest,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Predict with S random draws of a network's stochastic layers (Gal and Ghahramani, 2016).

    Only the stochastic layers are random; BatchNorm stays in evaluation mode, and the model is left exactly
    as it was: mode, hidden state, generators. The samples of a block of inputs are folded into the batch, as
    many at once as the memory limit allows, and layers before the first stochastic one run once for all of
    them (in an ``nn.Sequential``). Masks depend on the generator, the input's block and the sample alone, so
    neither the memory limit nor the number of threads changes the draw. A dropconnect mask is one network:
    sample s uses the same masks for every input. Layers of other libraries draw from torch's global generator,
    which is seeded for each pass and put back; for them the memory limit is part of the seed.

    Args:
        model: a network with stochastic layers, ours or not, that returns outputs over time [T, N, C], whose
            running mean is the logits, or logits [N, C].
        inputs: what the model takes, N inputs along `batch_dim`.
        samples: S, the number of draws.
        generator: where the randomness comes from; it advances by one draw.
        per_step: return the prediction after each time step.
        batch_dim: the axis of `inputs` that counts inputs: 0, or 1 for input with time first.
        batch_size: inputs in a block.
        memory_limit: bytes that the activations and masks of one pass may take, roughly; what fits into a processor's
            caches is fastest there, a gigabyte or more on a GPU.
        readout: from what the model returns to outputs [T, N, C] or [N, C], where it returns something else.
        reset: puts `model`'s hidden state to rest before each pass; does so for snnTorch and SpikingJelly.
        progress: called with the number of inputs done after each block.

    Returns:
        Probabilities [S, N, C], or [S, T, N, C] with `per_step`.

    Raises:
        InputError: nothing in the model is random, there are no inputs, or the outputs have another shape.
    """
    with random_passes(
        model,
        inputs,
        samples=samples,
        generator=generator,
        batch_dim=batch_dim,
        batch_size=batch_size,
        memory_limit=memory_limit,
        readout=readout,
        reset=reset,
        progress=progress,
    ) as blocks:
        read = logits_over_time if per_step else logits
        predictions = [torch.cat(list(passes.probabilities(samples, read))) for passes in blocks]
    return torch.cat(predictions, dim=-2)
