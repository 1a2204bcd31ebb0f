r"""Laplace's approximation of the last layer's posterior (Daxberger et al., 2021, "Laplace Redux").

A spiking network whose output is the current into its last layer has logits :math:`W \phi + b`, where the features
:math:`\phi` are the mean over time of that layer's inputs. They are linear in the weights, so the Hessian of the
negative log likelihood is exactly

.. math:: H = \sum_n (\operatorname{diag} p_n - p_n p_n^T) \otimes \phi_n \phi_n^T,

and the posterior is normal around the trained weights with precision :math:`H + \delta I`, where :math:`\delta` is the
precision of the prior. All other weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tsnn_uq.bayes.posterior import Posterior, copy_network
from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.quantization import select_layers
from tsnn_uq.readout import logits

__all__ = ["STRUCTURES", "LastLayerLaplace"]

LARGEST = 16_384
"""Weights, above which the full curvature would take more than 2 GiB and hours."""

Basis = tuple[Tensor, Callable[[Tensor], Tensor]]
"""Eigenvalues of the curvature, and from coordinates in its basis, of their shape, to weights [C, d]."""


class LastLayerLaplace(Posterior):
    """Normal weights of the last layer around those of a trained network.

    The draws' last layer has float weights, even where the network is ternary.

    Args:
        network: a trained network that ends in a linear layer.
        train: its training images [N, ...] and labels [N].
        structure: ``"full"``; ``"kronecker"``, sum of features' squares times mean curvature of the logits (Ritter et
            al., 2018), with the prior added in the eigenbasis; or ``"diagonal"``.
        prior_precision: the prior's; None for that of the highest evidence (MacKay, 1992).
        batch_size: images at a time.

    Attributes:
        prior_precision: the prior's precision.
        layer: name of the last layer.

    Raises:
        InputError: the network has no linear layer, the last one has ternary weights that are not frozen, outputs are
            not linear in it, as where neurons follow, or there are too many weights for ``"full"``.
    """

    def __init__(
        self,
        network: nn.Module,
        train: tuple[Tensor, Tensor],
        *,
        structure: str = "kronecker",
        prior_precision: float | None = None,
        batch_size: int = 500,
    ) -> None:
        check_choice("structure", structure, STRUCTURES)
        self.network = copy_network(network)
        self.layer, layer = list(select_layers(self.network, "fc").items())[-1]
        if parametrize.is_parametrized(layer, "weight"):
            raise InputError(f"network: expected plain weights; that of {self.layer!r} is parametrized (freeze first)")
        features, self.outputs = _features(self.network, layer, train[0], batch_size)
        probs = self.outputs.softmax(-1)
        self.mean = _extended(layer)
        if structure == "full" and self.mean.numel() > LARGEST:
            wanted = f"'kronecker' or 'diagonal' for more than {LARGEST} weights"
            raise InputError(f"structure: expected {wanted}; got 'full' for {self.mean.numel()}")
        self.eigenvalues, self._to_weights = STRUCTURES[structure](features, probs)
        self.target = train[1]
        if not self.eigenvalues.any():
            raise InputError("network: expected inputs of the last layer that are not all 0; nothing spikes before it")
        if prior_precision is not None:
            check_positive("prior_precision", prior_precision)
        self.prior_precision = self._best_precision() if prior_precision is None else float(prior_precision)

    def sample(self, generator: torch.Generator) -> nn.Module:
        """Draw a network."""
        noise = torch.empty_like(self.eigenvalues).normal_(generator=generator)
        weight = self.mean + self._to_weights(noise / (self.eigenvalues + self.prior_precision).sqrt())
        layer: Any = copy_network(self.network.get_submodule(self.layer))
        with torch.no_grad():
            layer.weight.copy_(weight[:, : layer.weight.shape[1]])
            if layer.bias is not None:
                layer.bias.copy_(weight[:, -1])
        return copy_network(self.network, {id(self.network.get_submodule(self.layer)): layer})

    def log_evidence(self, prior_precision: float) -> float:
        r"""Laplace's approximation of log p(labels), nats (MacKay, 1992).

        log p(labels | W) - delta |W|^2 / 2 + P log(delta) / 2 - log det(H + delta I) / 2, for P weights.
        """
        check_positive("prior_precision", prior_precision)
        fit = -nn.functional.cross_entropy(self.outputs, self.target, reduction="sum")
        prior = self.mean.numel() * torch.tensor(prior_precision, dtype=torch.float64).log()
        prior = prior - prior_precision * self.mean.square().sum()
        return (fit + (prior - (self.eigenvalues + prior_precision).log().sum()) / 2).item()

    def _best_precision(self) -> float:
        """Where the derivative of `log_evidence` is zero: delta |W|^2 = sum of lambda / (lambda + delta), once."""
        from scipy.optimize import brentq

        size = max(self.mean.square().sum().item(), 1e-12)

        def excess(log_precision: float) -> float:
            precision = torch.tensor(log_precision, dtype=torch.float64).exp()
            return (precision * size - (self.eigenvalues / (self.eigenvalues + precision)).sum()).item()

        return float(torch.tensor(brentq(excess, -40.0, 40.0), dtype=torch.float64).exp())


def _extended(layer: Any) -> Tensor:
    """Weights with the bias as a last column, double [C, d]."""
    parts = [layer.weight] + ([layer.bias.unsqueeze(1)] if layer.bias is not None else [])
    return torch.cat([part.detach().double() for part in parts], 1)


@torch.no_grad()
def _features(network: nn.Module, layer: nn.Module, images: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """Features [N, d] of all images, with a 1 where there is a bias, and logits [N, C]; double."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(logits(given[0]).double()))
    try:
        outputs = torch.cat([logits(network(block)).double() for block in images.split(batch_size)])
    finally:
        handle.remove()
    features = torch.cat(seen)
    weight = _extended(layer)
    if len(features) == len(outputs) and features.shape[1] < weight.shape[1]:
        features = torch.cat([features, features.new_ones(len(features), 1)], 1)
    linear = len(features) == len(outputs) and outputs.shape[1] == len(weight)
    if not linear or not torch.allclose(features @ weight.T, outputs, rtol=1e-3, atol=1e-3):
        raise InputError(
            "network: expected outputs that are those of the last linear layer, such as its mean current; "
            "got others (does a neuron follow?)"
        )
    return features, outputs


