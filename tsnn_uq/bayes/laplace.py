r"""Laplace's approximation of the last layer's posterior (Daxberger et al., 2021, "Laplace Redux").

A spiking network whose output is the current into its last layer has logits :math:`W \phi + b`, where the features
:math:`\phi` are the mean over time of that layer's inputs (see `tsnn_uq.bayes.last_layer`). They are linear in the
weights, so the Hessian of the negative log likelihood is exactly

.. math:: H = \sum_n (\operatorname{diag} p_n - p_n p_n^T) \otimes \phi_n \phi_n^T,

and the posterior is normal around the trained weights with precision :math:`H + \delta I`, where :math:`\delta` is the
precision of the prior. All other weights are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tsnn_uq.batches import Data, Source, device_of, open_data
from tsnn_uq.bayes.last_layer import features_and_logits, last_layer
from tsnn_uq.bayes.posterior import Posterior, copy_network
from tsnn_uq.checks import InputError, check_choice, check_labels, check_positive
from tsnn_uq.devices import require_float64
from tsnn_uq.seeds import generator_on

__all__ = ["STRUCTURES", "LastLayerLaplace"]

LARGEST = 16_384
"""Number of weights above which the full curvature would take more than 2 GiB and hours."""

Sums = tuple[Tensor, ...]
Basis = tuple[Tensor, Callable[[Tensor], Tensor]]
"""Eigenvalues of the curvature, and the map from coordinates in its eigenbasis to weights [C, d]."""


class LastLayerLaplace(Posterior):
    """Normal weights of the last layer around those of a trained network.

    The draws' last layer has float weights, even where the network is ternary.

    Args:
        network: a trained network whose logits are outputs of a linear layer, or their mean or sum over time.
        train: its training images [N, ...] and labels [N], a Dataset or a DataLoader.
        layer: name of that layer; None to find it.
        structure: ``"full"``; ``"kronecker"``, the second moments of the features times the mean curvature of the
            logits (Ritter et al., 2018), with the prior added in the eigenbasis; or ``"diagonal"``.
        prior_precision: precision of the prior; None maximizes the evidence (MacKay, 1992). If a network classifies all
            training images correctly with large margins, it is close to 0 and draws are far apart.
        batch_size: images per batch; a DataLoader has its own.
        batch_dim: the batch axis of the inputs: 0, or 1 for inputs [T, N, ...].
        output: converts what the network returns to outputs [T, N, C] or [N, C], if it returns something else.

    Attributes:
        prior_precision: the prior's precision.
        layer: name of the last layer.

    Raises:
        InputError: the network has no linear layer, or its logits are not linear in one (for instance because neurons
            follow); the layer has unfrozen ternary weights, or too many weights for ``"full"``; images or labels are
            invalid; or the evidence has no maximum.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Data | Source,
        *,
        layer: str | None = None,
        structure: str = "kronecker",
        prior_precision: float | None = None,
        batch_size: int = 500,
        batch_dim: int = 0,
        output: Callable[[Any], Tensor] | None = None,
    ) -> None:
        sums_of, basis_of = STRUCTURES[check_choice("structure", structure, STRUCTURES)]
        if prior_precision is not None:
            check_positive("prior_precision", prior_precision)
        require_float64("network", device_of(network))
        self.network = copy_network(network)
        device = device_of(self.network)

        def outputs_of(images: Tensor) -> Callable[[], Tensor]:
            returned = partial(self.network, images.to(device))
            return returned if output is None else lambda: output(returned())

        source = open_data("train", train, batch_dim=batch_dim, labelled=True, finite=True)
        self.layer = last_layer(self.network, outputs_of(source.first(2)), layer)
        weights: Any = self.network.get_submodule(self.layer)
        if parametrize.is_parametrized(weights, "weight"):
            remedy = "freeze or make_deterministic it first"
            raise InputError(f"network: expected plain weights; that of {self.layer!r} is parametrized ({remedy})")
        self.mean = _extended(weights)
        if structure == "full" and self.mean.numel() > LARGEST:
            wanted = f"'kronecker' or 'diagonal' for more than {LARGEST} weights"
            raise InputError(f"structure: expected {wanted}; got 'full' for {self.mean.numel()}")
        sums: Sums = ()
        self.log_likelihood, silent = 0.0, True
        for batch in source.in_order(batch_size):
            target = check_labels("labels", batch.target.to(device), len(self.mean))
            features, logits = features_and_logits(self.network, self.layer, outputs_of(batch.inputs))
            self.log_likelihood -= nn.functional.cross_entropy(logits, target, reduction="sum").item()
            more = sums_of(features, logits.softmax(-1))
            sums = tuple(map(torch.add, sums, more)) if sums else more
            silent = silent and not features.any()
        if silent:
            raise InputError("network: expected inputs of the last layer that are not all 0; no neuron before it fires")
        self.eigenvalues, self._to_weights = basis_of(*sums)
        self.prior_precision = self._best_precision() if prior_precision is None else float(prior_precision)

    def sample(self, generator: torch.Generator) -> nn.Module:
        """Draw a network."""
        noise = torch.empty_like(self.eigenvalues)
        noise.normal_(generator=generator_on(noise.device, generator))
        weight = self.mean + self._to_weights(noise / (self.eigenvalues + self.prior_precision).sqrt())
        layer: Any = copy_network(self.network.get_submodule(self.layer))
        with torch.no_grad():
            layer.weight.copy_(weight[:, : layer.weight.shape[1]])
            if layer.bias is not None:
                layer.bias.copy_(weight[:, -1])
        return copy_network(self.network, {id(self.network.get_submodule(self.layer)): layer})

    def log_evidence(self, prior_precision: float) -> float:
        r"""Laplace's approximation of log p(labels), nats (MacKay, 1992).

        `log p(labels | W) - (delta |W|^2 + log det(1 + H / delta)) / 2`.
        """
        check_positive("prior_precision", prior_precision)
        growth = (self.eigenvalues / prior_precision).log1p().sum()
        return self.log_likelihood - (prior_precision * self.mean.square().sum() + growth).item() / 2

    def _best_precision(self) -> float:
        """The zero of the derivative of `log_evidence`: delta |W|^2 = sum of lambda / (lambda + delta).

        The sum is at least its largest term and at most the sum of lambda / delta, which brackets the solution.
        """
        from scipy.optimize import brentq

        size, total, largest = (
            value.item() for value in (self.mean.square().sum(), self.eigenvalues.sum(), self.eigenvalues.max())
        )

        def excess(log_precision: float) -> float:
            precision = math.exp(log_precision)
            return precision * size - (self.eigenvalues / (self.eigenvalues + precision)).sum().item()

        best = 0.0
        if size > 0 and total > 0:
            low = 2 * largest / (size * largest + math.sqrt((size * largest) ** 2 + 4 * size * largest))
            high = math.sqrt(total / size)
            best = math.exp(brentq(excess, math.log(low) - 1, math.log(high) + 1))
        layer: Any = self.network.get_submodule(self.layer)
        largest_draw = torch.finfo(layer.weight.dtype).max / 1000
        if not best > 0 or best**-0.5 > largest_draw:
            why = "evidence has no maximum that can be computed (is the network certain of all images?)"
            raise InputError(f"prior_precision: expected a number above 0, since the {why}; got None")
        return best


