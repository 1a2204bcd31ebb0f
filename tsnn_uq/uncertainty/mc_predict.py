"""Monte Carlo prediction: S draws of a stochastic network, folded into the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack, overload

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Collected, Data, Source
from tsnn_uq.readout import logits, logits_over_time
from tsnn_uq.state import rest
from tsnn_uq.uncertainty.blockwise_prediction import Labelled, over_blocks
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

    All dropout is switched on: in layers of any library, in the attention and recurrent layers of torch and the
    recurrent layers of SpikingJelly, in functions that a ``forward`` calls, and in unknown modules with a probability
    such as ``drop_prob``. Modules that are random in evaluation mode, such as encoders, draw new numbers for each
    sample. Everything else, including BatchNorm, stays in evaluation mode. Dropout that cannot be switched on alone is
    an error. Model and inputs are not changed, including hidden state and generators; compiled modules run uncompiled.

    Samples are folded into the batch, as many at once as the memory limit allows, and layers before the first random
    one run once for all samples (in an ``nn.Sequential`` and Norse's ``SequentialState``). To find what is random, and
    whether samples can be folded, the network first runs on two and on three inputs. If inputs share a draw or affect
    each other, as with weight dropout or batch statistics, each sample takes one pass.

    Masks depend only on the generator, the input's block and the sample, so neither the memory limit nor the number of
    threads changes the draws. A dropconnect mask is one network: sample s uses the same mask for every input in all
    blocks. Dropout masks are drawn for each input. Layers of other libraries draw from torch's global generator, which
    is seeded for each pass and restored; for them the memory limit is part of the seed.

    A Dataset or a DataLoader is loaded once, block by block, also for several networks; only the predictions are kept
    (`mc_moments` keeps less). Blocks have `batch_size` inputs, whatever the batch size of a DataLoader. The
    predictions equal those for one tensor of the same inputs in the same order, bit for bit. In another order, they
    are the same for each input with dropconnect, while dropout masks depend on the input's position.

    A list of M networks is a deep ensemble (Lakshminarayanan et al., 2017). If the networks are random, each draws
    S / M of the samples, in the order of the networks; otherwise each returns one prediction.

    Args:
        model: a network with random layers, or a list of networks. It returns outputs over time [T, N, C], whose
            running mean is the logits, or logits [N, C], with at least two classes. Outputs may be spikes or spike
            counts of type bool or int.
        inputs: inputs of the model, N along `batch_dim`; or a map-style Dataset, a DataLoader or a pair of tensors,
            with or without labels. They are moved to the network's device. Labels are not used.
        samples: S, the number of draws; by default 32, with M networks the next multiple of M, and M if nothing is
            random.
        generator: the source of randomness; each network advances it by one draw.
        mask: ``"fixed"`` over the time steps of a sample or redrawn ``"per-step"``, for dropout and dropconnect of any
            library. None leaves each layer's own behaviour: ours as configured, SpikingJelly's keep a mask, torch's
            redraw it at each call, also in Norse's ``Lift``. Attention, torch's recurrent layers and functions cannot
            keep a mask.
        per_step: return the prediction after each time step.
        batch_dim: the axis of `inputs` that counts inputs: 0, or 1 for input with time first. Items of a Dataset are
            stacked along it.
        batch_size: inputs in a block.
        memory_limit: approximate bytes for the activations and masks of one pass; on a CPU a size that fits into the
            caches is fastest, on a GPU a gigabyte or more.
        output: converts what the model returns to outputs [T, N, C] or [N, C], for models that return something else,
            such as spikes and potentials, or one logit: ``lambda z: torch.cat([torch.zeros_like(z), z], -1)``.
        reset: resets the hidden state of `model` before each pass; `rest` does so for snnTorch and SpikingJelly, and
            Norse needs no reset.
        progress: called after each block with the number of inputs done, summed over the networks of an ensemble.

    Returns:
        Probabilities [S, N, C], or [S, T, N, C] with `per_step`. Unless `inputs` is one tensor, they come with the
        labels, as ``(predictions, labels)``.

    Raises:
        InputError: nothing in the model is random, a dropout cannot be switched on or cannot keep its mask, layers
            have no weights yet, there are no inputs, the outputs have another shape or are not finite, or the samples
            cannot be divided among the networks.
    """
    sampling = Sampling(samples, generator, mask, batch_dim, batch_size, memory_limit, output, reset, progress)
    read = logits_over_time if per_step else logits

    def gather(passes: Passes) -> Tensor:
        return torch.cat(list(passes.probabilities(passes.sampling.count, read)))

    blocks, labels = over_blocks(model, inputs, sampling, gather, torch.cat)
    probs = torch.cat(blocks, dim=-2)
    return probs if isinstance(inputs, Tensor) else Labelled(probs, labels)
