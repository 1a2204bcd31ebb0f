"""Switch on what is random in a model, and nothing else; leave the model exactly as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.uncertainty.foreign import is_random

__all__ = ["only_stochastic_layers_train", "stochastic_layers"]


def stochastic_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of `model` that are random in training mode, by name."""
    return {name: module for name, module in model.named_modules() if is_random(module)}


@contextmanager
def only_stochastic_layers_train(model: nn.Module, *, required: bool = True) -> Iterator[dict[str, nn.Module]]:
    """Put stochastic layers into training mode and all others, BatchNorm too, into evaluation mode.

    A stochastic layer's children are others: a block with dropout and BatchNorm keeps its statistics.

    On leaving, mode, hidden state, buffers and generators of every module are again what they were.

    Args:
        model: any module.
        required: whether there has to be a stochastic layer.

    Raises:
        InputError: nothing in the model is random, and something is required to be.
    """
    layers = stochastic_layers(model)
    if required and not layers:
        raise InputError(
            "model: expected a stochastic layer, such as a Dropout with p > 0; found none (make_stochastic puts one "
            "in; a functional dropout inside forward() cannot be switched on from outside: use a module)"
        )
    originals = [(module, _lend_copies(module)) for module in model.modules()]
    try:
        model.eval()
        for layer in layers.values():
            layer.training = True
        yield layers
    finally:
        for module, original in originals:
            vars(module).clear()
            vars(module).update(original)


def _lend_copies(module: nn.Module) -> dict[str, Any]:
    """Give `module` copies of its hidden state and buffers to write on; returns the originals."""
    originals = dict(vars(module))
    vars(module).update({name: _copy(value) for name, value in originals.items()})
    return originals


def _copy(value: Any) -> Any:
    if isinstance(value, dict):  # _buffers, SpikingJelly's _memories; also _modules, whose values stay
        copy = value.copy()  # keeps an OrderedDict one
        copy.update({name: _copy(item) for name, item in value.items() if not isinstance(item, dict)})
        return copy
    if type(value) is list:  # where some networks record spikes
        return [_copy(item) for item in value]
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        return value.detach().clone()
    return value