def _full(features: Tensor, probs: Tensor) -> Basis:
    classes, width = probs.shape[1], features.shape[1]
    curvature = features.new_empty(classes, width, classes, width)
    for one in range(classes):
        for other in range(classes):
            weight = probs[:, one] * (float(one == other) - probs[:, other])
            curvature[one, :, other] = features.T @ (weight.unsqueeze(1) * features)
    values, vectors = torch.linalg.eigh(curvature.reshape(classes * width, -1))
    return values.clamp(min=0), lambda coordinates: (vectors @ coordinates).reshape(classes, width)


def _kronecker(features: Tensor, probs: Tensor) -> Basis:
    inner, of_inner = torch.linalg.eigh(features.T @ features)
    outer, of_outer = torch.linalg.eigh((probs.sum(0).diag() - probs.T @ probs) / len(probs))
    values = outer.clamp(min=0).unsqueeze(1) * inner.clamp(min=0)
    return values, lambda coordinates: of_outer @ coordinates @ of_inner.T


def _diagonal(features: Tensor, probs: Tensor) -> Basis:
    return (probs * (1 - probs)).T @ features.square(), lambda coordinates: coordinates


STRUCTURES: dict[str, Callable[[Tensor, Tensor], Basis]] = {
    "full": _full,
    "kronecker": _kronecker,
    "diagonal": _diagonal,
}
