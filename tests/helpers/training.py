"""Networks and data so small that a test can train them step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from tsnn_uq.networks import build
from tsnn_uq.neurons import LIFParameters, SRMParameters
from tsnn_uq.seeds import generator_for
from tsnn_uq.training import METHODS, FitSettings, Method

__all__ = [
    "EAGER",
    "TINY",
    "Items",
    "Noisy",
    "images",
    "loader",
    "method",
    "mlp",
    "network",
    "same",
    "shifted",
]

TINY = FitSettings(epochs=2, batch_size=6, learning_rate=0.05)
EAGER = LIFParameters(threshold=0.2, reset="hard")  # a few small weights are enough for a spike
SMALL: dict[str, dict[str, Any]] = {
    "": {"sizes": (16, 8, 3), "steps": 2},
    "plif": {"shape": (1, 4, 4), "classes": 3, "hidden": (3, 3, 8), "steps": 2, "neuron": EAGER},
    "vgg": {"shape": (1, 4, 4), "classes": 3, "hidden": (3, 3, 8), "steps": 2, "neuron": EAGER},
    "slayer": {
        "shape": (1, 4, 4),
        "classes": 3,
        "hidden": (8,),
        "steps": 6,
        "coding": "latency",
        "neuron": SRMParameters(step_ms=5.0),
    },
}
"""Options of a family, and of those that have none of their own."""
STEPS = 6  # 16 images in batches of 6, twice


def images(count: int = 16, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random images [N, 1, 4, 4] and labels [N]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 4, 4, generator=generator), torch.arange(count) % classes


def network(family: str = "dropout", seed: int = 0, **options: Any) -> nn.Module:
    """A network of one of our families for `images`."""
    return build(family, generator=torch.Generator().manual_seed(seed), **(SMALL.get(family, SMALL[""]) | options))


def mlp(seed: int = 0) -> nn.Module:
    """A plain PyTorch network for `images`: a convolution, BatchNorm, torch's own dropout, outputs [N, C]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(18, 3))
        return nn.Sequential(*layers)


def method(name: str, **options: Any) -> Method:
    """A method by name; a distilled one gets an untrained teacher."""
    teacher = (network(seed=9),) if name == "distill" else ()
    return METHODS[name](*teacher, **options)


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks hold the same numbers, bit for bit."""
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


class Items(Dataset):
    """Items one by one."""

    def __init__(self, inputs: Tensor, labels: Tensor, dim: int = 0) -> None:
        self.inputs, self.labels, self.dim = inputs, labels, dim

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs.select(self.dim, index), int(self.labels[index])


class Noisy(Items):
    """Items that are random by themselves."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        inputs, label = super().__getitem__(index)
        return inputs + 0.1 * torch.rand(inputs.shape), label


class OurOrder(Sampler):
    """The order of `fit`, as batches of indices, for a DataLoader."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        order = torch.randperm(self.count, generator=generator_for(self.seed, "order", self.epoch))
        yield from (part.tolist() for part in order.split(6))

    def __len__(self) -> int:
        return -(-self.count // 6)


def stacked(dim: int) -> Any:
    """Collates items along an axis, and their labels."""

    def collate(items):
        return torch.stack([item for item, _ in items], dim), torch.tensor([label for _, label in items])

    return collate


def loader(data: Any, dim: int = 0, workers: int = 0) -> DataLoader[Any]:
    """A DataLoader with the order of `fit`."""
    items = Items(*data, dim)
    return DataLoader(items, batch_sampler=OurOrder(len(items)), collate_fn=stacked(dim), num_workers=workers)


def shifted(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """An augmentation: noise, and a shift that all inputs have in common."""
    noise = torch.rand(inputs.shape, generator=generator)
    return (inputs * (1 - 0.2 * noise)).roll(int(torch.randint(3, (), generator=generator)), -1)
