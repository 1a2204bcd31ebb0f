"""The one training loop. Methods and regularizers are objects put into it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_fraction, check_labels, check_positive, class_numbers, describe
from tsnn_uq.files import as_path
from tsnn_uq.readout import logits
from tsnn_uq.seeds import generator_for
from tsnn_uq.state import evaluating, rest
from tsnn_uq.training.checkpoint import load_checkpoint, save_checkpoint
from tsnn_uq.training.forward import forward_batch
from tsnn_uq.training.methods import Float, Method
from tsnn_uq.training.regularizers import Regularizer
from tsnn_uq.training.schedules import one_cycle, warmed_up
from tsnn_uq.uncertainty import set_generator

__all__ = ["FitSettings", "History", "accuracy", "fit"]

Labelled = tuple[Tensor, Tensor]
"""Images [N, ...] and labels [N]."""


@dataclass(frozen=True)
class FitSettings:
    """The budget and the optimizer (AdamW with a one-cycle learning rate).

    Args:
        epochs: passes over the training set.
        batch_size: inputs in a step; the last of an epoch may have fewer.
        learning_rate: peak of the learning rate, see `tsnn_uq.training.schedules.one_cycle`.
        weight_decay: decoupled weight decay, times the learning rate in each step.
        regularizer_weight: factor of the regularizer in the loss.
        regularizer_warm_up: share of the training over which that factor grows from 0, linearly.
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    regularizer_weight: float = 0.0
    regularizer_warm_up: float = 0.0

    def __post_init__(self) -> None:
        check_positive("epochs", self.epochs, integer=True)
        check_positive("batch_size", self.batch_size, integer=True)
        check_positive("learning_rate", self.learning_rate)
        check_fraction("weight_decay", self.weight_decay)
        check_fraction("regularizer_warm_up", self.regularizer_warm_up)
        if not 0 <= self.regularizer_weight < math.inf:
            raise InputError(f"regularizer_weight: expected a number of at least 0; got {self.regularizer_weight!r}")


@dataclass
class History:
    """What a training run tells of itself: one entry an epoch, and the seconds it took in all."""

    loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0


