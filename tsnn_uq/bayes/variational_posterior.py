"""Variational posteriors: networks whose weights have learned distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.batches import device_of
from tsnn_uq.bayes.posterior import Posterior, copy_network
from tsnn_uq.bayes.variational_layer import VariationalLayer
from tsnn_uq.bayes.weight_distributions import FAMILIES, WeightFamily
from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.quantization import select_layers
from tsnn_uq.quantization.layer_selection import Where
from tsnn_uq.quantization.parametrizations import check_weights, weight_steps
from tsnn_uq.seeds import generator_on
from tsnn_uq.state import copy_at_rest

__all__ = ["VariationalPosterior", "dropconnect_posterior", "gaussian_posterior", "ternary_posterior"]


class VariationalPosterior(nn.Module, Posterior):
    """A distribution of networks with independent random weights in some layers; all other values are shared.

    `tsnn_uq.bayes.infer` trains it as a module. In training mode a forward pass draws the outputs of each random layer
    (`tsnn_uq.bayes.output_noise`); in evaluation mode it is the network of mean weights. `sample` draws networks and
    `predict` returns their predictions. `tsnn_uq.uncertainty.mc_predict` of the module draws outputs, as in training.

    Args:
        network: the initial network, which is copied.
        family: ``"ternary"``, ``"gaussian"`` or ``"dropconnect"``, see `tsnn_uq.bayes.weight_distributions`.
        layers: names of the layers whose weights are random, each with the family's options.
        noise: ``"exact"``, ``"flipout"``, ``"auto"`` (the former up to 8 time steps) or ``"weights"``, see
            `tsnn_uq.bayes.output_noise`.

    Attributes:
        batch_dim: the batch axis of the network's inputs; `infer` sets it.

    Raises:
        InputError: a layer or family is unknown, an option is out of range, or a weight is not a plain parameter.
    """

    batch_dim = 0

    def __init__(
        self,
        network: nn.Module,
        family: str,
        layers: Mapping[str, Mapping[str, Any]],
        *,
        noise: str = "auto",
    ) -> None:
        super().__init__()
        make = FAMILIES[check_choice("family", family, FAMILIES)]
        self.family, self.noise = family, noise
        originals: Any = select_layers(network, list(layers))
        check_weights(originals)
        for name, layer in originals.items():
            if weight_steps(layer):
                remedy = "freeze or make_deterministic it first"
                raise InputError(f"layers: expected plain weights; that of {name!r} is parametrized ({remedy})")
        put: dict[int, nn.Module] = {}
        for name, options in layers.items():
            layer = originals[name]
            put[id(layer)] = VariationalLayer(layer, make(layer.weight, **options), noise)
        self.network = copy_at_rest(network, put)
        self.layers = list(layers)

    @property
    def weights(self) -> dict[str, WeightFamily]:
        """The distribution of each random layer's weights, by the layer's name."""
        return {name: self._layer(name).weights for name in self.layers}

    def _layer(self, name: str) -> VariationalLayer:
        layer = self.network.get_submodule(name)
        if not isinstance(layer, VariationalLayer):
            raise InputError(f"layers: expected random weights in {name!r}; got {type(layer).__name__}")
        return layer

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of the network for N inputs, random in training mode."""
        for name in self.layers:
            self._layer(name).expected = inputs.shape[self.batch_dim]
        return self.network(inputs)

    def sample(self, generator: torch.Generator) -> nn.Module:
        """Draw a network with layers of the original classes; ternary weights are exactly -1, 0 or 1 times a scale."""
        generator = generator_on(device_of(self.network), generator)
        return self._deployed({name: family.draw(generator) for name, family in self.weights.items()})

    def mode(self) -> nn.Module:
        """The network with the most likely code of each ternary weight, and the means of other weights."""
        return self._deployed({name: family.mode() for name, family in self.weights.items()})

    def _deployed(self, weights: Mapping[str, Tensor]) -> nn.Module:
        layers = {name: self._layer(name) for name in weights}
        return copy_network(self.network, {id(layer): layer.deploy(weights[name]) for name, layer in layers.items()})


