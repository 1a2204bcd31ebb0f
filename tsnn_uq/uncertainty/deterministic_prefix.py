"""Split a network before its first random layer, so that the first part runs once for all samples."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["split_deterministic_prefix"]


def split_deterministic_prefix(
    model: nn.Module,
    layers: Collection[str],
    inputs: Tensor,
    batch_dim: int,
    reset: Callable[[], object],
    *,
    single: bool = False,
) -> tuple[nn.Module, nn.Module, int]:
    """Split a sequence of modules before the first of `layers`, if that cannot change the outputs.

    Sequences are ``nn.Sequential``, also nested, and Norse's ``SequentialState``. Subclasses, whose ``forward`` is
    unknown, and containers with hooks are not split.

    Args:
        model: any module.
        layers: names of its random modules.
        inputs: inputs of the model.
        batch_dim: the axis of `inputs` that counts inputs.
        reset: resets hidden state.
        single: whether it will run on one input, for which some layers drop the batch axis.

    Returns:
        The part before, the part from there on, and the batch axis between them.
    """
    whole = nn.Identity(), model, batch_dim
    stateful = _is_norse(model)
    chain = list(model._modules.items()) if stateful else _chain(model)
    first = next((i for i, (name, _) in enumerate(chain) if _holds(name, layers)), 0)
    if first == 0:
        return whole
    modules: list[Any] = [module for _, module in chain]
    if stateful:
        before: nn.Module = _Output(type(model)(*modules[:first]))
        after: nn.Module = _Later(type(model)(*modules[first:]), first)
    else:
        before, after = nn.Sequential(*modules[:first]), nn.Sequential(*modules[first:])
    if not set(before.modules()).isdisjoint(after.modules()):  # shared modules carry state to the second part
        return whole
    axis = _batch_axis(before, inputs, batch_dim, reset, single)
    return whole if axis is None else (before, after, axis)


def _chain(module: nn.Module, name: str = "") -> list[tuple[str, nn.Module]]:
    """The modules that run one after the other, with their names."""
    if type(module) is not nn.Sequential or _has_hooks(module):
        return [(name, module)]
    children = module._modules.items()  # named_children leaves out repetitions
    return [one for child, part in children if part is not None for one in _chain(part, f"{name}.{child}".lstrip("."))]


def _is_norse(module: nn.Module) -> bool:
    norse = type(module).__name__ == "SequentialState" and type(module).__module__.startswith("norse.")
    return norse and not module.return_hidden and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _holds(name: str, layers: Collection[str]) -> bool:
    return any(layer == name or layer.startswith(f"{name}.") for layer in layers)


class _Output(nn.Module):
    """The first part of a SequentialState, without its state."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, inputs: Tensor) -> Tensor:
        return self.part(inputs)[0]


class _Later(nn.Module):
    """The last part of a SequentialState; its list of states has None for the modules of the first part."""

    def __init__(self, part: nn.Module, first: int) -> None:
        super().__init__()
        self.part, self.first = part, first

    def forward(self, inputs: Tensor) -> tuple[Tensor, list[Any]]:
        outputs, states = self.part(inputs)
        return outputs, [None] * self.first + states


def _batch_axis(
    before: nn.Module, inputs: Tensor, batch_dim: int, reset: Callable[[], object], single: bool
) -> int | None:
    """The batch axis of the outputs of `before`: the only one that grows with the number of inputs."""
    counts = (1, 2, 3) if single else (2, 3)
    shapes: list[list[int]] = []
    for count in counts:
        which = torch.arange(count, device=inputs.device) % inputs.shape[batch_dim]
        reset()
        output = before(inputs.index_select(batch_dim, which))
        shapes.append(list(output.shape) if isinstance(output, Tensor) else [])
    for axis in range(len(shapes[0])):
        if shapes == [[*shapes[0][:axis], count, *shapes[0][axis + 1 :]] for count in counts]:
            return axis
    return None
