"""A device for tests of what devices are told: it computes on the processor, but refuses what an accelerator refuses.

Tensors on it report the device ``"meta"``, the only one besides the processor that any build of torch knows, and have
values all the same.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import adam, optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["VIRTUAL", "virtual_device"]

VIRTUAL = torch.device("meta")
BETWEEN_DEVICES = ("copy_", "_to_copy", "_foreach_copy_")
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")  # by places on the processor too
_float64 = True
FROM_VALUES = (torch.tensor, torch.as_tensor, torch.asarray)


class _OnDevice(Tensor):
    """A tensor that lives on the virtual device; its values are in `values`, on the processor."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> Any:
        made = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=VIRTUAL,
        )
        made.values = values
        return made

    def __init__(self, values: Tensor) -> None:
        pass

    def __repr__(self, **_: Any) -> str:
        return f"{self.values!r} on the virtual device"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})


class _Generator(torch.Generator):
    """A generator that says on which device it is."""

    def __new__(cls, device: torch.device | str = "cpu") -> Any:
        made = super().__new__(cls)
        made.on = torch.device(device)
        return made

    def __init__(self, device: torch.device | str = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return self.on


def _compute(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the processor; its result is on the device that its inputs are on, or that it names."""
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    name = function.overloadpacket.__name__
    here = any(isinstance(tensor, _OnDevice) for tensor in tensors)
    elsewhere = [tensor for tensor in tensors if not isinstance(tensor, _OnDevice) and tensor.dim()]
    index = name in INDEXING and isinstance(args[0], _OnDevice)
    if here and elsewhere and not index and name not in BETWEEN_DEVICES:
        raise RuntimeError(f"Expected all tensors to be on the same device, in {function}")
    if "device" in kwargs and kwargs["device"] is not None:
        here = torch.device(kwargs["device"]).type == VIRTUAL.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    originals = {id(tensor.values): tensor for tensor in tensors if isinstance(tensor, _OnDevice)}
    if here and torch.Tag.inplace_view in function.tags:  # squeeze_ and the like change the shape that is told, too
        with no_dispatch():
            function(*args, **kwargs)
    args, kwargs = tree_map(lambda leaf: leaf.values if isinstance(leaf, _OnDevice) else leaf, (args, kwargs))

    def on_device(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return originals[id(leaf)] if id(leaf) in originals else _OnDevice(leaf)

    result = function(*args, **kwargs)
    if here and not _float64 and any(_is_double(leaf) for leaf in tree_leaves(result)):
        raise TypeError(f"Cannot convert a tensor to float64 dtype: the device has no float64, in {function}")
    return tree_map(on_device, result) if here else result


def _is_double(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dtype is torch.float64


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})


class _Function(TorchFunctionMode):
    """What does not come as far as the operations: generators, values for a factory, values for Python and NumPy."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if (generator := kwargs.get("generator")) is not None:
            on = device or next((leaf.device for leaf in tree_leaves(args) if isinstance(leaf, Tensor)), "cpu")
            if torch.device(on).type != generator.device.type:
                raise RuntimeError(f"Expected a {on!s} device type for generator but found {generator.device!s}")
        if function in FROM_VALUES and device is not None and torch.device(device).type == VIRTUAL.type:
            del kwargs["device"]
            learns = kwargs.pop("requires_grad", False)  # which moving would lose under no_grad
            return function(*args, **kwargs).to(VIRTUAL).requires_grad_(learns)
        if function is Tensor.new_tensor and isinstance(args[0], _OnDevice):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(VIRTUAL)
        if function in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], _OnDevice):
            args = (args[0], torch.tensor(args[1]) if isinstance(args[1], list) else args[1], *args[2:])
        if function is Tensor.tolist and isinstance(args[0], _OnDevice):
            return args[0].cpu().tolist()
        if function in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], _OnDevice):
            raise TypeError("can't convert virtual device type tensor to numpy. Use Tensor.cpu() first")
        return function(*args, **kwargs)


def _autocast(autocast: Any, on: str, *rest: Any, **more: Any) -> Any:
    """torch's own, which does not know the virtual device."""
    return nullcontext() if on == VIRTUAL.type else autocast(on, *rest, **more)


@contextmanager
def virtual_device(*, float64: bool = True) -> Iterator[torch.device]:
    """A context in which the virtual device is there; gives it.

    Args:
        float64: whether it has that dtype; Apple's devices do not.
    """
    global _float64
    _float64 = float64
    fused = [*optimizer._get_fused_kernels_supported_devices(), VIRTUAL.type]
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for module in (optimizer, adam):
            patch.setattr(module, "_get_fused_kernels_supported_devices", lambda: fused, raising=False)
        autocast = torch.autocast
        patch.setattr(torch, "autocast", lambda on, *rest, **more: _autocast(autocast, on, *rest, **more))
        plain = torch.Generator
        for module in [torch, *(module for name, module in sys.modules.items() if name.startswith("tsnn_uq"))]:
            if getattr(module, "Generator", None) is plain:
                patch.setattr(module, "Generator", _Generator)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", ".*copying from a non-meta parameter")  # which has values here
        stack.enter_context(_Dispatch())
        stack.enter_context(_Function())
        yield VIRTUAL
