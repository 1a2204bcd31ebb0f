"""The indirect method, with and without a teacher: quantize a growing share of the weights during training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Data, Source, device_of, open_data
from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive
from tsnn_uq.quantization import SCALES, by_group, fit_scale, make_rule, select_layers, ternary_codes
from tsnn_uq.quantization.channels import outputs_first, transposed_groups
from tsnn_uq.quantization.layer_selection import Where
from tsnn_uq.quantization.parametrizations import float_parameter
from tsnn_uq.quantization.ternary import check_quantizable
from tsnn_uq.readout import logits
from tsnn_uq.seeds import derive_seed, generator_for, global_seed
from tsnn_uq.state import evaluation_mode
from tsnn_uq.training.batch_layout import Forward
from tsnn_uq.training.losses import distillation
from tsnn_uq.training.methods import Method
from tsnn_uq.uncertainty import set_generator

__all__ = ["Distill", "Indirect"]


class Indirect(Method):
    """Full-precision training alternating with quantization of a growing share of the weights.

    Incremental quantization (Zhou et al., 2017) that starts with the most certain codes and keeps training the scales:

    1. Train all weights in full precision for the first `start` of the steps.
    2. At each of the quantizations, spread evenly from `start` to `end` of the steps, for each layer: compute the
       codes of the free weights by the threshold rule, and the least-squares scale of all codes, old and new.
       Then fix the free weights farthest from the threshold, above or below it, until the next share in
       `shares` is fixed. Their codes are the most certain; they include the largest weights, which change most,
       while training can still compensate.
    3. In between, and after the last one, training continues. Free weights compensate for the error of the fixed
       ones. After each step fixed weights are reset to scale * code, with the least-squares scale of the updated
       weights, so that the scale follows the gradient of all its weights.
    4. The last share is 1, so the network is ternary without a final projection.

    Args:
        layers: which layers are quantized, see `tsnn_uq.quantization.select_layers`.
        rule: threshold rule.
        scale: one scale per ``"layer"``, ``"channel"`` or ``"none"``.
        start: share of the training before the first quantization.
        end: share of the training at the last quantization.
        shares: increasing shares of fixed weights, ending with 1.
        options: options of the rule, e.g. ``factor``.

    Raises:
        InputError: a share or time is out of range, or the rule is unknown or learned.
    """

    name = "indirect"

    def __init__(
        self,
        layers: Where = "all",
        rule: str = "mean-fraction",
        scale: str = "layer",
        *,
        start: float = 0.5,
        end: float = 0.9,
        shares: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0),
        **options: float,
    ) -> None:
        check_fraction("start", start)
        check_fraction("end", end)
        check_choice("scale", scale, SCALES)
        if rule == "learned":
            problem = "its threshold would move under weights that are fixed already; use it with method direct"
            raise InputError(f"rule: expected one that is not learned; got 'learned' ({problem})")
        if list(shares) != sorted(set(shares)) or not shares or shares[0] <= 0 or shares[-1] != 1:
            raise InputError(f"shares: expected growing shares in (0, 1], the last one 1; got {list(shares)}")
        if start > end:
            raise InputError(f"start: expected at most end, {end}; got {start}")
        self.layers, self.rule, self.scale = layers, make_rule(rule, options), scale
        self.shares = tuple(shares)
        gaps = max(len(shares) - 1, 1)
        self.moments = tuple(start + (end - start) * k / gaps for k in range(len(shares)))
        self.done = 0  # quantizations so far
        self.fixed: dict[str, Tensor] = {}  # per layer: which weights are fixed
        self.codes: dict[str, Tensor] = {}  # per layer: their codes, 0 for those that are free

    def start(self, model: nn.Module, images: Data | Source) -> None:
        """Find the layers; raises if one does not exist or cannot be made ternary."""
        self.done, self.fixed, self.codes = 0, {}, {}
        check_quantizable(select_layers(model, self.layers))

    @torch.no_grad()
    def after_step(self, model: nn.Module, progress: float) -> None:
        """Quantize the next share if it is due; reset fixed weights."""
        due = self.done < len(self.shares) and progress >= self.moments[self.done]
        if not due and not self.fixed:
            return
        for name, layer in select_layers(model, self.layers).items():
            parameter, groups = cast(Tensor, float_parameter(layer)), transposed_groups(layer)
            weight = outputs_first(parameter, groups)
            if due:
                self._fix(name, weight, self.shares[self.done])
            _put_back(weight, self.fixed[name], self.codes[name], fit_scale(weight, self.codes[name], self.scale))
            if groups:
                parameter.copy_(outputs_first(weight, groups))
        self.done += due

    def _fix(self, name: str, weight: Tensor, share: float) -> None:
        """Fix the most certain weights of one layer, up to `share` of all, at the least-squares scale of all codes."""
        fixed = self.fixed.get(name, torch.zeros_like(weight, dtype=torch.bool))
        codes, _ = ternary_codes(weight, self.rule, self.scale)
        codes = torch.where(fixed, self.codes.get(name, codes), codes)
        magnitude = by_group(weight, self.scale).abs()
        margin = (magnitude - self.rule(magnitude)).abs_().reshape(weight.shape)
        margin.masked_fill_(fixed, math.inf)  # fixed weights stay fixed
        free = weight.numel() - max(1, round(share * weight.numel()))
        least = margin.flatten().kthvalue(free).values if free else -1.0
        self.fixed[name] = margin > least
        _put_back(weight, self.fixed[name], codes, fit_scale(weight, codes, self.scale))
        self.codes[name] = codes * self.fixed[name]

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        """Quantize the remaining weights, if the training was too short for all quantizations."""
        while self.done < len(self.shares):
            self.after_step(model, 1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """The fixed weights with their codes, and the number of quantizations done."""
        state = {f"fixed.{name}": mask for name, mask in self.fixed.items()}
        state |= {f"codes.{name}": codes for name, codes in self.codes.items()}
        return state | {"done": torch.tensor(self.done)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state of an interrupted run."""
        self.done = int(state["done"])
        self.fixed = {name.removeprefix("fixed."): mask for name, mask in state.items() if name.startswith("fixed.")}
        self.codes = {name.removeprefix("codes."): codes for name, codes in state.items() if name.startswith("codes.")}


