"""Memory for the state of neurons between time steps, which ternary weights do not reduce."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tsnn_uq.neurons import LI, SRM
from tsnn_uq.neurons.potentials import WatchedNeuron
from tsnn_uq.state import evaluation_mode, is_library_neuron

__all__ = ["neuron_state_bytes"]

FLOAT_BYTES = 4


def neuron_state_bytes(model: nn.Module, example_input: Tensor) -> int:
    """Bytes of the float32 state that a network keeps for one input while it runs step by step.

    A LIF, PLIF or LI neuron keeps one number, an SRM neuron four: two for its response to the input and two for its
    refractory response. For neurons of snnTorch and SpikingJelly the state after a call is counted. Each further
    input of a batch, and each Monte Carlo sample that runs at the same time, takes the same amount.

    Args:
        model: any module.
        example_input: an input of `model`, e.g. [1, ...] or [T, 1, ...].

    Example:
        >>> import torch
        >>> from tsnn_uq.networks import build
        >>> network = build("dropout", sizes=(64, 100, 50, 10), generator=torch.Generator().manual_seed(0))
        >>> neuron_state_bytes(network, torch.zeros(1, 64))
        600
    """
    kept: dict[nn.Module, int] = {}

    def record(module: Any, _: Any, output: Any) -> None:
        if isinstance(module, WatchedNeuron | LI):
            numbers = (4 if isinstance(module, SRM) else 1) * output[0].numel()
            kept[module] = kept.get(module, 0) + numbers  # one call per place, for all steps
        else:
            kept[module] = sum(value.numel() for value in _held(module) if isinstance(value, Tensor))

    neurons = [
        module for module in model.modules() if isinstance(module, WatchedNeuron | LI) or is_library_neuron(module)
    ]
    handles = [module.register_forward_hook(record) for module in neurons]
    try:
        with evaluation_mode(model):
            model(example_input)
    finally:
        for handle in handles:
            handle.remove()
    return FLOAT_BYTES * sum(kept.values())


def _held(module: Any) -> list[Any]:
    """The state that a neuron of snnTorch or SpikingJelly keeps between calls."""
    if hasattr(module, "_memories"):
        return [value for name, value in module._memories.items() if not name.endswith("_seq")]
    return [getattr(module, name) for name in module._non_persistent_buffers_set]
