"""The options of a component: a validated model made from its signature, filled from TOML or from the command line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)

from tsnn_uq.checks import InputError, check_choice, describe

__all__ = ["Checked", "Options", "Text", "Unknown", "Whole", "explain", "model_of", "parsed"]

Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Text(str):
    """Text from the command line, to be converted to the type of an option.

    Attributes:
        option: the option as the user typed it, for error messages.
    """

    option = ""


class Checked(BaseModel):
    """A model whose values have exactly the types of its fields, unless they are `Text`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    @field_validator("*", mode="before")
    @classmethod
    def _parse_text(cls, value: Any, info: ValidationInfo) -> Any:
        return parsed(cls.model_fields[str(info.field_name)].annotation, value)


class Options(Checked):
    """The name of a chosen component, and values of all of its options."""

    name: str

    def values(self) -> dict[str, Any]:
        """The options without the name."""
        return {name: value for name, value in self if name != "name"}


class Unknown(Options):
    """The name and options of a component whose code a file names, but which is not imported in this process."""

    model_config = ConfigDict(extra="allow")


@cache
def model_of(name: str, make: Callable[..., Any], besides: tuple[str, ...] = ()) -> type[Options]:
    """Make the model of a component's options from its signature and the ``Args`` of its docstring.

    A parameter without a type has the type of its default. A parameter with a default and a type that TOML cannot
    express is not an option.

    Args:
        name: name of the component.
        make: the function or class.
        besides: parameters that are not options.

    Raises:
        InputError: a parameter without a default has an unsupported type, or a parameter is called ``name``.
    """
    try:
        hints = get_type_hints(make.__init__ if inspect.isclass(make) else make)
    except (AttributeError, NameError, TypeError):
        hints = {}
    about = _described(make)
    fields: dict[str, Any] = {}
    for option, parameter in inspect.signature(make).parameters.items():
        if option in besides or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        hint = hints.get(option, Any if default in (None, ...) else type(default))
        kind = _field_type(hint)
        if option == "name" or (kind is None and default is ...):
            raise InputError(f"{name}: expected options of plain types, and none called name; got {option}: {hint}")
        if kind is not None:
            fields[option] = (kind, Field(_as_tuple(default), description=about.get(option, "")))
    return create_model(name, __base__=Options, **fields)


def _field_type(hint: Any) -> Any:
    """The type of a field; None if neither text nor TOML can express it."""
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
    """Descriptions of parameters from the ``Args`` of a Google docstring and those of base classes, without markup."""
    found: dict[str, str] = {}
    for one in reversed(inspect.getmro(make)) if inspect.isclass(make) else [make]:
        _, _, args = (inspect.cleandoc(one.__doc__ or "")).partition("Args:\n")
        section = re.split(r"\n(?=\S)", args)[0]
        for entry in re.split(r"\n(?=    \w)", "\n" + section):
            name, colon, text = entry.strip().partition(":")
            if colon and name.isidentifier():
                found[name] = " ".join(text.split()).rstrip(".").replace("`", "")
    return found


def parsed(hint: Any, value: Any) -> Any:
    """Convert `Text` to a type: a number, or a comma-separated list; other values are returned unchanged."""
    if not isinstance(value, Text):
        return value
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return parsed(inner[0], value)
    if origin is tuple:
        return tuple(parsed(inner[0], Text(part.strip())) for part in value.split(",")) if value.strip() else ()
    if origin in (Union, UnionType):
        kinds = [one for one in inner if one is not NoneType]
        return None if value in ("", "none") and NoneType in inner else parsed(kinds[0], value)
    if hint is bool:
        return {"true": True, "false": False}.get(value.lower(), str(value))
    for kind in {int: (int,), float: (float,), Any: (int, float)}.get(hint, ()):
        with suppress(ValueError):
            return kind(value)
    return str(value)


def explain(error: ValidationError, where: str, names: Collection[str]) -> InputError:
    """Format the first error of pydantic as one line: the setting, what was expected, and what it got."""
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
