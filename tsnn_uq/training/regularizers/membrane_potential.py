"""A penalty on membrane potentials near the threshold, where noise decides about a spike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from tsnn_uq.checks import check_positive
from tsnn_uq.neurons import watch_potentials
from tsnn_uq.training.regularizers.base import LayersRegularizer

__all__ = ["MembraneRegularizer", "spike_variance"]


def spike_variance(distance: Tensor, width: float) -> Tensor:
    """Variance of a spike under noise, as a share of the largest: 4 q (1 - q) with q = sigmoid(distance / width).

    With logistic noise of scale `width` on the potential, q is the probability of a spike (the escape rate of Gerstner
    et al., *Neuronal Dynamics*, section 9.1, for a logistic threshold). 1 at the threshold, and 0 far from it.

    Args:
        distance: potentials minus threshold, any shape.
        width: scale of the noise, in the unit of `distance`.

    Returns:
        Of the shape of `distance`, from 0 to 1.

    Example:
        >>> import torch
        >>> spike_variance(torch.tensor([0.0, 1.0]), width=0.25)
        tensor([1.0000, 0.0707])
    """
    return 1 - (distance / (2 * width)).tanh() ** 2


@dataclass(frozen=True)
class MembraneRegularizer(LayersRegularizer):
    """The `spike_variance` of LIF, PLIF and SRM neurons, with equal weights for neurons that fire and for others.

    For each input and layer it averages the mean over steps and neurons that fire and the mean over those that do not;
    then it averages over inputs and layers. A plain mean over all potentials silences the network, since most
    potentials are below the threshold. A large weight still silences a network; try 0.1 with a warm-up.

    Spikes of potentials far from the threshold are not flipped by a mask or a quantized weight. (The
    distribution of potentials was regularized before, by Guo et al., "RecDis-SNN", CVPR 2022, for the quantization
    error of the spikes.) The gradient flows through the scan of the spikes; see
    `tsnn_uq.neurons.watch_potentials`. It supports only the neurons of `tsnn_uq.neurons`; convert networks of other
    libraries with `tsnn_uq.exchange`.

    Args:
        width: scale of the noise, in thresholds.

    Raises:
        InputError: the width is not above 0.
    """

    width: float = 0.2

    def __post_init__(self) -> None:
        check_positive("width", self.width)

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[list[Tensor]]:
        """Context that records, for each layer, the value of each row of the batch."""
        seen: list[Tensor] = []

        def see(distance: Tensor) -> None:
            rows = distance.transpose(0, 1).flatten(1)
            variance, fires = spike_variance(rows, self.width), rows >= 0
            firing = (variance * fires).sum(1)
            spikes = fires.sum(1)
            silent, others = variance.sum(1) - firing, fires.shape[1] - spikes
            seen.append((firing / spikes.clamp_min(1) + silent / others.clamp_min(1)) / 2)

        with watch_potentials(model, see):
            yield seen
