"""Features of a hidden layer of any network, and its logits, from one pass without random masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Data, Source, device_of, open_data
from tsnn_uq.checks import InputError, check_choice, check_positive, describe
from tsnn_uq.readout import logits
from tsnn_uq.seeds import generator_for, global_seed
from tsnn_uq.state import rest
from tsnn_uq.uncertainty import only_stochastic_layers_train, set_generator
from tsnn_uq.uncertainty.input_layout import COUNTS, InputLayout, time_and_batch_axes

__all__ = ["Features", "evaluated", "hidden_features"]

Output = Callable[[Any], Tensor]


class Features(NamedTuple):
    """Features of N inputs in a hidden layer, with logits and labels, all on the CPU."""

    hidden: Tensor  #: mean over time, [N, ...]; for spikes, their rate
    logits: Tensor  #: [N, C]
    labels: Tensor | None = None  #: class numbers [N], if the data have labels


def hidden_features(
    network: nn.Module,
    data: Data | Source,
    layer: str | None = None,
    *,
    batch_dim: int = 0,
    batch_size: int = 256,
    output: Output | None = None,
    reset: Callable[[nn.Module], object] = rest,
    seed: int = 0,
) -> Features:
    """Features of a hidden layer of a network, averaged over time.

    The network runs in evaluation mode, so dropout and dropconnect are off and BatchNorm uses its running statistics.
    Its state is reset before each batch and restored afterwards. A forward hook records the layer's output (of a
    tuple, such as spikes and potentials, the first element). The network may process all time steps at once
    [T, N, ...], fold them into the batch [T * N, ...], or call the layer once per step.

    Args:
        network: any module; it returns outputs [T, N, C], whose mean over time is the logits, or logits [N, C].
        data: inputs as a tensor, inputs and labels, a Dataset or a DataLoader.
        layer: name of a module, as in ``network.named_modules()``. By default the input of the last layer with weights,
            for which most detectors are defined.
        batch_dim: the batch axis of the inputs.
        batch_size: number of inputs per pass.
        output: converts what the network returns to outputs [T, N, C] or [N, C], if it returns something else.
        reset: resets the state of the network; `rest` supports our neurons and those of snnTorch and SpikingJelly.
        seed: seed of layers that are random in evaluation mode, such as rate coding.

    Returns:
        `Features`: hidden [N, ...] in the layer's own shape, logits [N, C] and, if the data have labels, labels [N].

    Raises:
        InputError: the layer does not exist or was not called, or the time and batch axes of its output are ambiguous.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> hidden_features(network, torch.zeros(5, 4)).hidden.shape
        torch.Size([5, 3])
        >>> hidden_features(network, torch.zeros(5, 4), "0").hidden.shape
        torch.Size([5, 3])
    """
    check_positive("batch_size", batch_size, integer=True)
    source = open_data("data", data, batch_dim=batch_dim)
    name = _last_with_weights(network) if layer is None else layer
    check_choice("layer", name, [name for name, _ in network.named_modules()])
    hidden, scores, labels = [], [], []
    with evaluated(network, seed):
        taking = _LayerRecorder(network, name, reads=layer is None, output=output, reset=reset)
        timing = taking.timing(source)
        for batch in source.in_order(batch_size):
            means, outputs = taking.run(batch.inputs, lambda call: timing.over_time(call).float().mean(0))
            hidden.append(torch.stack(means).mean(0).cpu())
            scores.append(outputs)
            labels += [] if batch.labels is None else [batch.labels]
    return Features(torch.cat(hidden), torch.cat(scores), torch.cat(labels) if labels else None)


@contextmanager
def evaluated(network: nn.Module, seed: int) -> Iterator[None]:
    """Context of evaluation mode; the network's modes, state and generators are restored afterwards."""
    device = device_of(network)
    with only_stochastic_layers_train(network, required=False):
        network.eval()
        set_generator(network, generator_for(seed, "features", device=device))
        with global_seed(seed, device):
            yield


def _last_with_weights(network: nn.Module) -> str:
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.dim() > 1
    ]
    if not names:
        raise InputError("layer: expected a name, since no layer of the network has weights; got None")
    return names[-1]


class _LayerRecorder:
    """Runs a network and records the outputs, or the inputs, of one of its layers."""

    def __init__(
        self, network: nn.Module, name: str, *, reads: bool, output: Output | None, reset: Callable[[nn.Module], object]
    ) -> None:
        self.network, self.name, self.output, self.reset = network, name, output, reset
        self.layer, self.reads, self.device = network.get_submodule(name), reads, device_of(network)

    @torch.no_grad()
    def run(self, inputs: Tensor, keep: Callable[[Tensor], Tensor] = Tensor.clone) -> tuple[list[Tensor], Tensor]:
        """The result of `keep` for each call of the layer, which all have equally many steps; and the logits [N, C]."""
        kept: list[Tensor] = []

        def take(_: nn.Module, given: Any, returned: Any) -> None:
            value = given if self.reads else returned
            value = value[0] if isinstance(value, tuple | list) and value else value
            if not isinstance(value, Tensor):
                raise InputError(f"layer: expected a tensor from {self.name!r}; got {describe(value)}")
            kept.append(keep(value))  # now, since the next layer may modify it in place

        handle = self.layer.register_forward_hook(take)
        try:
            self.reset(self.network)
            outputs = self.network(inputs.to(self.device))
        finally:
            handle.remove()
        if not kept:
            raise InputError(f"layer: expected one that forward() calls; got {self.name!r}, which it does not call")
        return kept, logits(outputs if self.output is None else self.output(outputs)).float().cpu()

    def timing(self, source: Source) -> InputLayout:
        """The time and batch axes of the layer's output, found by running two and then three inputs."""
        first, axis = source.first(max(COUNTS)), source.batch_dim
        few, more = (self.run(first.index_select(axis, torch.arange(n) % first.shape[axis]))[0] for n in COUNTS)
        found = (
            {time_and_batch_axes(*pair) for pair in zip(few, more, strict=True)} if len(few) == len(more) else {None}
        )
        if len(found) != 1 or None in found:
            wanted = f"[N, ...], [T, N, ...] or [T * N, ...] with time first from {self.name!r}"
            raise InputError(f"layer: expected {wanted}; got shape {list(more[0].shape)} for {COUNTS[1]} inputs")
        ((time_axis, folded),) = (one for one in found if one is not None)
        return InputLayout(time_axis, folded)