def _put_back(weight: Tensor, fixed: Tensor, codes: Tensor, scale: Tensor) -> None:
    """Set fixed weights to scale * code, in place."""
    weight.copy_(torch.where(fixed, codes * scale, weight))


class Distill(Indirect):
    """The indirect method with a float teacher: ternarization-aware distillation.

    The loss is (1 - weight) * criterion + weight * `tsnn_uq.training.losses.distillation`; as a growing
    share of the weights becomes ternary, the teacher guides the free ones. The last shares are finer than those of
    `Indirect`, since the weights fixed last are the least certain.

    Args:
        teacher: a trained float network. It predicts each batch that the student sees; if every epoch sees the same
            tensors, it predicts them once, and a teacher with random input coding needs its generator set.
        temperature: softens both predictions.
        weight: share of the distillation term in the loss, 0 to 1.
        shares: as in `Indirect`.
        output: converts what the teacher returns to outputs [T, N, C] or [N, C], if it returns something else.
        settings: further arguments of `Indirect`.
    """

    name = "distill"

    def __init__(
        self,
        teacher: nn.Module,
        *,
        temperature: float = 2.0,
        weight: float = 0.5,
        shares: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0),
        output: Callable[[Any], Tensor] | None = None,
        **settings: Any,
    ) -> None:
        check_positive("temperature", temperature)
        check_fraction("weight", weight)
        super().__init__(shares=shares, **settings)
        self.teacher, self.temperature, self.weight, self.output = teacher, temperature, weight, output
        self.wanted: Tensor | None = None

    def start(self, model: nn.Module, images: Data | Source) -> None:
        """Compute the teacher's logits of all training images once, if every epoch sees the same images."""
        super().start(model, images)
        source = open_data("images", images)
        self.wanted = None
        if source.tensors is not None:
            with global_seed(0, device_of(self.teacher)):  # for layers that are random in evaluation mode
                self.wanted = torch.cat([self._ask(batch.inputs) for batch in source.in_order(500)])

    def loss(self, mc_logits: Tensor, target: Tensor, indices: Tensor) -> Tensor:
        """Mix of criterion and distillation, with the teacher's precomputed logits."""
        assert self.wanted is not None
        return self._mixed(mc_logits, target, indices, self.wanted[indices])

    def term(self, forward: Forward) -> Tensor:
        """Mix of criterion and distillation."""
        if self.wanted is not None:
            return super().term(forward)
        set_generator(self.teacher, generator_for(forward.seed, "teacher", device=device_of(self.teacher)))
        with global_seed(derive_seed(forward.seed, "teacher"), forward.images.device):
            wanted = forward.of_all(self._ask(forward.images))
        return self._mixed(forward.loss_logits, forward.of_all(forward.target), forward.indices, wanted)

    def _mixed(self, mc_logits: Tensor, target: Tensor, indices: Tensor, teacher: Tensor) -> Tensor:
        distance = distillation(mc_logits.flatten(0, 1), teacher.repeat(len(mc_logits), 1), self.temperature)
        return (1 - self.weight) * super().loss(mc_logits, target, indices) + self.weight * distance

    def _ask(self, images: Tensor) -> Tensor:
        """The teacher's logits, in full precision, on the device of `images`."""
        device = device_of(self.teacher)
        with evaluation_mode(self.teacher), torch.autocast(device.type, enabled=False):
            outputs = self.teacher(images.to(device))
        return logits(outputs if self.output is None else self.output(outputs)).to(images.device)
