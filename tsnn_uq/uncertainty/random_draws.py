"""Monitor a running network: which modules draw random numbers, and which call a dropout that is switched off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tsnn_uq.uncertainty.library_layers import is_random, one_draw_per_element

__all__ = ["DrawMonitor", "own_generators"]

_DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout"}
_DROPOUTS |= {"feature_alpha_dropout"}
_DROPOUTS |= {f"{name}_" for name in _DROPOUTS}


class DrawMonitor:
    """Context that records how each module of a network uses random numbers.

    A module's hooks count as its own code; its children do not.

    Args:
        model: a network.
        closely: whether to monitor every function and operator, which takes several times as long as the network.
            Otherwise only layers that are known to draw one number per element of their input are monitored; they
            count as drawing in evaluation mode, too.

    Attributes:
        drew: whether torch's global generators, or generators kept by modules, were used.
        draws: how many numbers each module drew, by its name.
        skipped: names of modules that called a dropout function that was switched off.
        batch_statistics: names of modules that normalized by batch statistics.
    """

    def __init__(self, model: nn.Module, *, closely: bool) -> None:
        self.model, self.closely, self.drew = model, closely, False
        self.draws: Counter[str] = Counter()
        self.skipped: set[str] = set()
        self.batch_statistics: set[str] = set()
        self._running = [""]  # names of the running modules, innermost last

    def __enter__(self) -> DrawMonitor:
        self._generators = [*_global_generators(), *own_generators(self.model).values()]
        self._states = [generator.get_state() for generator in self._generators]
        with ExitStack() as stack:
            for name, module in self.model.named_modules():
                if self.closely:
                    stack.enter_context(module.register_forward_pre_hook(partial(self._start, name), prepend=True))
                    stack.enter_context(module.register_forward_hook(partial(self._end, name)))
                elif is_random(module) and one_draw_per_element(module):
                    stack.enter_context(module.register_forward_pre_hook(partial(self._count, name), with_kwargs=True))
            if self.closely:
                stack.enter_context(_Functions(self))
                stack.enter_context(_Operators(self))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.drew = _have_drawn(self._generators, self._states)

    def _count(self, name: str, _: nn.Module, *given: object) -> None:
        self.draws[name] += next((leaf.numel() for leaf in tree_leaves(given) if isinstance(leaf, Tensor)), 0)

    def _start(self, name: str, *_: object) -> None:
        self._running.append(name)

    def _end(self, name: str, *_: object) -> None:
        while self._running.pop() != name:  # a module that raised an exception never reached its end hook
            pass

    @property
    def module(self) -> str:
        """The name of the running module."""
        return self._running[-1]


class _Operators(TorchDispatchMode):
    """Counts the random numbers that operators draw."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise the first use imports the compiler, which takes seconds

    def __init__(self, watch: DrawMonitor) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        generators = [kwargs["generator"]] if kwargs.get("generator") else _global_generators()
        states = [generator.get_state() for generator in generators]
        result = func(*args, **kwargs)
        # Attention and recurrent layers call such operators without dropout, too; those draw nothing.
        if _have_drawn(generators, states):
            drawn = next(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
            permutation = func.overloadpacket is torch.ops.aten.randperm  # one draw, whatever its length
            self.watch.draws[self.watch.module] += 1 if permutation else drawn.numel()
        return result


class _Functions(TorchFunctionMode):
    """Records calls of functions that behave differently in training; an inactive dropout calls no operator."""

    def __init__(self, watch: DrawMonitor) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _DROPOUTS:
            given = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
            if not given.get("training", given.get("train", True)) and given.get("p", 0.5) > 0:
                self.watch.skipped.add(self.watch.module)
        elif name == "batch_norm" and (args[5] if len(args) > 5 else kwargs.get("training", False)):
            self.watch.batch_statistics.add(self.watch.module)
        return func(*args, **kwargs)


def _global_generators() -> list[torch.Generator]:
    """torch's global generators on the devices in use."""
    return [torch.default_generator, *(torch.cuda.default_generators if torch.cuda.is_initialized() else ())]


def _have_drawn(generators: Sequence[torch.Generator], states: Sequence[Tensor]) -> bool:
    """Whether the state of any generator has changed."""
    return any(not torch.equal(one.get_state(), state) for one, state in zip(generators, states, strict=True))


def own_generators(model: nn.Module) -> dict[str, torch.Generator]:
    """The generators that modules keep as attributes, by name."""
    return {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if type(value) is torch.Generator
    }