def fit(
    model: nn.Module,
    train: Labelled,
    *,
    seed: int,
    method: Method | None = None,
    regularizer: Regularizer | None = None,
    settings: FitSettings | None = None,
    validation: Labelled | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 20.0,
    fingerprint: dict[str, object] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> History:
    """Train a network, in place; with a method that quantizes, its weights are ternary afterwards.

    All randomness comes from `seed`: the order of the data, the masks and what a regularizer draws. With a
    `checkpoint` path, an interrupted call made again goes on from the last checkpoint and ends with the same numbers,
    bit for bit, as one that was not interrupted.

    Args:
        model: a network that gives outputs [T, N, C] or [N, C].
        train: images [N, ...] and labels [N].
        seed: seed of the run.
        method: `Float` (default), `Direct`, `Indirect` or `Distill`.
        regularizer: a term of the loss, added with ``settings.regularizer_weight``. Images that it takes through
            several passes count in the method's loss as often.
        settings: budget and optimizer.
        validation: images and labels whose accuracy is noted after each epoch; nothing is chosen by it.
        checkpoint: where to write checkpoints; ``None`` for none.
        checkpoint_seconds: least time between two checkpoints; 0 for one after each step.
        fingerprint: what else a checkpoint must agree with to be taken up, JSON-able.
        progress: called with (steps done, steps in all) after each step.

    Returns:
        The loss and validation accuracy of each epoch, and the seconds taken.

    Raises:
        InputError: data that does not fit, a foreign or damaged checkpoint, or a loss that is not finite.
    """
    settings = settings or FitSettings()
    method = method or Float()
    regularizer = regularizer or Regularizer()
    if (settings.regularizer_weight > 0) != (type(regularizer) is not Regularizer):
        wanted = "above 0 with a regularizer and 0 without"
        raise InputError(f"regularizer_weight: expected a number {wanted}; got {settings.regularizer_weight}")
    if not checkpoint_seconds >= 0:
        raise InputError(f"checkpoint_seconds: expected a number of at least 0; got {checkpoint_seconds!r}")
    images, target = _checked("train", train)
    steps_per_epoch = math.ceil(len(images) / settings.batch_size)
    total = settings.epochs * steps_per_epoch
    identity = _identity(settings, seed, method, regularizer, len(images), fingerprint)

    # What the run's state is: fresh, or resumed.
    method.start(model, images)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=settings.weight_decay, fused=True)
    masks = generator_for(seed, "masks", device=images.device)
    history, step, loss_sum = History(), 0, 0.0
    checkpoint = None if checkpoint is None else as_path(checkpoint)
    if checkpoint is not None and checkpoint.exists():
        header = load_checkpoint(checkpoint, model, optimizer, method, masks, identity)
        history, step, loss_sum = History(**header["history"]), header["step"], header["loss_sum"]
    passes = regularizer.passes
    set_generator(model, *[masks] * passes)
    started = time.monotonic() - history.seconds
    saved = time.monotonic()

    for epoch in range(step // steps_per_epoch, settings.epochs):
        order = torch.randperm(len(images), generator=generator_for(seed, "order", epoch))
        for batch in order.split(settings.batch_size)[step % steps_per_epoch :]:
            # One step.
            model.train()
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * one_cycle(step / total)
            forward = forward_batch(model, images[batch], target[batch], regularizer, seed=seed, step=step)
            if step == 0:
                check_labels("labels", target, forward.mc_logits.shape[-1], len(images))
            loss = method.loss(forward.all_logits[None], forward.of_all(target[batch]), forward.of_all(batch))
            if settings.regularizer_weight:
                weight = settings.regularizer_weight * warmed_up(step / total, settings.regularizer_warm_up)
                loss = loss + weight * regularizer.term(forward)
            if not math.isfinite(value := loss.item()):
                if checkpoint is not None:  # nothing good comes of going on from there
                    checkpoint.unlink(missing_ok=True)
                raise InputError(f"loss: expected a finite number; got {value} at step {step}; lower the learning rate")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            method.after_step(model, step / total)

            # Once in a while: evaluate, save, tell.
            loss_sum += value
            if step % steps_per_epoch == 0:
                history.loss.append(loss_sum / steps_per_epoch)
                loss_sum = 0.0
                if validation is not None:
                    # A random input coding draws in evaluation too, and is not to shift the masks.
                    set_generator(model, generator_for(seed, "validation", epoch, device=images.device))
                    history.validation_accuracy.append(accuracy(model, *validation))
                    set_generator(model, *[masks] * passes)
            history.seconds = time.monotonic() - started
            if checkpoint is not None and time.monotonic() - saved >= checkpoint_seconds:
                state = {"history": asdict(history), "step": step, "loss_sum": loss_sum, "fingerprint": identity}
                save_checkpoint(checkpoint, model, optimizer, method, masks, state)
                saved = time.monotonic()
            if progress is not None:
                progress(step, total)

    method.finish(model)
    set_generator(model, masks)
    rest(model)
    model.eval()
    return history


def _identity(
    settings: FitSettings, seed: int, method: Method, regularizer: Regularizer, inputs: int, more: object
) -> dict[str, Any]:
    """What a checkpoint has to agree with, as it comes back from JSON (where a tuple is a list)."""
    names = {"method": method.name, "regularizer": repr(regularizer)}
    return json.loads(json.dumps({"settings": asdict(settings), "seed": seed, "inputs": inputs, **names, "more": more}))


def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """Share of inputs whose most likely class is right, with no dropout or dropconnect.

    The network is put to rest before each batch, and left at rest; each module is left in its mode.

    Args:
        model: a network that gives outputs [T, N, C] or [N, C].
        images: inputs [N, ...].
        labels: their classes [N].
        batch_size: inputs at a time.

    Raises:
        InputError: no images, or not as many as labels.
    """
    images, labels = _checked("images", (images, labels))
    right = 0
    with evaluating(model):
        for block, label in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            rest(model)
            right += int((logits(model(block)).argmax(-1) == label).sum())
    return right / len(images)


def _checked(argument: str, pair: Labelled) -> Labelled:
    images, target = pair
    if len(images) == 0 or len(images) != len(target):
        wanted = "as many images as labels, at least one"
        raise InputError(f"{argument}: expected {wanted}; got {describe(images)} and {describe(target)}")
    if not torch.isfinite(images).all():
        raise InputError(f"{argument}: expected finite pixel values; got NaN or infinity")
    return images, class_numbers("labels", target)
