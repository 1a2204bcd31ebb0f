"""One forward pass over a batch, with all passes and extra inputs that the regularizer needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tsnn_uq.checks import InputError, class_numbers
from tsnn_uq.readout import logits
from tsnn_uq.seeds import derive_seed, generator_for, global_seed
from tsnn_uq.state import rest
from tsnn_uq.training.batch_layout import Forward, Layout
from tsnn_uq.training.losses import logits_for_loss
from tsnn_uq.training.regularizers.base import Regularizer
from tsnn_uq.uncertainty.add_dropout import DroppedWeight

__all__ = ["LoneInputError", "forward_batch", "takes_one_input"]


def forward_batch(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    regularizer: Regularizer,
    *,
    seed: int,
    step: int,
    indices: Tensor | None = None,
    batch_dim: int = 0,
    output: Callable[[Any], Tensor] | None = None,
    loss_over_time: str | Sequence[int] = (),
) -> Forward:
    """Run a network on a batch for the loss and a regularizer, after resetting its state.

    In your own training loop, with any regularizer::

        set_generator(model, *[generator] * regularizer.passes)  # before the first step, for our layers that draw masks
        forward = forward_batch(model, images, target, regularizer, seed=0, step=step)
        loss = cross_entropy(forward.all_logits, forward.of_all(target)) + weight * regularizer.term(forward)

    Args:
        model: a network that returns [T, R, C] or [R, C] for R inputs. Layers that draw masks need
            ``regularizer.passes`` generators, possibly repetitions of one. Passes are folded into one batch, except
            with dropconnect from `tsnn_uq.uncertainty.make_stochastic`, where each pass is a separate run.
        images: N inputs along `batch_dim`.
        target: labels [N].
        regularizer: sets the number of passes, their share of the images, and the extra inputs.
        seed: seed of the run, for extra inputs and the masks of other libraries' layers.
        step: number of the step.
        indices: positions of the images in the training set [N], if a method needs them.
        batch_dim: the batch axis of the inputs: 0, or 1 for inputs [T, N, ...].
        output: converts what the model returns to outputs [T, N, C] or [N, C], for models that return something else.
        loss_over_time: where the loss is computed; see `tsnn_uq.training.FitSettings`.

    Raises:
        InputError: the outputs have another shape, the model uses BatchNorm and the batch has one input, or the
            regularizer adds inputs and the inputs are over time.
    """
    target = class_numbers("target", target)
    passes, count = regularizer.passes, images.shape[batch_dim]
    if regularizer.extra_share and batch_dim:
        raise InputError(f"batch_dim: expected 0, since {regularizer!r} makes inputs of images; got {batch_dim}")
    # The others fill the groups evenly.
    single = (count - ceil(regularizer.share * count)) // passes * passes if passes > 1 else 0
    generator = generator_for(seed, "extra inputs", step, device=images.device)
    extras = regularizer.extras(images, generator, passes)
    layout = Layout(passes, count - single, single, tuple(map(len, extras)))
    inputs = layout.gather(images, extras, batch_dim)
    sources = {source for module in model.modules() for source in getattr(module, "generators", ())}
    states = [(source, source.get_state()) for source in sources]
    read: Callable[[Any], Tensor] = output or (lambda outputs: outputs)
    runs = passes if any(isinstance(module, DroppedWeight) for module in model.modules()) else 1

    def run(call: Callable[[Tensor], Tensor]) -> list[Tensor]:
        with global_seed(derive_seed(seed, "layers of others", step), images.device), naming_lone_inputs():
            return [read(call(part)) for part in _at_rest(model, inputs.chunk(runs, batch_dim))]

    def joined(parts: list[Tensor]) -> Tensor:
        if sum(map(len, parts)) != layout.rows:
            wanted = f"[T, {layout.rows}, C] or [{layout.rows}, C]"
            raise InputError(f"model: expected outputs of shape {wanted}; got {sum(map(len, parts))} rows of logits")
        return torch.cat(parts) if runs > 1 else parts[0]

    def again() -> Tensor:
        for source, state in states:
            source.set_state(state)
        rest(model)
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        outputs = run(lambda batch: functional_call(model, buffers, (batch,)))
        return layout.split(joined([logits(part) for part in outputs]))[0]

    with regularizer.watch(model) as seen:
        outputs = run(model)
    rows = layout.split(joined([logits(part) for part in outputs]))
    over_time = None
    if loss_over_time:
        timed = joined([logits_for_loss(part, loss_over_time).transpose(0, 1) for part in outputs])  # [R, K, C]
        repeated, others, _ = layout.split(timed)
        over_time = torch.cat([repeated.flatten(0, 1), others]).transpose(0, 1)
    indices = torch.arange(count) if indices is None else indices
    return Forward(
        model,
        images,
        target,
        layout,
        *rows,
        seen,
        again,
        indices,
        derive_seed(seed, "step", step),
        over_time,
    )


class LoneInputError(InputError):
    """A network with BatchNorm received a batch of one input."""


@contextmanager
def naming_lone_inputs() -> Iterator[None]:
    """Context that converts torch's error for BatchNorm on one input to a `LoneInputError`."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        why = "normalizes by batch (a DataLoader may need drop_last=True)"
        raise LoneInputError(f"train: expected batches of several inputs, since the network {why}; got one") from error


def takes_one_input(call: Callable[[], object]) -> bool:
    """Whether a network takes one input in training mode; `call` runs a copy of it, without gradients."""
    try:
        with torch.no_grad(), naming_lone_inputs():
            call()
    except LoneInputError:
        return False
    return True


def _at_rest(model: nn.Module, parts: Sequence[Tensor]) -> Iterator[Tensor]:
    """Split a batch into the parts that run separately, each after a reset and with its own generators.

    All groups of a batch share one run, unless a layer has one weight mask per run.
    """
    sources: list[tuple[Any, Any]] = [(module, module.generators) for module in model.modules() if _draws(module)]
    try:
        for number, part in enumerate(parts):
            rest(model)
            for module, generators in sources:
                module.generators = generators[number :: len(parts)]
            yield part
    finally:
        for module, generators in sources:
            module.generators = generators


def _draws(module: nn.Module) -> bool:
    return bool(getattr(module, "generators", ()))
