"""The training loop, into which methods and regularizers plug."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Data, Source, device_of, open_data
from tsnn_uq.checks import InputError
from tsnn_uq.files import as_path
from tsnn_uq.seeds import derive_seed, generator_for, global_seed
from tsnn_uq.state import copy_at_rest, rest
from tsnn_uq.training.accuracy import accuracy
from tsnn_uq.training.batch_layout import Forward
from tsnn_uq.training.batchnorm import refresh_from_epochs
from tsnn_uq.training.callbacks import Callback, History, listening
from tsnn_uq.training.checkpoint import load_checkpoint, save_checkpoint
from tsnn_uq.training.epochs import Augment, Epochs
from tsnn_uq.training.fit_settings import PRECISIONS, FitSettings
from tsnn_uq.training.forward import forward_batch, takes_one_input
from tsnn_uq.training.methods import Float, Method
from tsnn_uq.training.regularizers import Regularizer
from tsnn_uq.training.schedules import one_cycle, warmed_up
from tsnn_uq.uncertainty import set_generator

__all__ = ["fit"]

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def fit(
    model: nn.Module,
    train: Data | Source,
    *,
    seed: int,
    method: Method | None = None,
    regularizer: Regularizer | None = None,
    settings: FitSettings | None = None,
    augment: Augment | None = None,
    batch_dim: int = 0,
    output: Callable[[Any], Tensor] | None = None,
    workers: int = 0,
    optimizer: MakeOptimizer | None = None,
    schedule: Callable[[float], float] = one_cycle,
    validation: Data | Source | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 20.0,
    fingerprint: dict[str, object] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Callable[[int, int], object] | None = None,
) -> History:
    """Train a network in place; with a quantizing method, its weights are ternary afterwards.

    The network may come from any library; its state is reset before each batch. Batches are moved to its device.

    All randomness comes from `seed`: the order of the data, `augment`, the masks and the draws of a regularizer. With a
    `checkpoint` path, repeating an interrupted call resumes from the last checkpoint and ends with the same numbers,
    bit for bit, as an uninterrupted one. A DataLoader has its own order: its generators and the global ones are seeded
    for each epoch, ``set_epoch`` is called on samplers that have it, and checkpoints are written only at the end of an
    epoch. Draws of samplers from other sources, and of items in persistent workers, are not reproducible.

    If the last batch of an epoch has one input and the network cannot train on one because of BatchNorm, that input is
    added to the batch before.

    Args:
        model: a network that returns [T, N, C] or [N, C].
        train: images [N, ...] and labels [N], a map-style Dataset of such pairs, or a DataLoader of batches.
        seed: seed of the run.
        method: `Float` (default), `Direct`, `Indirect` or `Distill`.
        regularizer: a term of the loss, added with ``settings.regularizer_weight``. Images with several
            passes count once per pass in the method's loss.
        settings: budget and optimizer.
        augment: transforms each batch, (inputs, generator) -> inputs of the same number; a teacher sees the same.
        batch_dim: the batch axis of the inputs: 0, or 1 for inputs [T, N, ...]. Items of a Dataset are stacked along
            it; batches of a DataLoader are not changed.
        output: converts what the model returns to outputs [T, N, C] or [N, C], for models that return something else.
        workers: processes that load the items of a Dataset; 0 for this one. Results do not depend on it.
        optimizer: builds an optimizer from parameters; replaces AdamW and its settings.
        schedule: maps the finished share of the training to the factor of all learning rates.
        validation: images and labels, like `train`, whose accuracy is recorded after each epoch; nothing depends on it.
        checkpoint: path of the checkpoint; ``None`` for none.
        checkpoint_seconds: minimum time between two checkpoints; 0 for one after each step.
        fingerprint: further settings that a checkpoint must match to be resumed, JSON-serializable.
        callbacks: receive the measurements, such as `TensorBoardLog` and `CsvLog`.
        progress: called with (steps done, total steps) after each step.

    Returns:
        The loss and validation accuracy of each epoch, and the seconds taken.

    Raises:
        InputError: the data are invalid, the checkpoint is damaged or of another run, or the loss is not finite.
    """
    settings = settings or FitSettings()
    method = method or Float()
    regularizer = regularizer or Regularizer()
    device = device_of(model)
    _check(settings, regularizer, checkpoint_seconds, device)
    forms: dict[str, Any] = {"batch_dim": batch_dim, "workers": workers}
    source = open_data("train", train, labelled=True, finite=True, **forms)
    data = Epochs(source, settings.batch_size, seed, device, augment)
    run = partial(forward_batch, regularizer=regularizer, seed=seed, batch_dim=batch_dim, output=output)

    # Start a new run, or resume one.
    method.start(model, data)
    data.joined = data.ends_alone and not _learns_from_one(model, run, data, regularizer.passes)
    total, times = settings.epochs * data.steps, settings.loss_over_time
    optim = (optimizer or partial(_adamw, settings))(model.parameters())
    rates = [group["lr"] for group in optim.param_groups]
    dtype = PRECISIONS[settings.precision]
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    masks = generator_for(seed, "masks", device=device)
    history, step, loss_sum = History(), 0, 0.0
    checkpoint = None if checkpoint is None else as_path(checkpoint)
    parts = [method.name, regularizer, optim, *(_name(function) for function in (schedule, augment))]
    identity = _identity(settings, seed, parts, data.count, fingerprint)
    if checkpoint is not None and checkpoint.exists():
        header = load_checkpoint(checkpoint, model, optim, method, masks, identity, scaler)
        history, step, loss_sum = History(**header["history"]), header["step"], header["loss_sum"]
    set_generator(model, *[masks] * regularizer.passes)
    started = time.monotonic() - history.seconds
    saved = time.monotonic()
    with listening(callbacks, step, history):
        for batch in data.batches(step, settings.epochs):
            # One step.
            model.train()
            for group, rate in zip(optim.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step / total)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                forward = run(model, batch.inputs, batch.target, step=step, indices=batch.indices, loss_over_time=times)
                data.check_labels(batch, forward.mc_logits.shape[-1])
                loss = method.term(forward)
                if settings.regularizer_weight:
                    weight = settings.regularizer_weight * warmed_up(step / total, settings.regularizer_warm_up)
                    loss = loss + weight * regularizer.term(forward)
            if not math.isfinite(value := loss.item()):
                if checkpoint is not None:  # a checkpoint of a diverged run is useless
                    checkpoint.unlink(missing_ok=True)
                raise InputError(f"loss: expected a finite number; got {value} at step {step}; lower the learning rate")
            optim.zero_grad()
            scaler.scale(loss).backward()
            measured = {"loss": value, "learning_rate": optim.param_groups[0]["lr"]}
            if settings.clip_norm is not None:
                scaler.unscale_(optim)
                measured["gradient_norm"] = nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm).item()
            scaler.step(optim)
            scaler.update()
            step += 1
            method.after_step(model, step / total)

            # At the end of an epoch or after some time: evaluate, save, call back.
            for callback in callbacks:
                callback.after_step(step, measured)
            loss_sum += value
            if step % data.steps == 0:
                epoch = step // data.steps
                history.loss.append(loss_sum / data.steps)
                measured = {"loss": history.loss[-1]}
                loss_sum = 0.0
                if validation is not None:
                    # A random input coding also draws in evaluation; this must not shift the masks.
                    set_generator(model, generator_for(seed, "validation", epoch - 1, device=device))
                    with global_seed(derive_seed(seed, "validation of others", epoch), device):
                        history.validation_accuracy.append(accuracy(model, validation, output=output, **forms))
                    set_generator(model, *[masks] * regularizer.passes)
                    measured["validation_accuracy"] = history.validation_accuracy[-1]
                for callback in callbacks:
                    callback.after_epoch(epoch, measured)
            history.seconds = time.monotonic() - started
            due = time.monotonic() - saved >= checkpoint_seconds
            if checkpoint is not None and due and data.can_go_on(step):
                state = {"history": asdict(history), "step": step, "loss_sum": loss_sum, "fingerprint": identity}
                save_checkpoint(checkpoint, model, optim, method, masks, state, scaler)
                saved = time.monotonic()
            if progress is not None:
                progress(step, total)

    method.finish(model)
    if settings.batchnorm_inputs:
        refresh_from_epochs(model, data, inputs=settings.batchnorm_inputs, epochs=settings.epochs, seed=seed)
    set_generator(model, masks)
    rest(model)
    model.eval()
    return history


def _adamw(settings: FitSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def _learns_from_one(model: nn.Module, run: Callable[..., Forward], data: Epochs, passes: int) -> bool:
    """Whether a copy of the network can train on a single input."""
    copied = copy_at_rest(model).train()
    set_generator(copied, *[generator_for(data.seed, "one input", device=data.device)] * passes)
    batch = next(data.batches(0, 1))
    alone = batch.inputs.narrow(data.batch_dim, 0, 1)
    return takes_one_input(partial(run, copied, alone, batch.target[:1], step=0))


def _check(settings: FitSettings, regularizer: Regularizer, checkpoint_seconds: float, device: torch.device) -> None:
    if settings.precision != "float32" and not torch.amp.is_autocast_available(device.type):
        raise InputError(f"precision: expected 'float32', the only one on {device.type}; got {settings.precision!r}")
    if (settings.regularizer_weight > 0) != (type(regularizer) is not Regularizer):
        wanted = "above 0 with a regularizer and 0 without"
        raise InputError(f"regularizer_weight: expected a number {wanted}; got {settings.regularizer_weight}")
    if not checkpoint_seconds >= 0:
        raise InputError(f"checkpoint_seconds: expected a number of at least 0; got {checkpoint_seconds!r}")


def _identity(settings: FitSettings, seed: int, parts: Sequence[object], inputs: int, more: object) -> dict[str, Any]:
    """The settings that a checkpoint must match, converted as by JSON (tuples become lists)."""
    values = {
        "settings": asdict(settings),
        "seed": seed,
        "parts": list(map(str, parts)),
        "inputs": inputs,
        "more": more,
    }
    return json.loads(json.dumps(values))


def _name(function: object) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
