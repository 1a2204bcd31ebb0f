"""What all works share: sizes, MNIST, and the ternary networks that the project's own main job trains for them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from tsnn_uq import data, training
from tsnn_uq.checks import InputError
from tsnn_uq.coding import bernoulli_rate
from tsnn_uq.experiments import Context, Settings, make_settings, run
from tsnn_uq.experiments.storage import load_network
from tsnn_uq.neurons import LIF

__all__ = [
    "BATCH",
    "DROP",
    "LARGE_BATCH",
    "MAIN_STEPS",
    "RUNS",
    "SAMPLES",
    "STEPS",
    "Setting",
    "hidden_rates",
    "is_of_other_settings",
    "run_config",
]

STEPS, DROP, SAMPLES = 20, 0.2, 32
MAIN_STEPS = 4  # T of the main job
BATCH, LARGE_BATCH = 128, 256  # of training, and of prediction
RUNS = Path(__file__).parents[2] / "runs" / "bench"
TRAINING = {"data": "mnist", "method": "direct", "seed": 0, "epochs": 3, "samples": 2, "threads": 2}


def run_config(family: str) -> Settings:
    """The run that trains the ternary network of a family: full MNIST, three epochs, four time steps."""
    return make_settings(TRAINING | {"family": family})


def is_of_other_settings(folder: Path, config: Settings) -> bool:
    """Whether a run's folder was made with other settings than `config`."""
    if not (folder / "config.toml").exists():
        return False
    try:
        return Settings.load(folder / "config.toml") != config
    except InputError:  # settings that there are no more
        return True


@dataclass(frozen=True)
class Setting:
    """Folders of the data and of the trained networks; what was loaded is kept.

    Attributes:
        data_dir: folder of the data sets; see `tsnn_uq.data.load`.
        runs: folder of the trained networks; one that is not there is trained, which takes about a minute.
    """

    data_dir: Path | None = None
    runs: Path = RUNS

    def network(self, family: str = "dropout", steps: int = STEPS) -> nn.Sequential:
        """A trained ternary network in evaluation mode, set to so many time steps; a new one at each call."""
        config = run_config(family)
        folder = self.runs / config.name
        if is_of_other_settings(folder, config):
            shutil.rmtree(folder)  # the project's defaults have changed since
        if not (folder / "result.json").exists():
            print(f"training {config.name} for {config.epochs} epochs, once; it is kept in {self.runs}", flush=True)
        run(config, self.runs, Context(self.data_dir))
        network = load_network(folder)
        assert isinstance(network, nn.Sequential)
        network[0].steps = steps
        return network

    @cached_property
    def splits(self) -> data.Splits:
        """MNIST."""
        return data.load("mnist", self.data_dir)

    @property
    def test_images(self) -> Tensor:
        """The first images of the test set, as many as a batch of prediction."""
        return self.splits.test.images[:LARGE_BATCH]

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        """A training batch: pixels [N, 784] and labels [N]."""
        return self.splits.train.images[:BATCH].flatten(1), self.splits.train.labels[:BATCH]

    def spikes(self) -> Tensor:
        """The training batch coded as spikes [T, N, 784], drawn once, so that no library pays for the coding."""
        return bernoulli_rate(self.batch[0], STEPS, torch.Generator().manual_seed(0))

    def activity(self, family: str) -> tuple[list[float], float]:
        """Firing rates of a trained network's hidden layers, and its accuracy, on 2,000 test images at T = 20."""
        network, test = self.network(family), self.splits.test.subset(2000)
        return hidden_rates(network, self.test_images), training.accuracy(network, test.images, test.labels)


@torch.no_grad()
def hidden_rates(network: nn.Module, images: Tensor) -> list[float]:
    """Spikes a neuron and step of each LIF layer, in order."""
    rates: list[float] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, spikes: rates.append(spikes.mean().item()))
        for module in network.modules()
        if isinstance(module, LIF)
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return rates
