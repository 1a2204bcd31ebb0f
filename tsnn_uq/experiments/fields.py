"""The fields of a run's settings: each with what it is about, and how its value is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any

from tsnn_uq.checks import InputError, check_fraction, check_positive

__all__ = ["any_text", "choice", "count", "counts", "not_negative", "number", "probability", "switch", "text", "whole"]


def choice(default: str, about: str, choices: Iterable[str]) -> Any:
    return field(default=default, metadata={"about": about, "choices": tuple(choices)})


def text(default: str, about: str, option: str) -> Any:
    return field(default=default, metadata={"about": about, "check": any_text, "option": option})


def switch(about: str) -> Any:
    """A setting that is off unless it is switched on."""
    return field(default=False, metadata={"about": about, "check": _on_or_off})


def _on_or_off(argument: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise InputError(f"{argument}: expected true or false; got {value!r}")


def number(default: float | tuple[int, ...], about: str, check: Callable[[str, Any], None]) -> Any:
    return field(default=default, metadata={"about": about, "check": check})


def any_text(argument: str, value: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{argument}: expected text; got {value!r}")


def count(argument: str, value: int) -> None:
    check_positive(argument, value, integer=True)


def counts(argument: str, values: tuple[int, ...]) -> None:
    if not isinstance(values, tuple) or not values:
        raise InputError(f"{argument}: expected a tuple of at least one whole number; got {values!r}")
    for value in values:
        count(argument, value)


def not_negative(argument: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InputError(f"{argument}: expected a number of at least 0; got {value!r}")


def whole(argument: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{argument}: expected a whole number of at least 0; got {value!r}")


def probability(argument: str, value: float) -> None:
    check_fraction(argument, value, below_one=True)
