"""Ternary weights in any module, trained by the straight-through gradient.

`ternarize` parametrizes the weights: forward and backward use the ternary weight, and the gradient is
passed unchanged to the float copy (Bengio et al., 2013). `tsnn_uq.quantization.freeze` replaces the parametrization by
the ternary weights. Nothing else in the module changes, and it may be from any library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.quantization.channels import outputs_first, transposed_groups
from tsnn_uq.quantization.layer_selection import Where, select_layers
from tsnn_uq.quantization.parametrizations import check_weights, float_parameter, is_mask, weight_steps
from tsnn_uq.quantization.rules import RULES, SCALES, Rule, by_group, make_rule, mean_fraction, ternary_codes

__all__ = ["LearnedTernary", "Ternary", "check_quantizable", "float_weights", "ternarize"]


def _straight_through(weight: Tensor, factor: Tensor | None, rule: Rule, scale: str) -> tuple[Tensor, Tensor]:
    """The ternary weight, whose gradient is passed unchanged to `weight`, and the scale, which has no gradient.

    Args:
        weight: [out, ...].
        factor: multiplies the threshold of the rule; None for 1.
        rule: see `tsnn_uq.quantization.rules`.
        scale: see there.
    """
    if torch.compiler.is_compiling():  # which does not support a Function with `jvp`, and fuses the extra passes
        ternary, fitted = _StraightThrough.forward(weight.detach(), factor, rule, scale)
        return ternary + (weight - weight.detach()), fitted
    return _StraightThrough.apply(weight, factor, rule, scale)


class _StraightThrough(torch.autograd.Function):
    """Forward scale * codes and the scale; computed inside, since returning an input would copy it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, factor: Tensor | None, rule: Rule, scale: str) -> tuple[Tensor, Tensor]:
        # The factor is a separate argument, since torch.func only transforms tensors that are arguments.
        scaled = rule if factor is None else lambda magnitude: factor * rule(magnitude)
        codes, fitted = ternary_codes(weight, scaled, scale)
        return codes.mul_(fitted), fitted

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return grads[0], None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None]:
        return tangents[0].clone(), None


class Ternary(nn.Module):
    """Parametrization weight -> scale * codes with a straight-through gradient.

    Args:
        rule: see `tsnn_uq.quantization.rules`.
        scale: one per ``"layer"``, per output ``"channel"``, or ``"none"``.
        groups: `tsnn_uq.quantization.channels.transposed_groups` of the layer.

    Attributes:
        lent: number of open `float_weights` contexts; above 0 the float weight is returned.
    """

    lent = 0

    def __init__(self, rule: Rule, scale: str = "layer", groups: int = 0) -> None:
        check_choice("scale", scale, SCALES)
        super().__init__()
        self.rule = rule
        self.scale = scale
        self.groups = groups

    def __getstate__(self) -> dict[str, Any]:
        """All but `lent`: no context would reset a copy made inside `float_weights`."""
        return {name: value for name, value in vars(self).items() if name != "lent"}

    def forward(self, weight: Tensor) -> Tensor:
        """The ternary weight, or the float one inside `float_weights`."""
        return weight if self.lent else self.ternary(weight)

    def ternary(self, weight: Tensor) -> Tensor:
        """The ternary weight of a float one."""
        return outputs_first(self._ternary(outputs_first(weight, self.groups)), self.groups)

    def _ternary(self, weight: Tensor) -> Tensor:
        """The ternary weight of a weight [out, ...]."""
        ternary, _ = _straight_through(weight, None, self.rule, self.scale)
        return ternary


class LearnedTernary(Ternary):
    """`Ternary` with a learned threshold: `factor` times the mean magnitude.

    The gradient of the factor is that of a smooth step in place of the hard one, `sign(w) scale
    S(|w| / mean|w| - factor)` where S rises over [-1, 1] with the slope `1 - |x|`; the scale is held constant.
    """

    def __init__(self, factor: float = 0.7, scale: str = "layer", groups: int = 0) -> None:
        check_positive("factor", factor)
        super().__init__(mean_fraction(1.0), scale, groups)
        self.factor = nn.Parameter(torch.tensor(float(factor)))

    def _ternary(self, weight: Tensor) -> Tensor:
        factor = self.factor.detach().clamp(min=1e-3)  # an optimizer step may make it negative
        ternary, scale = _straight_through(weight, factor, self.rule, self.scale)
        groups = by_group(weight.detach(), self.scale)
        magnitude = groups.abs()
        mean = magnitude.mean(1, keepdim=True).clamp(min=torch.finfo(magnitude.dtype).tiny)
        distance = magnitude / mean - factor
        slope = (1 - distance.abs_()).relu_().mul_(groups.sign()).reshape(weight.shape).mul_(-scale)
        # Adds exactly zero to the value, and the factor's gradient to the backward pass.
        return ternary + (slope * (self.factor - self.factor.detach())).to(weight.dtype)


