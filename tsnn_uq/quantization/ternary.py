"""Ternary weights in any module, trained by the straight-through gradient.

`ternarize` puts a parametrization on the weights: forward and backward see the ternary weight, the
gradient goes unchanged to the float copy (Bengio et al., 2013). `freeze` makes the ternary weights the
module's own. Nothing else of the module changes, whichever library it is from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.quantization.rules import RULES, SCALES, Rule, by_group, make_rule, mean_fraction, ternary_codes
from tsnn_uq.quantization.where import Where, select_layers

__all__ = ["LearnedTernary", "Ternary", "float_weights", "freeze", "ternarize"]


class _StraightThrough(torch.autograd.Function):
    """Forward scale * codes and the scale, computed in here since what comes in could not go out without a copy."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rule: Rule, scale: str) -> tuple[Tensor, Tensor]:
        codes, fitted = ternary_codes(weight, rule, scale)
        ctx.mark_non_differentiable(fitted)
        return codes.mul_(fitted), fitted

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None


class Ternary(nn.Module):
    """Parametrization weight -> scale * codes with a straight-through gradient.

    Attributes:
        bypassed: give the float weight instead; see `float_weights`.
    """

    bypassed = False

    def __init__(self, rule: Rule, scale: str = "layer") -> None:
        check_choice("scale", scale, SCALES)
        super().__init__()
        self.rule = rule
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """The ternary weight that stands for the float one."""
        if self.bypassed:
            return weight
        ternary, _ = _StraightThrough.apply(weight, self.rule, self.scale)
        return ternary


class LearnedTernary(Ternary):
    """As `Ternary`, with a threshold that is learned: `factor` times the mean magnitude.

    The gradient of the factor is that of a smooth step in place of the hard one, sign(w) scale S(|w| / mean|w| -
    factor) where S rises over [-1, 1] with the slope 1 - |x|; the scale is taken as given.
    """

    def __init__(self, factor: float = 0.7, scale: str = "layer") -> None:
        super().__init__(mean_fraction(factor), scale)
        self.factor = nn.Parameter(torch.tensor(float(factor)))

    def forward(self, weight: Tensor) -> Tensor:
        """The ternary weight that stands for the float one."""
        if self.bypassed:
            return weight
        factor = max(self.factor.item(), 1e-3)  # a step of the optimizer may push it to zero and below
        ternary, scale = _StraightThrough.apply(weight, mean_fraction(factor), self.scale)
        magnitude = by_group(weight.detach(), self.scale).abs()
        mean = magnitude.mean(1, keepdim=True).clamp_(min=torch.finfo(weight.dtype).tiny)
        distance = (magnitude / mean - factor).reshape(weight.shape)
        slope = (1 - distance.abs()).clamp_(min=0).mul_(weight.detach().sign()).mul_(-scale)
        # Adds exactly zero to the value, and the factor's gradient to the backward pass.
        return ternary + slope * (self.factor - self.factor.detach())


def ternarize(
    model: nn.Module, layers: Where = "all", *, rule: str = "mean-fraction", scale: str = "layer", **options: float
) -> list[str]:
    """Make the weights of chosen layers ternary, in place; biases stay as they are.

    Afterwards ``layer.weight`` is ternary in every forward pass, and
    ``layer.parametrizations.weight.original`` is the float copy that an optimizer updates. Build the
    optimizer after this call, since the parameters are new.

    Args:
        model: any module of fully connected and convolutional layers.
        layers: ``"all"``, ``"conv"``, ``"fc"``, names of layers, or a predicate (name, module) -> bool.
        rule: ``"mean-fraction"`` (option ``factor``, default 0.7), ``"mean-rounding"``, ``"quantile"`` (option
            ``sparsity``, default 0.5) or ``"learned"`` (option ``factor``, where it starts).
        scale: one scale per ``"layer"``, per output ``"channel"``, or ``"none"`` (weights -1, 0, +1).
        options: the rule's own.

    Returns:
        Names of the layers that are now ternary.

    Raises:
        InputError: no layer matches, a layer is ternary already, or an unknown rule, scale or option.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> ternarize(layer)
        ['']
        >>> layer.weight.unique().numel() <= 3
        True
    """
    check_choice("rule", rule, [*RULES, "learned"])
    chosen = select_layers(model, layers)
    for name, module in chosen.items():
        if parametrize.is_parametrized(module, "weight"):
            raise InputError(f"model: expected layers with plain weights; {name!r} is parametrized already")
    for module in chosen.values():
        parametrize.register_parametrization(module, "weight", _parametrization(rule, scale, options))
    return list(chosen)


def _parametrization(rule: str, scale: str, options: dict[str, float]) -> Ternary:
    if rule != "learned":
        return Ternary(make_rule(rule, options), scale)
    unknown = set(options) - {"factor"}
    if unknown:
        raise InputError(f"rule: 'learned' takes the option factor; got {', '.join(sorted(unknown))}")
    return LearnedTernary(scale=scale, **options)


@contextmanager
def float_weights(model: nn.Module) -> Iterator[None]:
    """Context in which layers that `ternarize` made ternary compute with the float copies of their weights.

    Gradients reach the float copies as those of any weight.

    Raises:
        InputError: there are none; `freeze` drops them, and the indirect methods keep none.

    Example:
        >>> from tsnn_uq.quantization import float_weights, ternarize
        >>> layer = nn.Linear(4, 2)
        >>> before = layer.weight.clone()
        >>> names = ternarize(layer)
        >>> with float_weights(layer):
        ...     torch.equal(layer.weight, before)
        True
    """
    steps = [module for module in model.modules() if isinstance(module, Ternary)]
    if not steps:
        why = "freeze drops them, and only the method direct keeps them"
        raise InputError(f"model: expected ternary layers with float copies of their weights ({why}); found none")
    try:
        for step in steps:
            step.bypassed = True
        yield
    finally:
        for step in steps:
            step.bypassed = False


def freeze(model: nn.Module) -> list[str]:
    """Replace every ternary parametrization by its ternary weight, in place; returns the layers' names."""
    frozen = []
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            steps: Any = module.parametrizations["weight"]
            if any(isinstance(step, Ternary) for step in steps):
                # A deep copy shares this class, and torch is about to take `weight` from it.
                shared = type(module)
                module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
                frozen.append(name)
    return frozen
