"""Components of a run: data sets, networks, neurons, methods and regularizers, each chosen by a name.

A component is a function or a class whose typed, documented parameters are its options. It is found by a registered
name, or by ``FILE.py:name`` or ``package.module:name``. Importing such code runs it, so only `follow` does that, for
what the user names in a call; a name that is read from a file is looked up among registered ones and never imported.
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
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from tsnn_uq.checks import InputError, check_choice, describe

__all__ = [
    "HANDED",
    "KINDS",
    "Component",
    "Options",
    "Text",
    "Unknown",
    "Whole",
    "explain",
    "find",
    "follow",
    "follow_all",
    "followed",
    "from_texts",
    "is_reference",
    "known",
    "options_of",
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
"""By kind, the parameters that the runner hands over; all others are options."""
KINDS = tuple(HANDED)
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


@dataclass(frozen=True)
class Component:
    """A function or class that makes a part of a run.

    Args:
        kind: one of `KINDS`.
        name: what it is called in settings.
        make: the function or class.
        suits: settings that suit it, by the name of the component that it is used with: a network's by data set, a data
            set's by network, ``""`` for any. Options of other components are ``"network.hidden"`` and so on, and are
            taken by those that have them.
        source: where code was imported from at the user's request: a file or a module; ``""`` for what is registered.
    """

    kind: str
    name: str
    make: Callable[..., Any]
    suits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    source: str = ""

    def takes(self, name: str) -> bool:
        """Whether it has a parameter of a name."""
        return name in inspect.signature(self.make).parameters

    def require(self, name: str, value: Any) -> None:
        """Raise unless a value is of the type that its parameter of a name has."""
        wanted = get_type_hints(self.make).get(name, Any)
        if wanted is not Any and not isinstance(value, wanted):
            text = " or ".join(one.__name__ for one in get_args(wanted) or (wanted,) if one is not NoneType)
            raise InputError(f"{name}: expected {text} for {self.kind} {self.name}; got {type(value).__name__}")

    def __call__(self, options: Options, **handed: Any) -> Any:
        """What it makes with its options, and with those of the `handed` values that it takes.

        Raises:
            InputError: what the component raises, or that it cannot be called with these options.
        """
        taken = {name: value for name, value in handed.items() if self.takes(name)}
        try:
            return self.make(**options.values(), **taken)
        except InputError:
            raise
        except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            problem = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise InputError(f"{self.kind}: expected options that {self.name} takes; got {problem}") from error


class Options(BaseModel):
    """A chosen component's name, and values for all of its options."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)
    name: str

    def values(self) -> dict[str, Any]:
        """The options alone."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "name"}


class Unknown(Options):
    """The name and options of code that a file names and this process does not know."""

    model_config = ConfigDict(extra="allow")

    def values(self) -> dict[str, Any]:
        """The options alone, as they are in the file."""
        return dict(self.model_extra or {})


_REGISTERED: dict[str, dict[str, Component]] = {kind: {} for kind in KINDS}


def register(
    kind: str,
    name: str,
    make: Callable[..., Any],
    *,
    suits: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Let runs of this process find a component by a name.

    Args:
        kind: ``"data"``, ``"network"``, ``"neuron"``, ``"method"`` or ``"regularizer"``.
        name: what it is called.
        make: the function or class.
        suits: settings that suit it; see `Component`.

    Raises:
        InputError: an unknown kind, or a parameter that cannot be an option.
    """
    _add(Component(check_choice("kind", kind, KINDS), name, make, suits or {}))


def _add(component: Component) -> Component:
    if "name" in _parameters(component):
        raise InputError(f"{component.name}: expected options that are not called name, which is the component's own")
    _REGISTERED[component.kind][component.name] = component
    if component.kind == "regularizer":  # sums of terms are read there
        from tsnn_uq.training import REGULARIZERS

        REGULARIZERS[component.name] = component.make
    return component


def known(kind: str) -> Collection[str]:
    """Names that are registered, or were followed, in this process."""
    return _REGISTERED[kind].keys()


