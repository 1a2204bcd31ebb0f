"""Random layers of any library: which layers are random, and how long each keeps its mask."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.constant_input import is_constant
from tsnn_uq.seeds import derive_seed, global_seed
from tsnn_uq.state import is_instance_of
from tsnn_uq.uncertainty.input_layout import InputLayout
from tsnn_uq.uncertainty.stochastic_layer import StochasticLayer

__all__ = [
    "StepwiseForward",
    "choose_mask",
    "dropout_rates",
    "is_random",
    "mask_mode",
    "may_apply_dropout",
    "one_draw_per_element",
]


def dropout_rates(module: nn.Module) -> list[float]:
    """The dropout probabilities that `module` has as attributes, such as ``p`` or ``drop_prob``."""
    numbers = [value for name, value in vars(module).items() if name == "p" or "drop" in name.lower()]
    return [value for value in numbers if isinstance(value, int | float) and not isinstance(value, bool)]


def is_random(module: nn.Module) -> bool:
    """Whether `module` itself, without its children, draws random numbers in training mode.

    These are our stochastic layers and rate codings, the dropout layers of ``torch.nn`` and the dropout inside its
    attention and recurrent layers, the dropout of SpikingJelly's recurrent layers, and any layer with "Drop" in its
    name. Layers with probability zero do not count, nor do recurrent modules of one layer, which drop nothing.
    """
    if isinstance(module, Coding):
        return module.stochastic
    if _is_recurrent(module):
        return module.num_layers > 1 and any(dropout_rates(module))
    kinds = StochasticLayer | nn.modules.dropout._DropoutNd | nn.MultiheadAttention
    return (isinstance(module, kinds) or "Drop" in type(module).__name__) and any(dropout_rates(module))


def may_apply_dropout(module: nn.Module) -> bool:
    """Whether `module`, which `is_random` does not know, may apply dropout by itself in training mode.

    It does if it has a dropout probability above zero, or has none but its code names both a dropout and ``training``.
    """
    if numbers := dropout_rates(module):
        return any(numbers)
    kind: Any = type(module)
    names = _names_in_code(kind)
    return "training" in names and any("drop" in name.lower() for name in names)


@cache
def _names_in_code(kind: Any) -> set[str]:
    """All names in the methods of a class and its bases, except torch's."""
    names: set[str] = set()
    for base in kind.__mro__:
        if not base.__module__.startswith("torch.nn."):
            codes = [method.__code__ for method in vars(base).values() if hasattr(method, "__code__")]
            for code in codes:
                names.update(code.co_names)
                for constant in code.co_consts:
                    if hasattr(constant, "co_code"):  # a function inside
                        codes.append(constant)
                    elif isinstance(constant, tuple):  # names of keyword arguments
                        names.update(name for name in constant if isinstance(name, str))
    return names


def one_draw_per_element(module: nn.Module) -> bool:
    """Whether a layer of another library draws a number of random values proportional to its input's elements.

    Its samples can then be folded into the batch.
    """
    torchs = {nn.Dropout, nn.AlphaDropout, nn.MultiheadAttention, nn.RNN, nn.LSTM, nn.GRU}
    spiking = (
        is_instance_of(module, "spikingjelly.activation_based.layer.dropout", "Dropout")
        and "2d" not in type(module).__name__
    )
    return type(module) in torchs or spiking or _is_spiking_recurrent(module)


def _is_recurrent(module: nn.Module) -> TypeGuard[Any]:
    return isinstance(module, nn.RNNBase) or _is_spiking_recurrent(module)


def _is_spiking_recurrent(module: nn.Module) -> TypeGuard[Any]:
    return is_instance_of(module, "spikingjelly.activation_based.rnn", "SpikingRNNBase")


def mask_mode(layer: nn.Module) -> str:
    """Default mask mode of another library's layer: SpikingJelly's keep a mask, all others redraw it."""
    if _is_spiking_recurrent(layer):
        return "fixed" if layer.invariant_dropout_mask else "per-step"
    return "fixed" if hasattr(layer, "_memories") and getattr(layer, "invariant", True) else "per-step"


def choose_mask(name: str, layer: nn.Module, mask: str) -> None:
    """Set the mask mode of a layer that has one; dropout layers of other libraries are later run step by step.

    Args:
        name: the layer's name.
        layer: a random layer.
        mask: ``"fixed"`` or ``"per-step"``.

    Raises:
        InputError: the layer draws its masks internally and cannot keep them.
    """
    if isinstance(layer, StochasticLayer):
        layer.mask = mask
    elif _is_spiking_recurrent(layer):
        layer.invariant_dropout_mask = mask == "fixed"
    elif mask == "fixed" and (isinstance(layer, nn.RNNBase | nn.MultiheadAttention) or not is_random(layer)):
        raise InputError(
            f"mask: expected 'per-step' or None, since {name!r} ({type(layer).__name__}) draws its masks inside and "
            "keeps none; got 'fixed'"
        )


class StepwiseForward:
    """Replacement for a layer's ``forward`` that runs one time step at a time.

    For a fixed mask each step of a sample draws from the same seed. This works for any layer that draws from torch's
    global generator.

    Args:
        layer: the layer.
        timing: the layout of its inputs.
        fixed: whether all steps of a sample share one draw.
    """

    def __init__(self, layer: nn.Module, timing: InputLayout, *, fixed: bool) -> None:
        self.forward: Callable[..., Tensor] = layer.forward
        self.layer, self.timing, self.fixed = layer, timing, fixed
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Start a pass that draws from `seed`."""
        self.seed, self.calls = seed, 0

    def __call__(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Outputs of the layer, in the layout of `inputs`."""
        seed = derive_seed(self.seed, self.calls % self.timing.places)
        self.calls += 1
        if is_constant(inputs):  # an in-place layer must not write to all steps at once
            inputs = inputs.clone()
        # A step keeps its time axis, which some layers require.
        steps = inputs.split(1) if self.timing.time_axis else inputs.chunk(self.timing.folded)
        return torch.cat([self._step(step, seed, args, kwargs) for step in steps])

    def _step(self, step: Tensor, seed: int, args: Any, kwargs: Any) -> Tensor:
        memories = vars(self.layer).get("_memories", {})
        memories.update(vars(self.layer).get("_memories_rv", {}))  # SpikingJelly's mask, to be drawn again
        with global_seed(seed, step.device) if self.fixed else nullcontext():
            return self.forward(step, *args, **kwargs)
