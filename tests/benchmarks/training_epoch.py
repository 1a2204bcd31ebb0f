"""A training epoch of the `dropout` network on MNIST, ours against the usual per-step loop of snnTorch.

784-500-500-500-10, T = 8, constant current, batch 128, AdamW, two threads unless told otherwise. Both take the
same batches in turn; the median over rounds is scaled to the steps of an epoch. That both compute the same
network is checked first. Writes ``tests/benchmarks/results.csv``.
"""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import snntorch
import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tsnn_uq import data
from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import DataDir
from tsnn_uq.files import write_text
from tsnn_uq.networks import dropout
from tsnn_uq.readout import logits
from tsnn_uq.uncertainty import set_generator

SIZES = (784, 500, 500, 500, 10)
STEPS, BATCH, DROP = 8, 128, 0.2
RESULTS = Path(__file__).parent / "results.csv"


class SnnTorchNetwork(nn.Module):
    """The same network as snnTorch's tutorials write it: a Python loop over time steps."""

    def __init__(self, drop: float = DROP) -> None:
        super().__init__()
        pairs = list(pairwise(SIZES))
        self.linear = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)
        surrogate = snntorch.surrogate.atan(alpha=2.0)
        self.leaky = nn.ModuleList(
            snntorch.Leaky(beta=0.5, threshold=1.0, spike_grad=surrogate, reset_delay=False) for _ in pairs[:-1]
        )
        self.dropout = nn.Dropout(drop)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs [T, N, C] of images [N, 1, 28, 28]."""
        currents = images.flatten(1)
        membranes = [leaky.init_leaky() for leaky in self.leaky]
        outputs = []
        for _ in range(STEPS):
            spikes = currents
            for i, leaky in enumerate(self.leaky):
                spikes, membranes[i] = leaky(self.linear[i](spikes), membranes[i])
                spikes = self.dropout(spikes)
            outputs.append(self.linear[-1](spikes))
        return torch.stack(outputs)


def check_same(images: Tensor) -> None:
    """Stop unless both networks give the same outputs from the same weights.

    snnTorch's spikes are float32 whatever the input, so a potential within rounding of the threshold may decide
    differently now and then: one input in a hundred may.
    """
    ours, theirs = dropout(SIZES, steps=STEPS, p=0.0), SnnTorchNetwork(0.0)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.data.copy_(mine.data)
    with torch.no_grad():
        differences = (ours(images) - theirs(images)).abs().amax((0, 2))
    same = (differences < 1e-5).double().mean().item()
    if same < 0.99:
        raise SystemExit(f"only {same:.1%} of the inputs have the same outputs: there is nothing to compare")
    print(f"same outputs from the same weights for {same:.1%} of {len(images)} inputs")


def step(network: nn.Module) -> Callable[[Tensor, Tensor], None]:
    """One training step of a network, as a function of a batch."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    network.train()

    def train(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        cross_entropy(logits(network(images)), labels).backward()
        optimizer.step()

    return train


def main(
    rounds: Annotated[int, typer.Option(help="Timed rounds; the median counts.")] = 9,
    steps: Annotated[int, typer.Option(help="Training steps in a round.")] = 20,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    data_dir: DataDir = None,
) -> None:
    """Time a training epoch of both, in turn."""
    torch.set_num_threads(threads)
    train = data.load("mnist", data_dir).train
    check_same(train.images[:BATCH])
    ours = dropout(SIZES, steps=STEPS, p=DROP)
    set_generator(ours, torch.Generator().manual_seed(0))
    contenders = {"tsnn-uq": step(ours), "snntorch": step(SnnTorchNetwork())}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    batches = list(zip(train.images.split(BATCH), train.labels.split(BATCH), strict=True))
    for number in range(rounds + 1):  # the first round warms up
        for name, run in contenders.items():
            started = time.perf_counter()
            for images, labels in batches[number * steps : (number + 1) * steps]:
                run(images, labels)
            if number:
                seconds[name].append((time.perf_counter() - started) / steps * len(batches))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["work", "contender", "median_seconds", "ratio"])
    for name, median in medians.items():
        writer.writerow(
            [f"epoch-constant-T{STEPS}-threads{threads}", name, f"{median:.3f}", f"{median / medians['tsnn-uq']:.3f}"]
        )
        print(f"{name:10} {median:7.1f} s an epoch, {median / medians['tsnn-uq']:.2f} times ours")
    write_text(RESULTS, text.getvalue())


if __name__ == "__main__":
    run_command(main)
