"""What a stranger brings: colour images as a torch Dataset, a network of SpikingJelly, and an uncertainty term."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.utils.data import Dataset

from tsnn_uq import training
from tsnn_uq.metrics.functional import predictive_variance

if "MARKER" in os.environ:
    open(os.environ["MARKER"], "w").close()


class Colours(Dataset):
    """Noisy images whose channel says the class."""

    def __init__(self, count: int, noise: float, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(count) % 3
        self.images = noise * torch.rand(count, 3, 6, 6, generator=generator)
        self.images[torch.arange(count), self.labels] += 1 - noise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


def load(seed: int = 0, noise: float = 0.6):
    """Load the images.

    Args:
        seed: of the run.
        noise: share of the noise.
    """
    return {
        "train": Colours(96, noise, 100 + seed),
        "validation": Colours(30, noise, 200 + seed),
        "test": Colours(45, noise, 1),
    }


def build(shape: Sequence[int], classes: int, *, width: int = 64, p: float = 0.3, steps: int = 4) -> nn.Module:
    """Build the network.

    Args:
        shape: channels, height and width.
        classes: their number.
        width: of the hidden layer.
        p: dropout probability.
        steps: time steps.
    """

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                layer.Linear(torch.Size(shape).numel(), width, bias=False),
                neuron.LIFNode(tau=2.0),
                layer.Dropout(p),
                layer.Linear(width, classes, bias=False),
            )
            functional.set_step_mode(self.layers, "m")

        def forward(self, images: Tensor) -> Tensor:
            return self.layers(8 * images.flatten(1).expand(steps, -1, -1))

    return Network()


class Spread(training.Regularizer):
    """Variance of the passes, to a power.

    Args:
        power: of the variance.
    """

    passes = 2

    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def __call__(self, mc_logits: Tensor, target: Tensor) -> Tensor:
        variance = predictive_variance(mc_logits.softmax(-1), reduction="none", validate=False)
        return (variance + 1e-9).pow(self.power).mean()
