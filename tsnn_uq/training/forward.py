"""One forward pass over a batch that serves the loss and the regularizer: each input as often as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tsnn_uq.checks import InputError, class_numbers
from tsnn_uq.readout import logits
from tsnn_uq.seeds import derive_seed, generator_for, global_seed
from tsnn_uq.state import rest
from tsnn_uq.training.layout import Forward, Layout
from tsnn_uq.training.regularizers.base import Regularizer
from tsnn_uq.uncertainty.conversion import DroppedWeight

__all__ = ["forward_batch"]


def forward_batch(
    model: nn.Module, images: Tensor, target: Tensor, regularizer: Regularizer, *, seed: int, step: int
) -> Forward:
    """Run a network on a batch as a regularizer needs it; it is put to rest before.

    In a loop of one's own, with any regularizer, also a sum:

        set_generator(model, *[generator] * regularizer.passes)  # before the first step, for our layers that draw masks
        forward = forward_batch(model, images, target, regularizer, seed=0, step=step)
        loss = cross_entropy(forward.all_logits, forward.of_all(target)) + weight * regularizer.term(forward)

    Args:
        model: gives outputs [T, R, C] or [R, C] for R inputs; layers that draw masks need ``regularizer.passes``
            generators, or as many times the same one. Passes are folded into one batch, but for dropconnect of
            `tsnn_uq.uncertainty.make_stochastic`, which has one mask in a run: there each pass is a run.
        images: [N, ...].
        target: labels [N].
        regularizer: says how many passes over how many images it wants, and has extra inputs.
        seed: seed of the run, from which extra inputs and the masks of other libraries' layers come.
        step: number of the step.

    Raises:
        InputError: the model gives something else.
    """
    target = class_numbers("target", target)
    passes, count = regularizer.passes, len(images)
    # The others fill the groups evenly.
    single = (count - ceil(regularizer.share * count)) // passes * passes if passes > 1 else 0
    generator = generator_for(seed, "extra inputs", step, device=images.device)
    extras = regularizer.extras(images, generator, passes)
    layout = Layout(passes, count - single, single, tuple(map(len, extras)))
    inputs = layout.gather(images, extras)
    sources = {source for module in model.modules() for source in getattr(module, "generators", ())}
    states = [(source, source.get_state()) for source in sources]
    runs = passes if any(isinstance(module, DroppedWeight) for module in model.modules()) else 1

    def run(call: Callable[[Tensor], Tensor]) -> Tensor:
        with global_seed(derive_seed(seed, "layers of others", step), images.device):
            outputs = [logits(call(part)) for part in _at_rest(model, inputs, runs)]
        if sum(map(len, outputs)) != layout.rows:
            wanted = f"[T, {layout.rows}, C] or [{layout.rows}, C]"
            raise InputError(f"model: expected outputs of shape {wanted}; got {sum(map(len, outputs))} rows of logits")
        return torch.cat(outputs) if runs > 1 else outputs[0]

    def again() -> Tensor:
        for source, state in states:
            source.set_state(state)
        rest(model)
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        return layout.split(run(lambda batch: functional_call(model, buffers, (batch,))))[0]

    with regularizer.watch(model) as seen:
        outputs = run(model)
    return Forward(model, images, target, layout, *layout.split(outputs), seen, again)


def _at_rest(model: nn.Module, inputs: Tensor, runs: int) -> Iterator[Tensor]:
    """`inputs` in so many equal parts, for each of which the model is put to rest and draws from its own generators.

    One run serves all groups of a batch, unless a layer has one weight in a run.
    """
    sources: list[tuple[Any, Any]] = [(module, module.generators) for module in model.modules() if _draws(module)]
    try:
        for number, part in enumerate(inputs.chunk(runs)):
            rest(model)
            for module, generators in sources:
                module.generators = generators[number::runs]
            yield part
    finally:
        for module, generators in sources:
            module.generators = generators


def _draws(module: nn.Module) -> bool:
    return bool(getattr(module, "generators", ()))
