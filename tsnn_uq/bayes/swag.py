"""SWAG: a normal distribution through the last weights of a training (Maddox et al., 2019)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Data, Source, open_data
from tsnn_uq.bayes.posterior import Posterior, copy_network
from tsnn_uq.checks import InputError, check_fraction, check_positive
from tsnn_uq.quantization import freeze
from tsnn_uq.seeds import generator_on
from tsnn_uq.training import Forward, Method
from tsnn_uq.training.batchnorm import batch_norms, refresh_batch_norms
from tsnn_uq.training.forward import takes_one_input

__all__ = ["CollectSwag", "Swag"]


class Swag(Posterior):
    r"""Normal weights with the mean, and half the covariance, of the collected weights.

    .. math:: w = \bar w + \tfrac{1}{\sqrt 2} \Sigma^{1/2} z_1 + \tfrac{1}{\sqrt{2 (K - 1)}} D z_2

    with the diagonal variances :math:`\Sigma` and K columns of D, the last collected weights minus the mean at that
    time. For a network with straight-through ternary weights the float copies are collected, and draws are ternarized.

    Args:
        network: a network of the shape of those that will be collected.
        rank: K, the number of last collected weights that are kept.
        images: inputs [N, ...] from which BatchNorm's statistics are recomputed in each draw.
        batch_size: images per batch.
        batch_dim: the batch axis of `images`.

    Raises:
        InputError: `rank` below 2, or BatchNorm without images.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        rank: int = 20,
        images: Tensor | None = None,
        batch_size: int = 500,
        batch_dim: int = 0,
    ) -> None:
        check_positive("rank", rank, integer=True)
        check_positive("batch_size", batch_size, integer=True)
        if rank < 2:
            raise InputError(f"rank: expected at least 2; got {rank}")
        self.network = copy_network(network)
        if images is None and batch_norms(self.network):
            raise InputError("images: expected inputs, since the network has BatchNorm; got None")
        self.rank, self.images, self.batch_size, self.batch_dim = rank, images, batch_size, batch_dim
        self.count = 0
        parameters = {name: value.detach() for name, value in self.network.named_parameters() if value.requires_grad}
        self.mean = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.squares = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.deviations = {name: value.new_empty(0, *value.shape) for name, value in parameters.items()}

    @torch.no_grad()
    def collect(self, network: nn.Module) -> None:
        """Collect the current weights of a network.

        Raises:
            InputError: its weights do not match those of the original network.
        """
        values = dict(network.named_parameters())
        wrong = [name for name, mean in self.mean.items() if name not in values or values[name].shape != mean.shape]
        if wrong:
            raise InputError(f"network: expected the parameters of the first network; {', '.join(wrong)} differ")
        self.count += 1
        for name, mean in self.mean.items():
            before = values[name] - mean
            mean += before / self.count
            after = values[name] - mean
            self.squares[name] += before * after  # Welford's update avoids cancellation
            self.deviations[name] = torch.cat([self.deviations[name], after.unsqueeze(0)])[-self.rank :]

    @torch.no_grad()
    def sample(self, generator: torch.Generator) -> nn.Module:
        """Draw a network with recomputed BatchNorm statistics.

        Raises:
            InputError: fewer than two networks were collected.
        """
        if self.count < 2:
            raise InputError(f"swag: expected at least 2 collected networks; got {self.count}")
        network = copy_network(self.network)
        columns = min(self.count, self.rank)
        first = next(iter(self.mean.values()))
        generator = generator_on(first.device, generator)
        shared = first.new_empty(columns).normal_(generator=generator)
        for name, parameter in network.named_parameters():
            if name in self.mean:
                noise = torch.empty_like(parameter).normal_(generator=generator)
                spread = (self.squares[name] / (2 * self.count)).sqrt() * noise
                low_rank = torch.tensordot(shared, self.deviations[name], 1) / (2 * (columns - 1)) ** 0.5
                parameter.copy_(self.mean[name] + spread + low_rank)
        freeze(network)
        if self.images is not None and batch_norms(network):
            refresh_batch_norms(network, self._blocks(network, self.images))
        return network

    def _blocks(self, network: nn.Module, images: Tensor) -> list[Tensor]:
        """Images in batches; a single last image joins the batch before if BatchNorm needs it."""
        blocks = list(images.split(self.batch_size, self.batch_dim))
        if len(blocks) > 1 and blocks[-1].shape[self.batch_dim] == 1:
            copied = copy_network(network)
            for norm in batch_norms(copied):
                norm.train()
            if not takes_one_input(partial(copied, blocks[-1])):
                blocks[-2:] = [torch.cat(blocks[-2:], self.batch_dim)]
        return blocks

    def state_dict(self) -> dict[str, Tensor]:
        """The collected statistics."""
        parts = {"mean": self.mean, "squares": self.squares, "deviations": self.deviations}
        state = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        return state | {"count": torch.tensor(self.count)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore collected statistics."""
        self.count = int(state["count"])
        for part in ("mean", "squares", "deviations"):
            setattr(self, part, {name: state[f"{part}.{name}"].clone() for name in self.mean})


class CollectSwag(Method):
    """A training method whose weights are collected in `swag` in the last part of the training.

    The learning rate falls to zero at the end, so start early enough for the weights to move. Draws are ternary after
    the direct method, but not after methods that fix weights, such as the indirect one.

    Args:
        method: the training method; its ``criterion`` is used.
        start: share of the training at the first collection.
        count: number of collections, spread evenly up to the end.
        rank: see `Swag`.
        refresh: number of training images for BatchNorm's statistics.

    Attributes:
        swag: the posterior, once the training has started.
    """

    swag: Swag

    def __init__(
        self, method: Method, *, start: float = 0.5, count: int = 40, rank: int = 20, refresh: int = 2000
    ) -> None:
        check_fraction("start", start, below_one=True)
        check_positive("count", count, integer=True)
        check_positive("refresh", refresh, integer=True)
        if count < 2:
            raise InputError(f"count: expected at least 2; got {count}")
        self.method, self.rank, self.refresh = method, rank, refresh
        self.name = f"swag of {method.name}"
        self.moments = tuple(start + (1 - start) * k / (count - 1) for k in range(count))

    def start(self, model: nn.Module, images: Data | Source) -> None:
        """Start the method, without collecting."""
        self.method.start(model, images)
        source = open_data("images", images)
        first = source.first(self.refresh) if batch_norms(model) else None
        self.swag = Swag(model, rank=self.rank, images=first, batch_dim=source.batch_dim)

    def after_step(self, model: nn.Module, progress: float) -> None:
        """Call the method, and collect if due."""
        self.method.after_step(model, progress)
        if self.swag.count < len(self.moments) and progress >= self.moments[self.swag.count]:
            self.swag.collect(model)

    def loss(self, mc_logits: Tensor, target: Tensor, indices: Tensor) -> Tensor:
        """The loss of the method."""
        return self.method.loss(mc_logits, target, indices)

    def term(self, forward: Forward) -> Tensor:
        """The additional loss term of the method."""
        return self.method.term(forward)

    def finish(self, model: nn.Module) -> None:
        """Finish the method."""
        self.method.finish(model)

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the method and the collected statistics."""
        inner = {f"method.{name}": value for name, value in self.method.state_dict().items()}
        return inner | {f"swag.{name}": value for name, value in self.swag.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state of an interrupted run."""
        parts: dict[str, dict[str, Tensor]] = {"method": {}, "swag": {}}
        for name, value in state.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = value
        self.method.load_state_dict(parts["method"])
        self.swag.load_state_dict(parts["swag"])
