"""Accuracy of a network with dropout and dropconnect switched off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tsnn_uq.batches import Data, Source, device_of, open_data
from tsnn_uq.readout import logits
from tsnn_uq.state import evaluation_mode, rest

__all__ = ["accuracy"]


def accuracy(
    model: nn.Module,
    images: Data | Source,
    labels: Tensor | None = None,
    batch_size: int = 500,
    *,
    batch_dim: int = 0,
    output: Callable[[Any], Tensor] | None = None,
    workers: int = 0,
) -> float:
    """Share of inputs whose most likely class is right, without dropout or dropconnect.

    The state of the network is reset before each batch and at the end; the mode of each module is restored.

    Args:
        model: a network that gives outputs [T, N, C] or [N, C].
        images: inputs [N, ...], with `labels`; or both as (inputs, labels), a Dataset or a DataLoader.
        labels: classes [N].
        batch_size: inputs per batch; a DataLoader has its own.
        batch_dim: the batch axis of the inputs: 0, or 1 for inputs [T, N, ...].
        output: converts what the model returns to outputs [T, N, C] or [N, C], for models that return something else.
        workers: processes that load the items of a Dataset; 0 for this one.

    Raises:
        InputError: there are no images, or the number of labels differs.
    """
    data = images if labels is None else (images, labels)
    source = open_data("images", data, batch_dim=batch_dim, labelled=True, finite=True, workers=workers)
    right = count = 0
    device = device_of(model)
    with evaluation_mode(model):
        for batch in source.in_order(batch_size):
            rest(model)
            outputs = model(batch.inputs.to(device, non_blocking=True))
            predicted = logits(outputs if output is None else output(outputs)).argmax(-1)
            right += int(predicted.eq(batch.target.to(device)).sum())
            count += len(batch.target)
    return right / count
