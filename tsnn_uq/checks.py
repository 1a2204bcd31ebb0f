"""Check arguments and tensors, with error messages of one form: argument, expected, got."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:  # torch is slow to import, and many checks do not need it
    from torch import Tensor

__all__ = [
    "InputError",
    "check_choice",
    "check_dims",
    "check_fraction",
    "check_labels",
    "check_positive",
    "check_probabilities",
    "class_numbers",
    "describe",
    "last_line",
]


class InputError(ValueError):
    """Invalid input: a one-line message with the argument, what was expected and what was passed.

    The command line prints it without a traceback and exits with code 2.
    """


def describe(value: object) -> str:
    """Short description of a value for an error message: dtype and shape of a tensor, ``repr`` of others."""
    if _is_tensor(value):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {list(value.shape)}"
    text = " ".join(repr(value).split())  # on one line
    return text if len(text) <= 80 else text[:77] + "..."


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    return "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor)


def check_choice(argument: str, value: str, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`; otherwise raise and suggest the nearest.

    Raises:
        InputError: `value` is not among the choices.

    Example:
        >>> check_choice("family", "dropuot", ["dropout", "dropconnect"])
        Traceback (most recent call last):
        tsnn_uq.checks.InputError: family: expected one of dropout, dropconnect; got 'dropuot' (did you mean 'dropout'?)
    """
    names = list(choices)
    if value in names:
        return value
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise InputError(f"{argument}: expected one of {', '.join(names)}; got {describe(value)}{hint}")


def check_positive(argument: str, value: float, *, integer: bool = False) -> None:
    """Raise unless `value` is a finite number above zero (a whole one if `integer`)."""
    kind = "a positive whole number" if integer else "a positive number"
    good_type = isinstance(value, int if integer else (int, float)) and not isinstance(value, bool)
    if not good_type or not 0 < value < float("inf"):
        raise InputError(f"{argument}: expected {kind}; got {describe(value)}")


def check_fraction(argument: str, value: float, *, below_one: bool = False) -> None:
    """Raise unless 0 <= `value` <= 1 (< 1 if `below_one`)."""
    wanted = "0 <= value < 1" if below_one else "0 <= value <= 1"
    good_type = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good_type or not 0 <= value <= 1 or (below_one and value == 1):
        raise InputError(f"{argument}: expected {wanted}; got {describe(value)}")


def check_dims(argument: str, tensor: Tensor, axes: str) -> None:
    """Raise unless `tensor` has as many axes as `axes` names, e.g. ``"[S, N, C]"``."""
    wanted = axes.count(",") + 1
    if not _is_tensor(tensor) or tensor.dim() != wanted:
        raise InputError(f"{argument}: expected a tensor of shape {axes}; got {describe(tensor)}")


def check_probabilities(argument: str, probs: Tensor, axes: str = "[N, C]") -> None:
    """Raise unless `probs` holds probabilities over its last axis.

    Never guesses whether it was given logits: values outside [0, 1] or rows that do not sum to one
    (beyond the rounding of their dtype) are an error.
    """
    import torch

    check_dims(argument, probs, axes)
    if not probs.is_floating_point():
        raise InputError(f"{argument}: expected floating-point probabilities; got {describe(probs)}")
    if probs.shape[-1] == 0:
        raise InputError(f"{argument}: expected at least one class; got {describe(probs)}")
    if probs.numel() == 0:
        return
    # A softmax over C classes is off by a few units in the last place of each term.
    tolerance = max(1e-5, 8 * torch.finfo(probs.dtype).eps)
    low, high = (bound.item() for bound in torch.aminmax(probs.detach()))
    if not (low >= -tolerance and high <= 1 + tolerance):  # also catches NaN
        hint = "are these logits? apply softmax first"
        raise InputError(
            f"{argument}: expected probabilities in [0, 1]; got values from {low:.4g} to {high:.4g} ({hint})"
        )
    worst = (probs.detach().sum(-1, dtype=torch.promote_types(probs.dtype, torch.float32)) - 1).abs().max().item()
    if worst > max(1e-3, tolerance):
        raise InputError(f"{argument}: expected rows that sum to 1; got a row that is off by {worst:.4g}")


def class_numbers(argument: str, target: Tensor) -> Tensor:
    """Convert labels of any integer dtype to int64, since torch hardly supports the wider unsigned ones.

    Raises:
        InputError: labels have another dtype. Floats may be probabilities, and bools may say which predictions are
            correct, so neither is accepted as class numbers.
    """
    import torch

    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        hint = "convert class numbers with .long()"
        raise InputError(f"{argument}: expected whole class numbers; got {describe(target)} ({hint})")
    return target.long()


def check_labels(argument: str, target: Tensor, classes: int, count: int | None = None) -> Tensor:
    """Return `target` [N], of any integer dtype, as int64 class numbers in 0 .. `classes` - 1, or raise."""
    import torch

    check_dims(argument, target, "[N]")
    target = class_numbers(argument, target)
    if count is not None and len(target) != count:
        raise InputError(f"{argument}: expected {count} labels, one per input; got {len(target)}")
    if target.numel():
        low, high = (int(bound) for bound in torch.aminmax(target))
        if low < 0 or high >= classes:
            raise InputError(f"{argument}: expected labels from 0 to {classes - 1}; got {low} to {high}")
    return target


def last_line(error: Exception) -> str:
    """The last line of an error message, where torch puts the point, or the type of an error without a message."""
    return str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
