"""Keep masks fixed over the time steps of a sample, or redraw them at each step, in layers without a time axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tsnn_uq.coding import Coding
from tsnn_uq.uncertainty.add_dropout import DroppedWeight, InputDropout
from tsnn_uq.uncertainty.input_layout import input_layouts
from tsnn_uq.uncertainty.library_layers import StepwiseForward, choose_mask, mask_mode
from tsnn_uq.uncertainty.stochastic_layer import StochasticLayer, set_generator

__all__ = ["set_mask_timing"]


def set_mask_timing(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    mask: str | None,
    inputs: Tensor,
    batch_dim: int,
    reset: Callable[[], object],
) -> dict[str, StepwiseForward]:
    """Make all random layers keep or redraw their masks; call it inside `only_stochastic_layers_train`.

    Args:
        model: a network.
        layers: its random layers, by name.
        mask: ``"fixed"``, ``"per-step"``, or None for each layer's own behaviour.
        inputs: inputs of the model.
        batch_dim: the axis of `inputs` that counts inputs.
        reset: resets hidden state.

    Returns:
        The layers that now run one step at a time, by name.

    Raises:
        InputError: a layer cannot keep its masks, or the layout of its inputs cannot be determined.
    """
    for name, layer in layers.items():
        if mask is not None:
            choose_mask(name, layer, mask)
    watched = {name: _called(model, name, layer) for name, layer in layers.items() if _needs_timing(layer, mask)}
    if not watched:
        return {}
    set_generator(model, torch.Generator(device=inputs.device).manual_seed(0))  # for rate codings
    for layer in layers.values():
        layer.training = False
    seen = input_layouts(model, watched, inputs, batch_dim, reset)
    for layer in layers.values():
        layer.training = True
    stepped = {}
    for name, module in watched.items():
        if isinstance(module, InputDropout):
            module.timing = seen[name]
        elif module is layers[name] or not seen[name].one_step:
            stepped[name] = StepwiseForward(module, seen[name], fixed=module is layers[name] and mask == "fixed")
            vars(module)["forward"] = stepped[name]
    return stepped


def _called(model: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """The module whose call makes a random layer draw: the layer itself, or the owner of the weights it drops."""
    owner = name.rpartition("parametrizations.")[0].removesuffix(".")
    return model.get_submodule(owner) if isinstance(layer, DroppedWeight) else layer


def _needs_timing(layer: nn.Module, mask: str | None) -> bool:
    if isinstance(layer, DroppedWeight):
        return layer.mask == "per-step"  # one fixed mask is used at all steps, whatever the layout
    if isinstance(layer, StochasticLayer | Coding):
        return isinstance(layer, InputDropout)
    return mask is not None and mask != mask_mode(layer)
