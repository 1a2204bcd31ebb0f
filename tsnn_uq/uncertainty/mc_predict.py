"""Monte Carlo prediction: S draws of a stochastic network, folded into the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack, overload

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Collected, Data, Source
from tsnn_uq.readout import logits, logits_over_time
from tsnn_uq.state import rest
from tsnn_uq.uncertainty.blocks import Labelled, over_blocks
from tsnn_uq.uncertainty.mc_passes import Passes
from tsnn_uq.uncertainty.sampling_options import Networks, Options, Output, Sampling

__all__ = ["mc_predict"]


@overload
def mc_predict(model: Networks, inputs: Tensor, *, per_step: bool = False, **options: Unpack[Options]) -> Tensor: ...
@overload
def mc_predict(
    model: Networks, inputs: Collected | Source, *, per_step: bool = False, **options: Unpack[Options]
) -> Labelled[Tensor]: ...
@torch.no_grad()
def mc_predict(
    model: Networks,
    inputs: Data | Source,
    *,
    samples: int | None = None,
    generator: torch.Generator | None = None,
    mask: str | None = None,
    per_step: bool = False,
    batch_dim: int = 0,
    batch_size: int = 256,
    memory_limit: int = 32 * 2**20,
    output: Output | None = None,
    reset: Callable[[nn.Module], object] = rest,
    progress: Callable[[int], object] | None = None,
) -> Tensor | Labelled[Tensor]:
    """Predict with S random draws of a network (Gal and Ghahramani, 2016), or with an ensemble.

    Dropout is switched on wherever it is: in layers of any library, in torch's attention and recurrent layers and in
    SpikingJelly's, in functions that a ``forward`` calls, and in unknown modules with a number such as ``drop_prob``.
    What is random in evaluation mode, such as an encoder, is drawn anew for each sample. Nothing else is: BatchNorm
    stays in evaluation mode. Dropout that cannot be switched on, or not alone, is an error. Model and inputs are left
    exactly as they were, down to hidden state and generators; compiled modules run as they were before.

    The samples of a block of inputs are folded into the batch, as many at once as the memory limit allows, and layers
    before the first random one run once for all of them (in an ``nn.Sequential`` and Norse's ``SequentialState``). To
    find what is random, and whether samples can be folded, a network is first tried on two and on three inputs: where
    inputs share a draw or see each other, as with dropout on weights or statistics of the batch, there is a pass for
    each sample.

    Masks depend on the generator, the input's block and the sample alone, so neither the memory limit nor the number of
    threads changes the draw. A dropconnect mask is one network: sample s uses the same masks for every input, in all
    blocks, while dropout masks are drawn for each input. Layers of other libraries draw from torch's global generator,
    which is seeded for each pass and put back; for them the memory limit is part of the seed.

    A Dataset or a DataLoader is loaded once, a block at a time, also for several networks; what is kept are the
    predictions alone (`mc_moments` keeps fewer). Blocks have `batch_size` inputs whatever the batches of a DataLoader
    are. So the predictions are those for one tensor of the same inputs in the same order, bit for bit. In another order
    those with dropconnect are the same, input by input, while dropout masks go by an input's place.

    A list of M networks is a deep ensemble (Lakshminarayanan et al., 2017). If they are random, each gives S / M of
    the samples, one network's after the other's; if nothing in them is, each gives one.

    Args:
        model: a network in which something is random, which returns outputs over time [T, N, C], whose running mean is
            the logits, or logits [N, C], at least two classes; or a list of such networks. Outputs may be spikes or
            their counts, of type bool or int.
        inputs: what the model takes, N inputs along `batch_dim`; or a map-style Dataset, a DataLoader or a pair of
            tensors, with labels or without. They are brought where the network is. Labels are not used.
        samples: S, the number of draws; by default 32, or with M networks the next multiple of M, or M where nothing
            is random.
        generator: where the randomness comes from; each network advances it by one draw.
        mask: ``"fixed"`` over the time steps of a sample or redrawn ``"per-step"``, for all dropout and dropconnect,
            whichever library it is from; None leaves to each layer what it does by itself: ours what it was told,
            SpikingJelly's keep a mask, those of torch redraw it whenever they are called, also in Norse's ``Lift``.
            Attention, torch's recurrent layers and functions cannot keep one.
        per_step: return the prediction after each time step.
        batch_dim: the axis of `inputs` that counts inputs: 0, or 1 for input with time first. Items of a Dataset are
            stacked along it.
        batch_size: inputs in a block.
        memory_limit: bytes that the activations and masks of one pass may take, roughly; what fits into a processor's
            caches is fastest there, a gigabyte or more on a GPU.
        output: from what the model returns to outputs [T, N, C] or [N, C], where it returns something else, such as
            spikes and potentials, or one logit: ``lambda z: torch.cat([torch.zeros_like(z), z], -1)``.
        reset: puts `model`'s hidden state to rest before each pass; `rest` does so for snnTorch and SpikingJelly, and
            Norse needs nothing.
        progress: called with the number of inputs done after each block; for an ensemble of all its networks' inputs.

    Returns:
        Probabilities [S, N, C], or [S, T, N, C] with `per_step`; for other data than one tensor with the labels, as
        ``(predictions, labels)``.

    Raises:
        InputError: nothing in the model is random, a dropout cannot be switched on or keep its mask as asked, layers
            have no weights yet, there are no inputs, the outputs have another shape or are not finite, or samples
            cannot be shared out among networks.
    """
    sampling = Sampling(samples, generator, mask, batch_dim, batch_size, memory_limit, output, reset, progress)
    read = logits_over_time if per_step else logits

    def gather(passes: Passes) -> Tensor:
        return torch.cat(list(passes.probabilities(passes.sampling.count, read)))

    blocks, labels = over_blocks(model, inputs, sampling, gather, torch.cat)
    probs = torch.cat(blocks, dim=-2)
    return probs if isinstance(inputs, Tensor) else Labelled(probs, labels)