def ternary_posterior(
    network: nn.Module,
    layers: Where = "all",
    *,
    prior: Sequence[float] = (0.25, 0.5, 0.25),
    certainty: float = 0.99,
    spread: float = 2.0,
    relaxation: float = 1.0,
    noise: str = "auto",
) -> VariationalPosterior:
    """Ternary weights: each is -1, 0 or 1 with its own probabilities, times a scale per layer.

    The posterior is initialized from the weights of `network`, which should be trained, as in Shayer et al. (2018); it
    may be float or ternary.

    Args:
        network: a network of fully connected layers and convolutions.
        layers: ``"all"``, ``"conv"``, ``"fc"``, names of layers, or a predicate (name, module) -> bool.
        prior: prior probabilities of -1, 0 and 1; the more likely 0, the sparser the draws.
        certainty: largest initial probability, see `tsnn_uq.bayes.weight_distributions.TernaryWeights`.
        spread: initial scale, in standard deviations of a layer's weights.
        relaxation: temperature of the Gumbel-softmax, for ``noise="weights"``.
        noise: how outputs or weights are drawn in training, see `tsnn_uq.bayes.output_noise`.

    Raises:
        InputError: no layer matches, or an option is out of range.

    Example:
        >>> posterior = ternary_posterior(nn.Linear(3, 2))
        >>> network = posterior.sample(torch.Generator().manual_seed(0))
        >>> type(network).__name__, network.weight.unique().numel() <= 3
        ('Linear', True)
    """
    options = {"prior": prior, "certainty": certainty, "spread": spread, "relaxation": relaxation}
    return _posterior(network, "ternary", layers, options, noise)


def gaussian_posterior(
    network: nn.Module,
    layers: Where = "all",
    *,
    prior_std: float | None = None,
    initial_std: float = 0.1,
    noise: str = "auto",
) -> VariationalPosterior:
    """Normal weights, each with its own mean and standard deviation: Bayes by backprop (Blundell et al., 2015).

    Args:
        network: its weights are the initial means.
        layers: as in `ternary_posterior`.
        prior_std: standard deviation of the zero-mean prior; None for 1 / sqrt(fan-in).
        initial_std: initial standard deviation, in standard deviations of a layer's weights.
        noise: how outputs or weights are drawn in training, see `tsnn_uq.bayes.output_noise`.
    """
    options = {"prior_std": prior_std, "initial_std": initial_std}
    return _posterior(network, "gaussian", layers, options, noise)


def dropconnect_posterior(
    network: nn.Module,
    layers: Where = "all",
    *,
    p: float | None = None,
    prior_std: float | None = None,
    noise: str = "auto",
) -> VariationalPosterior:
    """Dropconnect as variational inference (Gal and Ghahramani, 2016), for use as it is or for further training.

    A network that was trained with dropconnect has this posterior. Its draws, unlike those of
    `tsnn_uq.uncertainty.mc_predict`, are networks. Draws of ternary weights are ternary, with 1 / (1 - p) in the scale.

    Args:
        network: its weights are the initial means; ternary weights must be frozen.
        layers: as in `ternary_posterior`.
        p: probability with which a weight is dropped; None for that of each dropconnect layer.
        prior_std: standard deviation of the zero-mean prior; None for 1 / sqrt(fan-in).
        noise: how outputs or weights are drawn in training, see `tsnn_uq.bayes.output_noise`.

    Raises:
        InputError: no layer matches, an option is out of range, or `p` is None and a layer has no dropconnect.
    """
    chosen = select_layers(network, layers)
    own = {name: getattr(layer, "p", None) for name, layer in chosen.items()}
    if p is None and None in own.values():
        missing = ", ".join(name for name, value in own.items() if value is None)
        raise InputError(f"p: expected a probability, since layers {missing} have no dropconnect; got None")
    options = {name: {"p": value if p is None else p, "prior_std": prior_std} for name, value in own.items()}
    return VariationalPosterior(network, "dropconnect", options, noise=noise)


def _posterior(
    network: nn.Module, family: str, layers: Where, options: dict[str, Any], noise: str
) -> VariationalPosterior:
    chosen = dict.fromkeys(select_layers(network, layers), options)
    return VariationalPosterior(network, family, chosen, noise=noise)
