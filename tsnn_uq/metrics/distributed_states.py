"""Give the states of several processes one dtype and shape, before torchmetrics gathers them.

torchmetrics gathers tensors of equal dtype and number of axes, sums those of equal shape, and treats an empty list as
float32 [0]. A process without data would therefore fail if the others keep int64 or one row per class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from tsnn_uq.checks import InputError

__all__ = ["State", "align_states"]

State = Tensor | list[Tensor]
"""A sum over inputs, or a list of tensors with the inputs along the first axis."""
_AXES = 6  # maximum number of axes of a state
_DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
)


def align_states(
    states: Mapping[str, State], gather: Callable[[Tensor], Sequence[Tensor]], device: torch.device
) -> dict[str, State]:
    """The states of this process, in the dtype and shape of the processes that have data.

    Args:
        states: by name; the names and their order are the same in all processes.
        gather: gathers tensors of equal shape from all processes.
        device: device of the gathered tensors.

    Raises:
        InputError: shapes differ between processes with data, for instance in the number of classes.
    """
    forms = torch.stack([_form(state) for state in states.values()]).to(device)
    of_all = torch.stack([*gather(forms)]).tolist()  # [processes, states, form]
    pairs = zip(states.items(), zip(*of_all, strict=True), strict=True)
    return {name: _in_form(name, state, of_one, device) for (name, state), of_one in pairs}


def _filled(parts: list[Tensor]) -> list[Tensor]:
    return [part for part in parts if len(part)]


def _form(state: State) -> Tensor:
    """Whether a state holds data, its dtype, its number of axes and its shape, as int64 [3 + _AXES]."""
    if isinstance(state, list):
        parts = _filled(state)
        dtype = reduce(torch.promote_types, (part.dtype for part in parts)) if parts else torch.float32
        seen, shape = bool(parts), [0, *parts[0].shape[1:]] if parts else [0]
    else:
        seen, dtype, shape = bool(state.any()), state.dtype, [*state.shape]
    return torch.tensor([seen, _DTYPES.index(dtype), len(shape), *shape, *[0] * (_AXES - len(shape))])


def _in_form(name: str, state: State, forms: Sequence[list[int]], device: torch.device) -> State:
    """The state in the form of the states that hold data."""
    full = [form for form in forms if form[0]]
    if not full:
        if isinstance(state, list):
            return []
        full = [max(forms)]  # the widest, since sums over data may be 0
    shapes = {tuple(shape[:axes]) for _, _, axes, *shape in full}
    if len(shapes) > 1:
        found = " and ".join(str(list(shape)) for shape in sorted(shapes))
        raise InputError(f"{name}: expected the same shape in all processes, except for N; got {found}")
    shape = shapes.pop()
    if not isinstance(state, list):
        return state if state.shape == shape else state.new_zeros(shape)
    dtype = reduce(torch.promote_types, (_DTYPES[number] for _, number, *_ in full))
    return [part.to(dtype) for part in _filled(state)] or [torch.empty(shape, dtype=dtype, device=device)]
