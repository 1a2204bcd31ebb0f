"""The base class of posteriors, whose draws are networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial, reduce
from typing import Any, overload

import torch
from torch import Generator, Tensor, nn

from tsnn_uq.batches import Collected, Data, Repeated, Source, open_data
from tsnn_uq.checks import check_positive
from tsnn_uq.state import copy_at_rest
from tsnn_uq.uncertainty import Labelled, Moments, mc_moments, mc_predict

__all__ = ["Posterior", "copy_network"]


class Posterior(ABC):
    """A distribution of networks."""

    @abstractmethod
    def sample(self, generator: Generator) -> nn.Module:
        """Draw a network: an independent copy in evaluation mode.

        If the generator is on another device than the network, only a seed is drawn from it.
        """

    def draws(self, count: int, generator: Generator) -> Iterator[nn.Module]:
        """Draw `count` networks lazily, one after the other."""
        check_positive("samples", count, integer=True)
        return (self.sample(generator) for _ in range(count))

    def samples(self, count: int, generator: Generator) -> list[nn.Module]:
        """Draw `count` networks; all of them are in memory at once."""
        return list(self.draws(count, generator))

    @overload
    def predict(
        self, images: Tensor, *, samples: int = 32, generator: Generator, per_step: bool = False, **options: Any
    ) -> Tensor: ...
    @overload
    def predict(
        self,
        images: Collected | Source,
        *,
        samples: int = 32,
        generator: Generator,
        per_step: bool = False,
        **options: Any,
    ) -> Labelled[Tensor]: ...
    def predict(
        self,
        images: Data | Source,
        *,
        samples: int = 32,
        generator: Generator,
        per_step: bool = False,
        **options: Any,
    ) -> Tensor | Labelled[Tensor]:
        """Predict with S networks, which are drawn one at a time.

        Random layers, such as dropout, draw once for each network. Each network predicts all inputs before the next is
        drawn, so a Dataset or a DataLoader is loaded S times and must return the same inputs in the same order each
        time.

        Args:
            images: inputs [N, ...]; or a map-style Dataset, a DataLoader or a pair of tensors, with labels or without.
            samples: S.
            generator: source of the networks and of their random layers.
            per_step: return the prediction after each time step.
            options: further arguments of `tsnn_uq.uncertainty.mc_predict`, e.g. ``batch_size``; ``progress`` counts the
                inputs of all networks.

        Returns:
            Probabilities [S, N, C], or [S, T, N, C] with `per_step`; unless `images` is one tensor, with the labels,
            as ``(predictions, labels)``.

        Raises:
            InputError: as `tsnn_uq.uncertainty.mc_predict`; or the inputs or their order change.
        """
        found = self._draw(partial(mc_predict, per_step=per_step), images, samples, generator, options)
        probs, labels = zip(*found, strict=True)
        return torch.cat(probs) if isinstance(images, Tensor) else Labelled(torch.cat(probs), labels[0])

    @overload
    def moments(self, images: Tensor, *, samples: int = 32, generator: Generator, **options: Any) -> Moments: ...
    @overload
    def moments(
        self, images: Collected | Source, *, samples: int = 32, generator: Generator, **options: Any
    ) -> Labelled[Moments]: ...
    def moments(
        self, images: Data | Source, *, samples: int = 32, generator: Generator, **options: Any
    ) -> Moments | Labelled[Moments]:
        """Statistics of the predictions of `predict`, in memory that does not grow with the number of networks.

        Args:
            images: inputs, as for `predict`.
            samples: S.
            generator: source of the networks and of their random layers.
            options: further arguments of `tsnn_uq.uncertainty.mc_moments`, e.g. ``batch_size``.

        Returns:
            Statistics of N inputs; unless `images` is one tensor, with the labels, as ``(predictions, labels)``.

        Raises:
            InputError: as `predict`.
        """
        found = self._draw(mc_moments, images, samples, generator, options)
        moments, labels = reduce(lambda one, other: Labelled(one[0].merge(other[0]), one[1]), found)
        return moments if isinstance(images, Tensor) else Labelled(moments, labels)

    def _draw(
        self, predict: Any, images: Data | Source, samples: int, generator: Generator, options: dict[str, Any]
    ) -> Iterator[Labelled[Any]]:
        """Predictions of one network after the other."""
        source = open_data("images", images, batch_dim=options.get("batch_dim", 0))
        if source.tensors is None:
            source = Repeated("images", source)
        tell, before, done = options.get("progress"), 0, 0

        def progress(more: int) -> None:
            nonlocal done
            done = before + more
            if tell:
                tell(done)

        options |= {"samples": 1, "generator": generator, "progress": progress}
        for network in self.draws(samples, generator):
            yield predict([network], source, **options)
            before = done


def copy_network(network: nn.Module, put: dict[int, nn.Module] | None = None) -> nn.Module:
    """A deep copy in evaluation mode, with its state reset and without generators.

    Args:
        network: any module.
        put: replacements of modules, by the ``id`` of the original.
    """
    copied = copy_at_rest(network, put)
    module: Any
    for module in copied.modules():
        if getattr(module, "generators", ()):
            module.generators = ()
    return copied.eval()
