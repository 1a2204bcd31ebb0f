"""The evidence lower bound in Pyro: a model, a guide, and the divergence between them.

The forward pass draws outputs of layers, so weights are never sampled. A handler gives each weight's site a placeholder
that is not read; the divergence at the site is exact, from Pyro's registered divergences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Categorical
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn import functional

from tsnn_uq.bayes.weight_distributions import WeightFamily

__all__ = ["negative_elbo"]

Criterion = Callable[[Tensor, Tensor], Tensor]


class _PlaceholderDraws(Messenger):
    """Replaces draws at latent sites by zeros."""

    def _pyro_sample(self, msg: Any) -> None:
        msg["value"] = torch.zeros(()).expand(msg["fn"].shape())
        msg["done"] = True


def negative_elbo(
    weights: Mapping[str, WeightFamily],
    logits: Tensor,
    target: Tensor,
    indices: Tensor,
    *,
    inputs: int,
    temperature: float,
    criterion: Criterion = functional.cross_entropy,
) -> Tensor:
    """Minus the evidence lower bound of the whole training set, estimated from a batch.

    -N mean log p(target | logits) + temperature * sum over layers of KL(guide || prior)

    Args:
        weights: distributions of weights, by name.
        logits: [B, C], drawn by a forward pass.
        target: class numbers [B].
        indices: positions of the inputs in the training set [B].
        inputs: N, inputs in the training set.
        temperature: factor of the divergence.
        criterion: mean negative log likelihood (logits [B, C], target [B]) -> scalar.

    Returns:
        Scalar, nats.
    """

    def guide() -> None:
        with poutine.scale(scale=temperature):
            for name, family in weights.items():
                distribution = family.guide()
                pyro.sample(f"weights.{name}", distribution.to_event(len(distribution.batch_shape)))

    def model() -> None:
        with poutine.scale(scale=temperature):
            for name, family in weights.items():
                distribution = family.prior()
                pyro.sample(f"weights.{name}", distribution.to_event(len(distribution.batch_shape)))
        if criterion is functional.cross_entropy:
            with pyro.plate("inputs", inputs, subsample=indices):
                pyro.sample("target", Categorical(logits=logits), obs=target)
        else:
            pyro.factor("target", -inputs * criterion(logits, target))

    with _PlaceholderDraws():
        guided = poutine.trace(guide).get_trace()
    modelled = poutine.trace(poutine.replay(model, trace=guided)).get_trace()
    modelled.compute_log_prob(site_filter=lambda name, _: name == "target")
    sites: Any = modelled.nodes
    divergence = sum(site["scale"] * kl_divergence(site["fn"], sites[name]["fn"]) for name, site in _sampled(guided))
    return divergence - sites["target"]["log_prob_sum"]


def _sampled(trace: Any) -> Iterator[tuple[str, Any]]:
    return ((name, site) for name, site in trace.nodes.items() if site["type"] == "sample")
