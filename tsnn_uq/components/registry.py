"""Registry of the components of a run: data sets, networks, neurons, methods and regularizers, each chosen by name.

A component is a function or class whose typed, documented parameters are its options. It is found by a registered name,
or by ``FILE.py:name`` or ``package.module:name``. Importing such code runs it, so only `follow` does so, for names that
the user gives in a call. A name that is read from a file is looked up among registered components and never imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, get_args, get_type_hints

from tsnn_uq.checks import InputError, check_choice, describe
from tsnn_uq.components.option_models import Options, model_of, parsed
from tsnn_uq.training import REGULARIZERS

__all__ = [
    "KINDS",
    "Component",
    "find",
    "follow",
    "followed",
    "is_known",
    "is_reference",
    "known",
    "names_in",
    "refollow",
    "register",
    "typed",
]

HANDED = {
    "data": ("seed", "data_dir", "folds"),
    "network": ("shape", "classes", "neuron", "sizes"),
    "neuron": (),
    "method": ("teacher",),
    "regularizer": (),
}
"""For each kind, the parameters that the runner passes; all others are options."""
KINDS = tuple(HANDED)


@dataclass(frozen=True)
class Component:
    """A function or class that makes a part of a run.

    Args:
        kind: one of `KINDS`.
        name: its name in settings.
        make: the function or class.
        suits: default settings by the name of the component it is used with: for a network by data set, for a data set
            by network, ``""`` for any. Options of other components are named ``"network.hidden"`` and so on, and used
            by those that have them.
        source: the file or module from which user code was imported; ``""`` for registered components.
    """

    kind: str
    name: str
    make: Callable[..., Any]
    suits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    source: str = ""

    @property
    def reference(self) -> str:
        """The name of user code, ``FILE.py:name`` or ``package.module:name``; empty for registered components."""
        return self.source and f"{self.source}:{self.name.rpartition(':')[2]}"

    @property
    def options(self) -> type[Options]:
        """The model of its options."""
        return model_of(self.name, self.make, HANDED[self.kind])

    def takes(self, name: str) -> bool:
        """Whether it has a parameter of this name."""
        return name in inspect.signature(self.make).parameters

    def require(self, name: str, value: Any) -> None:
        """Raise unless a value has the type of its parameter `name`."""
        wanted = get_type_hints(self.make).get(name, Any)
        if wanted is not Any and not isinstance(value, wanted):
            text = " or ".join(one.__name__ for one in get_args(wanted) or (wanted,) if one is not NoneType)
            raise InputError(f"{name}: expected {text} for {self.kind} {self.name}; got {type(value).__name__}")

    def __call__(self, options: Options, **handed: Any) -> Any:
        """Call the function or class with its options, and with those of the `handed` values that it takes.

        Raises:
            InputError: the component raises an error, or cannot be called with these options.
        """
        taken = {name: value for name, value in handed.items() if self.takes(name)}
        try:
            return self.make(**options.values(), **taken)
        except InputError:
            raise
        except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            problem = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise InputError(f"{self.kind}: expected options that {self.name} takes; got {problem}") from error


_REGISTERED: dict[str, dict[str, Component]] = {kind: {} for kind in KINDS}


def register(
    kind: str,
    name: str,
    make: Callable[..., Any],
    *,
    suits: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Register a component by name for the runs of this process.

    Args:
        kind: ``"data"``, ``"network"``, ``"neuron"``, ``"method"`` or ``"regularizer"``.
        name: name of the component.
        make: the function or class.
        suits: its default settings; see `Component`.

    Raises:
        InputError: an unknown kind.
    """
    _add(Component(check_choice("kind", kind, KINDS), name, make, suits or {}))


def _add(component: Component) -> Component:
    _REGISTERED[component.kind][component.name] = component
    if component.kind == "regularizer":  # sums of terms are parsed there
        REGULARIZERS[component.name] = component.make
    return component


def known(kind: str) -> Collection[str]:
    """Names that are registered, or were imported by `follow`, in this process."""
    return _REGISTERED[kind].keys()


def is_reference(name: str) -> bool:
    """Whether a name refers to code: ``FILE.py:name`` or ``package.module:name``."""
    source, _, attribute = name.rpartition(":")
    parts = source.split(".")
    return attribute.isidentifier() and (source.endswith(".py") or all(part.isidentifier() for part in parts))


