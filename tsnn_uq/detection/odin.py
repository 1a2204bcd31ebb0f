"""ODIN: how sure a network is of inputs that were moved a little to make it surer."""

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
    r"""One minus the confidence in inputs that were perturbed to raise it, at a high temperature.

    .. math:: s = 1 - \max_c \mathrm{softmax}(z(\tilde x) / T)_c, \qquad
              \tilde x = x + \epsilon \, \mathrm{sign} \, \nabla_x \log \max_c \mathrm{softmax}(z(x) / T)_c

    (Liang et al. 2018, arXiv 1706.02690, with its T and epsilon.) The network runs as in `hidden_features`; through
    spikes the gradient is that of their surrogate. What gives none, such as rate coding, leaves inputs as they are.

    Args:
        network: as for `hidden_features`, and so are the others.
        data: inputs of floats.
        temperature: T, above 0.
        epsilon: length of the step in each input value, in the inputs' units; 0 for none.
        batch_dim: the axis of the inputs that counts inputs.
        batch_size: inputs in a pass.
        output: from what the network returns to its outputs.
        reset: puts the network's state to rest.
        seed: of what is random in evaluation mode.

    Returns:
        Float64 [N]: 0 to 1 - 1 / C, high where the network is unsure.

    Raises:
        InputError: an option is out of range, or inputs are no floats, such as packed events.
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
        raise InputError(f"data: expected floating-point inputs, which can be moved; got {inputs.dtype}")
    with torch.enable_grad():
        leaf = inputs.detach().clone().requires_grad_()
        value = function(leaf).sum()
        if not value.requires_grad:
            return torch.zeros_like(inputs)
        (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return torch.zeros_like(inputs) if gradient is None else gradient
