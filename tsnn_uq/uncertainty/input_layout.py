"""Find the layout of a layer's inputs: one step per call, all steps in one call, or steps folded into the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.seeds import global_seed

__all__ = ["COUNTS", "InputLayout", "input_layouts", "time_and_batch_axes"]

COUNTS = (2, 3)  # inputs in the two trial runs; the batch axis is the one that grows


@dataclass(frozen=True)
class InputLayout:
    """Layout of a layer's inputs for N inputs and T time steps.

    Attributes:
        time_axis: whether one call receives all steps, [T, N, ...].
        folded: without a time axis, the steps in one call, [T * N, ...] with time first; 1 for one step per call.
        places: how many times the network calls the layer in each step.
    """

    time_axis: bool = False
    folded: int = 1
    places: int = 1

    @property
    def one_step(self) -> bool:
        """Whether a call receives one step."""
        return not self.time_axis and self.folded == 1

    def over_time(self, inputs: Tensor) -> Tensor:
        """The inputs of one call as [T, N, ...]; T = 1 if it receives one step."""
        return inputs if self.time_axis else inputs.unflatten(0, (self.folded, -1))


def input_layouts(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    inputs: Tensor,
    batch_dim: int,
    reset: Callable[[], object],
) -> dict[str, InputLayout]:
    """Find the layout of the inputs of each of `layers` by running `model` on two and on three inputs.

    Args:
        model: a network in evaluation mode; its hidden state is not restored.
        layers: layers of the model, by name.
        inputs: inputs of the model.
        batch_dim: the axis of `inputs` that counts inputs.
        reset: resets hidden state.

    Raises:
        InputError: a layer is never called, or the time and batch axes of its inputs cannot be determined.
    """
    few, more = (_Calls(model, layers) for _ in COUNTS)
    for calls, count in zip((few, more), COUNTS, strict=True):
        wanted = torch.arange(count, device=inputs.device) % inputs.shape[batch_dim]
        reset()
        with calls, global_seed(0, inputs.device):
            model(inputs.index_select(batch_dim, wanted))
    return {name: _timing(name, few, more) for name in layers}


def _timing(name: str, few: _Calls, more: _Calls) -> InputLayout:
    calls = few.inputs[name], more.inputs[name]
    if not calls[1]:
        raise InputError(
            f"model: expected {name!r} to be called in forward(); it is not (are its weights used by a function?)"
        )
    found = (
        {time_and_batch_axes(*pair) for pair in zip(*calls, strict=True)} if len(calls[0]) == len(calls[1]) else {None}
    )
    if len(found) != 1 or None in found:
        raise InputError(
            f"model: expected {name!r} to be given [N, ...], [T, N, ...] or [T * N, ...] with time first, as often for "
            f"{COUNTS[0]} inputs as for {COUNTS[1]}; got shape {list(calls[1][0].shape)} for {COUNTS[1]}"
        )
    ((time_axis, folded),) = (one for one in found if one is not None)
    return InputLayout(time_axis, folded, places=len(calls[1]) // more.steps(len(calls[1])))


def time_and_batch_axes(few: Tensor, more: Tensor) -> tuple[bool, int] | None:
    """The time and batch axes of a tensor, from its values for `COUNTS` inputs.

    Returns:
        Whether there is a time axis, and how many steps are folded into the batch; None if this cannot be determined.
    """
    if few.dim() != more.dim():
        return None
    grown = [axis for axis, sizes in enumerate(zip(few.shape, more.shape, strict=True)) if sizes[0] != sizes[1]]
    if grown == [1] and (few.shape[1], more.shape[1]) == COUNTS:
        return True, 1
    if grown == [0] and few.shape[0] * COUNTS[1] == more.shape[0] * COUNTS[0]:
        folded = few.shape[0] // COUNTS[0]
        return (False, folded) if folded == 1 or _time_first(few, more, folded) else None
    return None


def _time_first(few: Tensor, more: Tensor, folded: int) -> bool:
    """Whether rows [T * N, ...] have time first, judged by the two inputs that both calls share."""

    def alike(one: Tensor, other: Tensor) -> bool:
        return bool((one == other).double().mean() > 0.999)  # but for rounding

    by_time = alike(few.unflatten(0, (folded, -1)), more.unflatten(0, (folded, -1))[:, : COUNTS[0]])
    by_input = alike(few.unflatten(0, (-1, folded)), more.unflatten(0, (-1, folded))[: COUNTS[0]])
    return by_time or not by_input


class _Calls:
    """Context that records the inputs of some layers of a model, and counts the calls of all others."""

    def __init__(self, model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
        self.layers = layers
        watched = set(layers.values())
        self.units = [unit for unit in _units(model) if watched.isdisjoint(unit.modules())]
        self.inputs: dict[str, list[Tensor]] = {name: [] for name in layers}
        self.counts: dict[nn.Module, int] = dict.fromkeys(self.units, 0)

    def __enter__(self) -> _Calls:
        self.handles = [unit.register_forward_hook(self._count) for unit in self.units]
        for name, layer in self.layers.items():
            # Before other hooks, so that it sees what the layer was called with.
            self.handles.append(layer.register_forward_pre_hook(partial(self._note, name), prepend=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _note(self, name: str, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        if not given:
            raise InputError(f"model: expected {name!r} to be called with its input in first place; got keywords alone")
        self.inputs[name].append(given[0])

    def _count(self, unit: nn.Module, *_: object) -> None:
        self.counts[unit] += 1

    def steps(self, calls: int) -> int:
        """The calls of a layer that has one in each step: the most of any layer that divide `calls`."""
        return max((count for count in self.counts.values() if count and calls % count == 0), default=calls)


def _units(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a model: modules that have weights, state of their own, or no children."""
    children = list(module.children())
    if not children or module._parameters or hasattr(module, "parametrizations") or hasattr(module, "_memories"):
        yield module
    else:
        for child in children:
            yield from _units(child)
