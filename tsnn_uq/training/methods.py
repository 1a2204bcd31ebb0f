"""Training methods: objects with hooks into the training loop (`tsnn_uq.training.fit`).

A method defines what happens to the weights before the first step, around each step and after the last one, and the
loss. Its state is in `state_dict`, so that a run can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from tsnn_uq.batches import Data, Source
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.quantization.layer_selection import Where
from tsnn_uq.training.batch_layout import Forward

__all__ = ["Direct", "Float", "Method"]


class Method:
    """Full-precision training, and the hooks that other methods override.

    `progress` is the share of finished optimizer steps, 0 to 1.

    Attributes:
        criterion: the loss (logits [N, C], target [N]) -> scalar, mean over inputs; cross-entropy in nats by
            default.
    """

    name = "float"
    criterion: Callable[[Tensor, Tensor], Tensor] = staticmethod(functional.cross_entropy)

    def start(self, model: nn.Module, images: Data | Source) -> None:
        """Called before the optimizer is built; open the training set `images` with `tsnn_uq.batches.open_data`."""

    def after_step(self, model: nn.Module, progress: float) -> None:
        """Called after each step of the optimizer."""

    def loss(self, mc_logits: Tensor, target: Tensor, indices: Tensor) -> Tensor:
        """The loss of a batch: `criterion`, mean over passes and inputs.

        Args:
            mc_logits: logits [M, N, C] of M stochastic passes, or at M times.
            target: labels [N].
            indices: positions of the inputs in the training set [N]; for a DataLoader, in the epoch.
        """
        return self.criterion(mc_logits.flatten(0, 1), target.repeat(len(mc_logits)))

    def term(self, forward: Forward) -> Tensor:
        """The loss of a whole forward pass, for methods that need more than logits, labels and indices."""
        return self.loss(forward.loss_logits, forward.of_all(forward.target), forward.of_all(forward.indices))

    def finish(self, model: nn.Module) -> None:
        """Called after the last step."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state that a resumed run needs, as tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state of an interrupted run; called after `start`."""


class Float(Method):
    """Full precision: the reference."""


class Direct(Method):
    """Forward and backward with ternary weights; the gradient updates a full-precision copy.

    Args:
        layers: which layers are quantized, see `tsnn_uq.quantization.select_layers`.
        rule: threshold rule.
        scale: one scale per ``"layer"``, ``"channel"`` or ``"none"``.
        options: options of the rule, e.g. ``factor``.
    """

    name = "direct"

    def __init__(
        self, layers: Where = "all", rule: str = "mean-fraction", scale: str = "layer", **options: float
    ) -> None:
        self.layers, self.rule, self.scale, self.options = layers, rule, scale, options

    def start(self, model: nn.Module, images: Data | Source) -> None:
        """Add the straight-through ternary parametrization to the weights."""
        ternarize(model, self.layers, rule=self.rule, scale=self.scale, **self.options)

    def finish(self, model: nn.Module) -> None:
        """Drop the full-precision copy."""
        freeze(model)