def find(kind: str, name: str) -> Component:
    """Find a component by name, without importing code.

    Raises:
        InputError: the name is unknown, or refers to code that the user has not named in this call.
    """
    if isinstance(name, str) and name not in _REGISTERED[kind] and is_reference(name):
        remedy = f"say --{kind} {name} if you trust it" if kind != "neuron" else "name it in the call"
        raise InputError(f"{kind}: expected code that you name yourself; got {name} from a file; {remedy}")
    return _REGISTERED[kind][check_choice(kind, name, _REGISTERED[kind])]


def names_in(kind: str, text: str) -> list[str]:
    """The names of components in a text: a single one, or for a regularizer the terms of a sum, without weights."""
    return [name for name, _ in _terms(kind, text)]


def _terms(kind: str, text: str) -> list[tuple[str, str]]:
    terms = re.split(r"\+(?=\D)", text) if kind == "regularizer" else [text]  # not at the + of 1e+3
    weights = [re.search(r"(:[\d.][\d.e+-]*)?$", term) for term in terms]
    return [(term[: found.start()], found[0]) for term, found in zip(terms, weights, strict=True) if found]


def is_known(kind: str, text: str) -> bool:
    """Whether a text names only registered components, or at least no code."""
    return all(name in known(kind) or not is_reference(name) for name in names_in(kind, text))


def follow(kind: str, text: str) -> str:
    """Import the code that a user names, unless it is registered, and return its name in settings.

    For ``some/folder/mine.py:build`` this is ``mine.py:build``, so that runs can be moved. Other names are returned
    unchanged.

    Args:
        kind: kind of the component.
        text: a name, or for a regularizer a sum of terms.

    Raises:
        InputError: the code cannot be imported, or has no callable of this name.
    """
    return "+".join(_follow(kind, name) + weight for name, weight in _terms(kind, text))


def _follow(kind: str, name: str) -> str:
    if name in _REGISTERED[kind] or not is_reference(name):
        return name
    source, _, attribute = name.rpartition(":")
    key = name
    if source.endswith(".py"):
        path = Path(source).expanduser().resolve()
        key, source = f"{path.name}:{attribute}", str(path)
    before = _REGISTERED[kind].get(key)
    if before and before.source != source:
        raise InputError(f"{kind}: expected one {key}; got that of {source} after that of {before.source}")
    if not before:
        make = getattr(_module(kind, source), attribute, None)
        if not callable(make):
            raise InputError(f"{kind}: expected a function or class {attribute} in {source}; got {describe(make)}")
        _add(Component(kind, key, make, getattr(make, "suits", {}), source))
    return key


@cache
def _module(kind: str, source: str) -> ModuleType:
    try:
        if not source.endswith(".py"):
            return importlib.import_module(source)
        path = Path(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)  # classes and pickles look up their module there
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))  # lets the code import modules from its folder
        spec.loader.exec_module(module)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"{kind}: expected code that can be imported; got {source}: {problem}") from error
    return module


def followed() -> list[tuple[str, str, str, Any]]:
    """The components of this process, for `refollow` in another process that does its runs."""
    components = [one for of in _REGISTERED.values() for one in of.values()]
    return [
        (one.kind, one.name, one.reference, None if one.source else one.make)
        for one in components
        if not one.make.__module__.startswith(("tsnn_uq.", "functools"))
    ]


def refollow(components: Sequence[tuple[str, str, str, Any]]) -> None:
    """Make the components of another process known in this one.

    Args:
        components: for each, its kind, its name, and a reference to the code or the function itself.
    """
    for kind, name, reference, make in components:
        if reference:
            follow(kind, reference)
        elif name not in _REGISTERED[kind]:
            register(kind, name, make)


def typed(kind: str, target: str, value: Any, names: Sequence[str]) -> Any:
    """Convert a value typed for the option ``kind.option`` to the type of the first component with this option."""
    option = target.partition(".")[2]
    for name in names:
        if name in _REGISTERED[kind] and option in (fields := find(kind, name).options.model_fields):
            return parsed(fields[option].annotation, value)
    return value