def _extended(layer: Any) -> Tensor:
    """Weights with the bias as the last column, float64 [C, d]."""
    parts = [layer.weight] + ([layer.bias.unsqueeze(1)] if layer.bias is not None else [])
    return torch.cat([part.detach().double() for part in parts], 1)


def _variances(probs: Tensor) -> Tensor:
    """p (1 - p) of each class [N, C], where 1 - p is the sum of the others, which is exact for p close to 1 too."""
    return probs * (probs @ (1 - torch.eye(probs.shape[1], dtype=probs.dtype, device=probs.device)))


def _full(features: Tensor, probs: Tensor) -> Sums:
    classes, width = probs.shape[1], features.shape[1]
    curvature, variances = features.new_empty(classes, width, classes, width), _variances(probs)
    for one in range(classes):
        for other in range(classes):
            weight = variances[:, one] if one == other else -probs[:, one] * probs[:, other]
            curvature[one, :, other] = features.T @ (weight.unsqueeze(1) * features)
    return (curvature,)


def _of_full(curvature: Tensor) -> Basis:
    classes, width = curvature.shape[:2]
    values, vectors = torch.linalg.eigh(curvature.reshape(classes * width, -1))
    return values.clamp(min=0), lambda coordinates: (vectors @ coordinates).reshape(classes, width)


def _kronecker(features: Tensor, probs: Tensor) -> Sums:
    outer = (-probs.T @ probs).fill_diagonal_(0) + _variances(probs).sum(0).diag()
    return features.T @ features, outer, features.new_tensor(len(features))


def _of_kronecker(inner: Tensor, outer: Tensor, count: Tensor) -> Basis:
    values_of_inner, of_inner = torch.linalg.eigh(inner)
    values_of_outer, of_outer = torch.linalg.eigh(outer / count)
    values = values_of_outer.clamp(min=0).unsqueeze(1) * values_of_inner.clamp(min=0)
    return values, lambda coordinates: of_outer @ coordinates @ of_inner.T


def _diagonal(features: Tensor, probs: Tensor) -> Sums:
    return (_variances(probs).T @ features.square(),)


def _of_diagonal(curvature: Tensor) -> Basis:
    return curvature, lambda coordinates: coordinates


STRUCTURES: dict[str, tuple[Callable[[Tensor, Tensor], Sums], Callable[..., Basis]]] = {
    "full": (_full, _of_full),
    "kronecker": (_kronecker, _of_kronecker),
    "diagonal": (_diagonal, _of_diagonal),
}
"""Accumulates features [N, d] and probabilities [N, C], and returns the eigenbasis."""
