"""Stochastic variational inference, as a method of the training loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Data, Source, open_data
from tsnn_uq.bayes.variational_posterior import VariationalPosterior
from tsnn_uq.checks import InputError, check_fraction, check_positive, describe
from tsnn_uq.training import FitSettings, History, Method, fit
from tsnn_uq.training.schedules import warmed_up

__all__ = ["Variational", "infer"]

LEAST = 1e-9  # minimum factor of the divergence, which must be above 0 for Pyro


class Variational(Method):
    """The loss of a posterior: minus the evidence lower bound, divided by the number of training inputs.

    mean over the batch of -log p(target | logits) + temperature / N * KL(posterior || prior), N training inputs.

    Args:
        temperature: factor of the divergence. 1 is the bound itself; below 1 the posterior is "cold" (Wenzel et al.,
            2020), as if there were 1 / temperature times as many inputs.
        warm_up: share of the training over which that factor grows from 0, linearly.
    """

    name = "variational"

    def __init__(self, temperature: float = 1.0, warm_up: float = 0.0) -> None:
        check_positive("temperature", temperature)
        check_fraction("warm_up", warm_up)
        self.temperature, self.warm_up = temperature, warm_up
        self.progress = 0.0

    def start(self, model: nn.Module, images: Data | Source) -> None:
        """Store the posterior, the number of inputs and their axis."""
        if not isinstance(model, VariationalPosterior):
            raise InputError(f"model: expected a VariationalPosterior; got {type(model).__name__}")
        source = open_data("images", images)
        model.batch_dim = source.batch_dim
        self.posterior, self.inputs, self.progress = model, source.count, 0.0

    def after_step(self, model: nn.Module, progress: float) -> None:
        """Store the progress of the training."""
        self.progress = progress

    def loss(self, mc_logits: Tensor, target: Tensor, indices: Tensor) -> Tensor:
        """Minus the lower bound for each input, nats."""
        from tsnn_uq.bayes.elbo import negative_elbo  # imported here, since Pyro is slow to import

        passes = len(mc_logits)
        bound = negative_elbo(
            self.posterior.weights,
            mc_logits.flatten(0, 1),
            target.repeat(passes),
            indices.repeat(passes),
            inputs=self.inputs,
            temperature=max(LEAST, self.temperature * warmed_up(self.progress, self.warm_up)),
            criterion=self.criterion,
        )
        return bound / self.inputs

    def state_dict(self) -> dict[str, Tensor]:
        """The progress of the training."""
        return {"progress": torch.tensor(self.progress, dtype=torch.float64)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state of an interrupted run."""
        self.progress = state["progress"].item()


def infer(
    posterior: VariationalPosterior,
    train: Data | Source,
    *,
    seed: int,
    temperature: float = 1.0,
    warm_up: float = 0.0,
    settings: FitSettings | None = None,
    **options: Any,
) -> History:
    """Train a variational posterior, in place, with `tsnn_uq.training.fit`.

    Repeating an interrupted call with a `checkpoint` path resumes it and ends with the same numbers.

    Args:
        posterior: e.g. from `ternary_posterior`, preferably of a trained network.
        train: images [N, ...] and labels [N], a Dataset or a DataLoader.
        seed: seed of the run.
        temperature: factor of the divergence, see `Variational`.
        warm_up: share of the training over which that factor grows from 0.
        settings: budget and optimizer; by default a learning rate of 0.01. Weight decay must be 0, since it would be a
            second prior.
        options: further arguments of `tsnn_uq.training.fit`, such as ``checkpoint``, ``augment``, ``callbacks`` or
            ``validation``, which evaluates the network of mean weights.

    Returns:
        Loss (nats per input) and validation accuracy of each epoch, and the time taken in seconds.

    Raises:
        InputError: as `tsnn_uq.training.fit`; or there is weight decay, or `posterior` has another type.
    """
    settings = settings or FitSettings(learning_rate=0.01, weight_decay=0.0)
    if settings.weight_decay:
        raise InputError(f"weight_decay: expected 0, since the posterior has a prior; got {settings.weight_decay}")
    if not isinstance(posterior, VariationalPosterior):
        raise InputError(f"posterior: expected a VariationalPosterior; got {describe(posterior)}")
    families = {name: family.options for name, family in posterior.weights.items()}
    identity = {"temperature": temperature, "warm_up": warm_up, "family": posterior.family, "options": families}
    options["fingerprint"] = identity | (options.get("fingerprint") or {})
    return fit(posterior, train, seed=seed, method=Variational(temperature, warm_up), settings=settings, **options)
