"""Add dropout or dropconnect to chosen layers of any network, and remove it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from tsnn_uq.checks import InputError, check_choice, describe
from tsnn_uq.constant_input import is_constant, repeat_over_time, single_step
from tsnn_uq.quantization.layer_selection import Where, select_layers
from tsnn_uq.quantization.parametrizations import check_weights, remove_steps, weight_steps
from tsnn_uq.state import Stateful
from tsnn_uq.uncertainty.dropout import Dropout
from tsnn_uq.uncertainty.input_layout import InputLayout
from tsnn_uq.uncertainty.stochastic_layer import StochasticLayer, draw_masks

__all__ = ["KINDS", "DroppedWeight", "InputDropout", "make_deterministic", "make_stochastic"]

KINDS = ("dropout", "dropconnect")
CHILD = "input_dropout"


class InputDropout(Dropout, Stateful):
    """Dropout on the inputs of a layer, in any layout: one step, all steps, or steps folded into the batch.

    As in SpikingJelly's dropout, a fixed mask is kept across calls until `reset`.

    Args:
        p: probability with which an input is dropped.
        mask: ``"fixed"`` or ``"per-step"``.
        dims: axes of the layer's inputs for one step, [N, ...].

    Attributes:
        timing: the layout of the layer's inputs; None reads one axis more than `dims` as a leading time axis.
        held: the kept masks [1, N, ...], one for each place at which the layer is called.
    """

    timing: InputLayout | None = None
    handle: RemovableHandle  # of the hook that calls it

    def __init__(self, p: float, mask: str, dims: int) -> None:
        super().__init__(p, mask)
        self.dims = dims
        self.reset()

    def reset(self) -> None:
        """Draw new masks from now on."""
        self.held: dict[int, Tensor] = {}
        self.calls = 0

    def begin(self, generators: Any) -> None:
        """Draw from `generators` from now on."""
        super().begin(generators)
        self.reset()

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop some of the layer's `inputs`."""
        if not self.active:
            return inputs
        timing = self.timing or self._guess(inputs)
        steps = timing.over_time(inputs)  # [T, N, ...]
        if self.mask == "per-step":
            return super().forward(steps).reshape(inputs.shape)
        place = self.calls % timing.places
        self.calls += 1
        if place not in self.held:
            self.held[place] = super().forward(torch.ones_like(steps[:1]))
        mask = self.held[place]
        if mask.shape[1:] != steps.shape[1:]:
            raise InputError(
                f"inputs: expected shape {list(mask.shape[1:])} in each step, as that of the mask which is kept; "
                f"got {list(steps.shape[1:])} (call rest(model) before other inputs)"
            )
        if timing.time_axis and is_constant(steps):
            return repeat_over_time(single_step(steps) * mask[0], len(steps))
        return (steps * mask).reshape(inputs.shape)

    def _guess(self, inputs: Tensor) -> InputLayout:
        if inputs.dim() not in (self.dims, self.dims + 1):
            raise InputError(
                f"inputs: expected {self.dims} axes, or {self.dims + 1} with time first; got {describe(inputs)}"
            )
        return InputLayout(time_axis=inputs.dim() > self.dims)


class DroppedWeight(StochasticLayer, Stateful):
    """Parametrization that drops entries of a weight, applied after a ternary one.

    One mask is one network: all inputs share it, so samples are not folded into the batch. A fixed mask is kept until
    `reset`; otherwise each access of the weight draws a new one.

    Args:
        p: probability with which a weight is dropped.
        mask: ``"fixed"`` or ``"per-step"``.
    """

    shared_by_inputs = True

    def __init__(self, p: float, mask: str) -> None:
        super().__init__()
        self.set_masks(p, mask)
        self.reset()

    def reset(self) -> None:
        """Draw a new mask from now on."""
        self.held: Tensor | None = None

    def begin(self, generators: Any) -> None:
        """Draw from `generators` from now on."""
        super().begin(generators)
        self.reset()

    def forward(self, weight: Tensor) -> Tensor:
        """Drop entries of `weight` and scale the others by 1 / (1 - p)."""
        if not self.active:
            return weight
        if self.held is None or self.mask == "per-step":
            self.group_size(1)  # raises if no generator was set
            self.held = draw_masks(weight.shape, self.p, self.generators, weight)[0]
        return weight * self.held