def is_reference(name: str) -> bool:
    """Whether a name is that of code: ``FILE.py:name`` or ``package.module:name``."""
    source, _, attribute = name.rpartition(":")
    parts = source.split(".")
    return attribute.isidentifier() and (source.endswith(".py") or all(part.isidentifier() for part in parts))


def find(kind: str, name: str) -> Component:
    """The component of a name; code is never imported here.

    Raises:
        InputError: an unknown name, or that of code which the user has not named in this call.
    """
    if isinstance(name, str) and name not in _REGISTERED[kind] and is_reference(name):
        remedy = f"say --{kind} {name} if you trust it" if kind != "neuron" else "name it in the call"
        raise InputError(f"{kind}: expected code that you name yourself; got {name} from a file; {remedy}")
    return _REGISTERED[kind][check_choice(kind, name, _REGISTERED[kind])]


def follow(kind: str, name: str) -> str:
    """Import the component that a user names, unless it is registered, and return the name that settings have for it.

    Of ``some/folder/mine.py:build`` that is ``mine.py:build``, so that runs may be moved.

    Raises:
        InputError: an unknown name, code that cannot be imported, or that has nothing callable of the name.
    """
    if name in _REGISTERED[kind] or not is_reference(name):
        return find(kind, name).name
    source, _, attribute = name.rpartition(":")
    if source.endswith(".py"):
        path = Path(source).expanduser().resolve()
        key, source = f"{path.name}:{attribute}", str(path)
    else:
        key = name
    before = _REGISTERED[kind].get(key)
    if before and before.source != source:
        raise InputError(f"{kind}: expected one {key}; got that of {source} after that of {before.source}")
    if not before:
        make = getattr(_module(kind, source), attribute, None)
        if not callable(make):
            raise InputError(f"{kind}: expected a function or class {attribute} in {source}; got {describe(make)}")
        _add(Component(kind, key, make, getattr(make, "suits", {}), source))
    return key


def follow_all(kind: str, text: str) -> str:
    """`follow` for a text that may be a sum of terms with weights, as that of a regularizer is."""
    if kind != "regularizer":
        return follow(kind, text)
    terms = []
    for term in re.split(r"\+(?=\D)", text):
        name, weight = term, ""
        if re.fullmatch(r".*:[\d.e+-]+", term):
            name, _, weight = term.rpartition(":")
        name = follow(kind, name) if is_reference(name) and name not in _REGISTERED[kind] else name
        terms.append(f"{name}:{weight}" if weight else name)
    return "+".join(terms)


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
        sys.modules.setdefault(path.stem, module)  # where classes and pickles look for what is defined in it
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))  # for what lies beside it
        spec.loader.exec_module(module)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"{kind}: expected code that can be imported; got {source}: {problem}") from error
    return module


def followed() -> list[tuple[str, str, str, Any]]:
    """What another process has to know before it does runs of this one, for its `refollow`."""
    components = [one for of in _REGISTERED.values() for one in of.values()]
    return [
        (one.kind, one.name, one.source, None if one.source else one.make)
        for one in components
        if not one.make.__module__.startswith(("tsnn_uq.", "functools"))
    ]


def refollow(components: Sequence[tuple[str, str, str, Any]]) -> None:
    """Make components known in this process: kind, name, and where the code is or, if there is none, the function."""
    for kind, name, source, make in components:
        if source:
            follow(kind, f"{source}:{name.rpartition(':')[2]}")
        elif name not in _REGISTERED[kind]:
            register(kind, name, make)


@cache
def options_of(component: Component) -> type[Options]:
    """The model of a component's options, made from its signature and the ``Args`` of its docstring."""
    about = _described(component.make)
    fields: dict[str, Any] = {}
    for name, parameter in _parameters(component).items():
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        if isinstance(default, list):
            default = tuple(default)
        kind = _field_type(parameter.annotation)
        if kind is not None:
            fields[name] = (kind, Field(default, description=about.get(name, "")))
        elif default is ...:
            raise InputError(f"{component.name}: expected options of plain types; got {name}: {parameter.annotation}")
    return create_model(component.name, __base__=Options, **fields)