def check_quantizable(layers: Mapping[str, nn.Module]) -> None:
    """Raise unless each layer's weight can be made ternary: a floating-point parameter with at most a mask.

    Raises:
        InputError: names the first layer for which this does not hold.
    """
    check_weights(layers)
    for name, layer in layers.items():
        for step in weight_steps(layer):
            if isinstance(step, Ternary) or not is_mask(step, float_parameter(layer)):
                problem = f"{name!r} is parametrized already, by {type(step).__name__}"
                raise InputError(f"model: expected layers with plain weights, or with dropconnect; {problem}")


def ternarize(
    model: nn.Module, layers: Where = "all", *, rule: str = "mean-fraction", scale: str = "layer", **options: float
) -> list[str]:
    """Make the weights of chosen layers ternary, in place; biases do not change.

    Afterwards ``layer.weight`` is ternary in every forward pass, and
    ``layer.parametrizations.weight.original`` is the float copy that an optimizer updates. Build the
    optimizer after this call, since the parameters are new.

    Args:
        model: any module of fully connected and convolutional layers.
        layers: ``"all"``, ``"inner"``, ``"conv"``, ``"fc"``, names of layers, or a predicate (name, module) -> bool;
            see `tsnn_uq.quantization.select_layers`.
        rule: ``"mean-fraction"`` (option ``factor``, default 0.7), ``"mean-rounding"``, ``"quantile"`` (option
            ``sparsity``, default 0.5) or ``"learned"`` (option ``factor``, its initial value).
        scale: one scale per ``"layer"``, per output ``"channel"``, or ``"none"`` (weights -1, 0, +1).
        options: options of the rule.

    Returns:
        Names of the layers that are now ternary.

    Raises:
        InputError: no layer matches, a layer is already ternary, its weight cannot be replaced, or the rule, scale or
            option is unknown. Nothing is changed in that case.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> ternarize(layer)
        ['']
        >>> layer.weight.unique().numel() <= 3
        True
    """
    check_choice("rule", rule, [*RULES, "learned"])
    chosen = select_layers(model, layers)
    check_quantizable(chosen)
    made = [_parametrization(rule, scale, layer, options) for layer in chosen.values()]
    for layer, ternary in zip(chosen.values(), made, strict=True):
        if weight_steps(layer):  # a mask: apply it after the ternary step, so that dropped weights are zero
            stepwise: Any = layer.parametrizations
            stepwise["weight"].insert(0, ternary.train(layer.training))
        else:
            parametrize.register_parametrization(layer, "weight", ternary)
    return list(chosen)


def _parametrization(rule: str, scale: str, layer: nn.Module, options: dict[str, float]) -> Ternary:
    groups = transposed_groups(layer)
    if rule != "learned":
        return Ternary(make_rule(rule, options), scale, groups)
    unknown = set(options) - {"factor"}
    if unknown:
        raise InputError(f"rule: 'learned' takes the option factor; got {', '.join(sorted(unknown))}")
    return LearnedTernary(scale=scale, groups=groups, **options).to(cast(Tensor, float_parameter(layer)).device)


@contextmanager
def float_weights(model: nn.Module) -> Iterator[None]:
    """Context in which ternarized layers use the float copies of their weights.

    Gradients flow to the float copies as for any weight. Contexts may be nested and overlap; a layer is ternary again
    when its last context ends.

    Raises:
        InputError: there are no float copies; `freeze` drops them, and the indirect methods keep none.

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
    for step in steps:
        step.lent += 1
    try:
        yield
    finally:
        for step in steps:
            step.lent -= 1
