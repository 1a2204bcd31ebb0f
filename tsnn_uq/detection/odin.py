"""ODIN: the confidence of a network in inputs after a small perturbation that raises it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Data, device_of, open_data
from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.detection.features import Output, evaluated
from tsnn_uq.readout import logits
from tsnn_uq.state import rest

__all__ = ["odin_score"]


def odin_score(
    network: nn.Module,
    data: Data,
    *,
    temperature: float = 1000.0,
    epsilon: float = 0.0014,
    batch_dim: int = 0,
    batch_size: int = 256,
    output: Output | None = None,
    reset: Callable[[nn.Module], object] = rest,
    seed: int = 0,
) -> Tensor:
    r"""One minus the confidence in inputs that were perturbed to raise it, at a high softmax temperature.

    .. math:: s = 1 - \max_c \mathrm{softmax}(z(\tilde x) / T)_c, \qquad
              \tilde x = x + \epsilon \, \mathrm{sign} \, \nabla_x \log \max_c \mathrm{softmax}(z(x) / T)_c

    See Liang et al. 2018, arXiv 1706.02690; T and epsilon default to its values. The network runs as in
    `hidden_features`. Spikes have surrogate gradients. Without a gradient, as with rate coding, inputs stay unchanged.

    Args:
        network: as for `hidden_features`.
        data: floating-point inputs.
        temperature: T, above 0.
        epsilon: size of the step of each input value, in units of the inputs; 0 for no perturbation.
        batch_dim: as for `hidden_features`.
        batch_size: as for `hidden_features`.
        output: as for `hidden_features`.
        reset: as for `hidden_features`.
        seed: as for `hidden_features`.

    Returns:
        Float64 [N] from 0 to 1 - 1 / C, high for unsure inputs.

    Raises:
        InputError: an option is out of range, or inputs are not floating-point, such as packed events.
    """
    check_positive("temperature", temperature)
    if epsilon:
        check_positive("epsilon", epsilon)
    check_positive("batch_size", batch_size, integer=True)
    scores = []
    with evaluated(network, seed):

        def confidence(inputs: Tensor) -> Tensor:
            """The logarithm of the confidence [N]."""
            reset(network)
            outputs = network(inputs)
            scaled = logits(outputs if output is None else output(outputs)).double() / temperature
            return scaled.log_softmax(-1).amax(-1)

        for batch in open_data("data", data, batch_dim=batch_dim).in_order(batch_size):
            inputs = batch.inputs.to(device_of(network))
            if epsilon:
                inputs = inputs + epsilon * _gradient(confidence, inputs).sign()
            with torch.no_grad():
                scores.append(-confidence(inputs).expm1().cpu())
    return torch.cat(scores)


def _gradient(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    if not inputs.is_floating_point():
        raise InputError(f"data: expected floating-point inputs, which can be perturbed; got {inputs.dtype}")
    with torch.enable_grad():
        leaf = inputs.detach().clone().requires_grad_()
        value = function(leaf).sum()
        if not value.requires_grad:
            return torch.zeros_like(inputs)
        (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return torch.zeros_like(inputs) if gradient is None else gradient
