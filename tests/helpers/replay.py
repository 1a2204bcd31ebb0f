"""Note what random layers drew while samples were folded into the batch, and run each sample again by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.readout import logits
from tsnn_uq.uncertainty import rest


class Noted:
    """The masks of one random layer: for each call while it is random, in order, what it multiplied its inputs by.

    Where an input is 0 the mask cannot be seen and does not matter; it is noted as -1.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.calls: list[Tensor] = []
        layer.register_forward_hook(self._note)

    def _note(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if layer.training:
            self.calls.append(torch.where(inputs[0] == 0, -1.0, output / inputs[0]))

    def by_sample(self, calls: int, count: int, dim: int, steps: int = 1) -> list[list[Tensor]]:
        """The masks of each sample, call by call.

        Args:
            calls: calls in one pass.
            count: inputs of a sample.
            dim: the axis that counts inputs.
            steps: time steps folded into that axis, time first.
        """
        samples = []
        for start in range(0, len(self.calls), calls):
            one_pass = [mask.unflatten(dim, (steps, -1)) for mask in self.calls[start : start + calls]]
            parts = [mask.split(count, dim + 1) for mask in one_pass]
            samples += [
                [part.flatten(dim, dim + 1) for part in parts_of_one] for parts_of_one in zip(*parts, strict=True)
            ]
        return samples


@contextmanager
def given(layer: nn.Module, masks: list[Tensor]) -> Iterator[None]:
    """In this context the layer multiplies its inputs by these masks, one a call."""
    upcoming = iter(masks)
    layer.forward = lambda inputs: inputs * next(upcoming)
    try:
        yield
        assert next(upcoming, None) is None  # all were used
    finally:
        del layer.forward


@torch.no_grad()
def alone(network: nn.Module, inputs: Tensor, output: Callable[[Any], Tensor] = lambda outputs: outputs) -> Tensor:
    """Probabilities [N, C] of one run, nothing random but what is given."""
    rest(network)
    return logits(output(network.eval()(inputs))).softmax(-1)
