"""Put only the random layers of a model into training mode, and restore the model afterwards."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.state import is_instance_of
from tsnn_uq.uncertainty.library_layers import is_random

__all__ = ["only_stochastic_layers_train", "stochastic_layers", "uncompiled"]


def stochastic_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of `model` that are random in training mode, by name."""
    return {name: module for name, module in model.named_modules() if is_random(module)}


@contextmanager
def only_stochastic_layers_train(model: nn.Module, *, required: bool = True) -> Iterator[dict[str, nn.Module]]:
    """Put stochastic layers into training mode and all others, including BatchNorm, into evaluation mode.

    The children of a stochastic layer count as others, so a block with dropout and BatchNorm keeps its statistics.
    Fused and compiled code that would bypass the layers is switched off: torch's transformer layers do not take their
    fast path, and compiled modules run uncompiled.

    On leaving, the mode, hidden state, buffers and generators of every module are restored.

    Args:
        model: any module.
        required: whether the model must have a stochastic layer.

    Raises:
        InputError: `required` is true and nothing in the model is random.
    """
    if required and not stochastic_layers(model):
        raise InputError("model: expected a stochastic layer, such as a Dropout with p > 0; found none")
    copies: dict[int, Any] = {}
    originals = [(module, module.training, _lend_copies(module, copies)) for module in model.modules()]
    try:
        for module, _, _ in originals:
            for name, child in list(module._modules.items()):
                if uncompiled(child) is not child:
                    module._modules[name] = uncompiled(child)
        layers = stochastic_layers(model)
        model.eval()
        for layer in layers.values():
            layer.training = True
        with _without_fast_paths(), _without_compilation():
            yield layers
    finally:
        for module, training, original in originals:
            vars(module).clear()
            vars(module).update(original)
            if module.training != training:
                module.training = training


def uncompiled(module: Any) -> Any:
    """The original module if `module` comes from ``torch.compile``, otherwise `module` itself."""
    return module._orig_mod if is_instance_of(module, "torch._dynamo", "OptimizedModule") else module


@contextmanager
def _without_fast_paths() -> Iterator[None]:
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _without_compilation() -> AbstractContextManager[Any]:
    """Context in which compiled functions run uncompiled; if torch's compiler is not loaded, there are none."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _lend_copies(module: nn.Module, copies: dict[int, Any]) -> dict[str, Any]:
    """Replace the hidden state and buffers of `module` by copies; returns the originals."""
    originals = dict(vars(module))
    vars(module).update({name: _copy(value, copies) for name, value in originals.items()})
    return originals


_PLAIN = {bool, float, int, str, type(None)}


def _copy(value: Any, copies: dict[int, Any]) -> Any:
    """Copy a tensor, a generator or a container of such; objects that occur twice are copied once.

    Parameters, modules and all other values are returned unchanged.

    Args:
        value: the value to copy.
        copies: earlier copies, by the ``id`` of the original.
    """
    kind = type(value)
    if kind in _PLAIN:  # most of what modules hold, so first
        return value
    if id(value) in copies:
        return copies[id(value)]
    if isinstance(value, Tensor):
        copy: Any = value if isinstance(value, nn.Parameter) else value.detach().clone()
    elif kind is torch.Generator:
        copy = value.clone_state()
    elif isinstance(value, dict):  # such as _buffers, or SpikingJelly's _memories; also _modules, whose values stay
        copies[id(value)] = copy = value.copy()  # keeps an OrderedDict one
        copy.update({name: _copy(item, copies) for name, item in value.items()})
    elif isinstance(value, list | deque):  # where some networks record spikes
        copies[id(value)] = copy = value.copy()
        copy.clear()
        copy.extend(_copy(item, copies) for item in value)
    elif isinstance(value, tuple):
        items = [_copy(item, copies) for item in value]
        copy = value
        if any(new is not old for new, old in zip(items, value, strict=True)):
            copy = kind._make(items) if hasattr(kind, "_make") else kind(items)
    else:
        return value
    copies[id(value)] = copy
    return copy