@cache
def _parameters(component: Component) -> dict[str, inspect.Parameter]:
    """Those that are options, with hints in place of texts, and with hints of their defaults where they have none."""
    make = component.make
    try:
        hints = get_type_hints(make.__init__ if inspect.isclass(make) else make)
    except (AttributeError, NameError, TypeError):
        hints = {}
    found = {}
    for name, parameter in inspect.signature(make).parameters.items():
        if name in HANDED[component.kind] or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        guess = hints.get(name, Any if parameter.default in (None, parameter.empty) else type(parameter.default))
        found[name] = parameter.replace(annotation=guess)
    return found


def _field_type(hint: Any) -> Any:
    """The type of a field; None for what no text or TOML can say."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or origin is Literal or hint in (str, float, bool):
        return hint
    if hint is int:
        return Whole
    if origin in (tuple, list, Sequence) or hint in (tuple, list):
        item = _field_type(inner[0]) if inner else Any
        return None if item is None else Annotated[tuple[item, ...], BeforeValidator(_as_tuple)]  # type: ignore[valid-type]
    if origin in (Union, UnionType):
        kinds = [_field_type(one) for one in inner if one is not NoneType]
        return None if None in kinds else Union[(*kinds, *([None] if NoneType in inner else []))]
    return None


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _described(make: Callable[..., Any]) -> dict[str, str]:
    """What the ``Args`` of a Google docstring, of a class also of its bases, say of each parameter."""
    found: dict[str, str] = {}
    for one in reversed(inspect.getmro(make)) if inspect.isclass(make) else [make]:
        _, _, args = (inspect.cleandoc(one.__doc__ or "")).partition("Args:\n")
        section = re.split(r"\n(?=\S)", args)[0]
        for entry in re.split(r"\n(?=    \w)", "\n" + section):
            name, colon, text = entry.strip().partition(":")
            if colon and name.isidentifier():
                found[name] = " ".join(text.split()).rstrip(".")
    return found


class Text(str):
    """A value as it was typed, to become what the option wants."""


def from_texts(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a model's fields, those that were typed as what the fields want: numbers, lists with commas."""
    fields = model.model_fields
    return {
        name: _parsed(fields[name].annotation, value) if isinstance(value, Text) and name in fields else value
        for name, value in values.items()
    }


def typed(kind: str, target: str, value: Any, names: Sequence[str]) -> Any:
    """A value that was typed for the option ``kind.option``, as the first of some components wants it that has it."""
    option = target.partition(".")[2]
    for name in names:
        if name in _REGISTERED[kind] and option in (model := options_of(find(kind, name))).model_fields:
            return from_texts(model, {option: value})[option]
    return value


def _parsed(hint: Any, text: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _parsed(inner[0], text)
    if origin is tuple:
        return tuple(_parsed(inner[0], part.strip()) for part in text.split(",")) if text.strip() else ()
    if origin in (Union, UnionType):
        kinds = [one for one in inner if one is not NoneType]
        return None if text in ("", "none") and NoneType in inner else _parsed(kinds[0], text)
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), str(text))
    for kind in {int: (int,), float: (int, float), Any: (int, float)}.get(hint, ()):
        try:
            return kind(text)
        except ValueError:
            continue
    return str(text)


def explain(error: ValidationError, where: str, names: Collection[str]) -> InputError:
    """The first of pydantic's complaints as one line: which setting, what was expected, what came."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, InputError):
        return inner
    path = [str(part) for part in first["loc"]]
    setting = ".".join([*([where] if where else []), *(path[:1] if first["type"] != "missing" else path)])
    if first["type"] == "extra_forbidden":
        options = [name for name in names if name != "name"]
        try:
            check_choice(f"{where}: option" if where else "setting", path[0], options)
        except InputError as problem:
            return problem
    message = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if first["type"] == "missing":
        return InputError(f"{setting}: expected a value; got none")
    return InputError(f"{setting}: expected {message}; got {describe(first['input'])}")