def make_stochastic(
    model: nn.Module, kind: str = "dropout", *, p: float = 0.2, layers: Where = "all", mask: str = "fixed"
) -> list[str]:
    """Add dropout or dropconnect to chosen layers, in place, for Monte Carlo prediction with `mc_predict`.

    ``"dropout"`` drops inputs of a layer (Gal and Ghahramani, 2016): spikes of the previous layer, or pixels in the
    first layer. ``"dropconnect"`` drops its weights (Wan et al., 2013), the same ones for all inputs of a sample; a
    dropped ternary weight is zero, and the scale is multiplied by 1 / (1 - p). Parameters and outputs in evaluation
    mode do not change. `make_deterministic` removes it. Like every parametrization, dropconnect renames the weight in
    the ``state_dict``.

    To train with it, call `set_generator` once, and `rest` before each batch, which draws a new fixed mask.

    Args:
        model: any network with fully connected or convolutional layers, also ternary ones.
        kind: ``"dropout"`` or ``"dropconnect"``.
        p: probability with which an input or a weight is dropped, 0 <= p < 1.
        layers: ``"all"``, ``"conv"``, ``"fc"``, names of layers, or a predicate (name, module) -> bool.
        mask: ``"fixed"`` over the time steps of a sample or redrawn ``"per-step"``.

    Returns:
        Names of the chosen layers.

    Raises:
        InputError: no layer matches, a layer already has dropout or has a weight that cannot be dropped, or `kind`,
            `mask` or `p` is invalid. Nothing is changed in that case.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> make_stochastic(network, "dropconnect", p=0.1, layers=["2"])
        ['2']
        >>> make_deterministic(network)
        ['2']
    """
    check_choice("kind", kind, KINDS)
    Dropout(p, mask)  # checks both before anything is changed
    chosen = select_layers(model, layers)
    for name, layer in chosen.items():
        if isinstance(layer, StochasticLayer) or _dropout(layer) or _drops_weights(layer):
            raise InputError(f"layers: expected layers that drop nothing yet; {name!r} does (see make_deterministic)")
    if kind == "dropconnect":
        check_weights(chosen)
    for layer in chosen.values():
        if kind == "dropout":
            _drop_inputs(layer, InputDropout(p, mask, _dims(layer)))
        else:
            # unsafe=True skips torch's trial call, for which there is no generator yet.
            parametrize.register_parametrization(layer, "weight", DroppedWeight(p, mask), unsafe=True)
    return list(chosen)


def make_deterministic(model: nn.Module) -> list[str]:
    """Remove everything that `make_stochastic` added, in place; returns the names of the layers."""
    names = []
    for name, layer in list(model.named_modules()):
        dropout = _dropout(layer)
        if dropout:
            dropout.handle.remove()
            delattr(layer, CHILD)
        if remove_steps(layer, DroppedWeight) or dropout:
            names.append(name)
    return names


def _dims(layer: nn.Module) -> int:
    """Axes of a layer's inputs for one step, [N, ...]."""
    return 2 + len(getattr(layer, "kernel_size", ()))


def _dropout(layer: nn.Module) -> InputDropout | None:
    child = layer._modules.get(CHILD)
    return child if isinstance(child, InputDropout) else None


def _drops_weights(layer: nn.Module) -> bool:
    return any(isinstance(step, DroppedWeight) for step in weight_steps(layer))


def _drop_inputs(layer: nn.Module, dropout: InputDropout) -> None:
    dropout.train(layer.training)
    layer.add_module(CHILD, dropout)
    dropout.handle = layer.register_forward_pre_hook(_through_dropout)


def _through_dropout(layer: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    if not given:
        raise InputError(
            f"inputs: expected {type(layer).__name__} to be given its input in first place; got keywords alone"
        )
    return layer.input_dropout(given[0]), *given[1:]
