"""Activity of trained networks: zero weights, membrane potentials and spikes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.data.images import Dataset
from tsnn_uq.experiments.inputs import load_test
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.experiments.storage import seed_network
from tsnn_uq.neurons import watch_potentials
from tsnn_uq.neurons.potentials import WatchedNeuron
from tsnn_uq.readout import logits
from tsnn_uq.results.studies.run_selection import Runs
from tsnn_uq.results.studies.weight_histograms import weight_layers
from tsnn_uq.state import is_library_neuron, rest

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["hidden_rate", "layer_sparsity", "potential_distribution", "shown_inputs", "spike_trains"]

_BLOCK = 50  # inputs per pass, since the convolutions of the paper's network have 125,000 neurons
_PER_THRESHOLD = 4  # bins of potentials per threshold; the threshold is an edge between bins
_FARTHEST = 1000  # bins on either side of the threshold
_TAIL = 5e-3  # share of potentials at either end that is outside the bins


def layer_sparsity(runs: Runs, *, inputs: int = 500) -> DataFrame:
    """Sparsity of each layer: the share of zero weights, and the firing rate of neurons.

    Spikes are counted on the first test inputs, without random masks.

    Args:
        runs: runs of any methods.
        inputs: largest number of inputs N.

    Returns:
        A row for each ``method``, ``quantity`` and ``layer``. The ``value`` of ``"zero weights"`` is the share of zeros
        in a layer of weights; that of ``"spikes"`` is spikes per neuron, time step and input in a layer of neurons.
        Both are fractions. ``inputs`` is N.

    Raises:
        InputError: data are missing, or `inputs` is not a positive whole number.
    """
    import pandas as pd

    rows = []
    for method in runs.folders:
        network, images, _ = shown_inputs(runs, method, inputs)
        zeros = {layer: (weight == 0).double().mean().item() for layer, weight in weight_layers(network).items()}
        firing = _firing(network, images)
        rates = {layer: (spikes / places).item() for layer, (spikes, places) in firing.items()}
        for quantity, values in (("zero weights", zeros), ("spikes", rates)):
            common = {"method": method, "quantity": quantity, "inputs": len(images)}
            rows += [common | {"layer": layer, "value": value} for layer, value in values.items()]
    return pd.DataFrame(rows)[["method", "quantity", "layer", "value", "inputs"]]


def hidden_rate(network: nn.Module, images: Tensor) -> float:
    """Spikes per neuron, time step and input, over all layers of neurons."""
    spikes, places = torch.stack(list(_firing(network, images).values())).sum(0)
    return (spikes / places).item()


def potential_distribution(runs: Runs, *, inputs: int = 500) -> DataFrame:
    """Histograms of the membrane potentials before the reset, over all neurons, time steps and inputs of a layer.

    Networks run on the first test inputs, without random masks. Potentials are in units of the firing threshold, which
    is an edge between bins: neurons in bins from 1 on fire.

    Args:
        runs: runs of any methods.
        inputs: largest number of inputs N.

    Returns:
        A row for each ``method``, ``layer`` of neurons and bin (``bin_low``, ``bin_high``, in thresholds, 0.25 wide):
        ``share`` of the layer's potentials. At most 0.5 % of any method's potentials are outside the bins at either
        end, the shares ``below`` and ``above``. ``rate`` is the share at or above the threshold, that is, spikes per
        neuron and time step. ``inputs`` is N.

    Raises:
        InputError: as `layer_sparsity`.
    """
    import pandas as pd

    counts: dict[tuple[str, str], Tensor] = {}
    seen: dict[str, int] = {}
    for method in runs.folders:
        network, images, _ = shown_inputs(runs, method, inputs)
        seen[method] = len(images)
        binned = ({layer: _binned(of) for layer, of in layers.items()} for layers in _potentials(network, images))
        counts |= {(method, layer): count for layer, count in _summed(binned).items()}
    shares = {key: count.double() / count.sum() for key, count in counts.items()}
    tables = []
    for layer in dict.fromkeys(layer for _, layer in shares):
        of_layer = {method: share for (method, other), share in shares.items() if other == layer}
        low, high = _span(of_layer.values())
        edges = (torch.arange(low, high + 1, dtype=torch.float64) - _FARTHEST) / _PER_THRESHOLD + 1
        for method, share in of_layer.items():
            columns = {
                "method": method,
                "layer": layer,
                "bin_low": edges[:-1],
                "bin_high": edges[1:],
                "share": share[low:high],
                "below": share[:low].sum().item(),
                "above": share[high:].sum().item(),
                "rate": share[_FARTHEST:].sum().item(),
                "inputs": seen[method],
            }
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _span(shares: Collection[Tensor]) -> tuple[int, int]:
    """Range of bins to keep: those at the threshold, and all except the tails of each method."""
    low = min(int((share.cumsum(0) <= _TAIL).sum()) for share in shares)
    high = max(len(share) - int((share.flip(0).cumsum(0) <= _TAIL).sum()) for share in shares)
    return min(low, _FARTHEST - 1), max(high, _FARTHEST + 1)


def spike_trains(runs: Runs, *, index: int = 0, neurons: int = 60) -> DataFrame:
    """Spikes of neurons over time for one test input, for the networks of all methods without random masks.

    Args:
        runs: runs of any methods.
        index: index of the test input.
        neurons: largest number of neurons per layer; of larger layers, equally spaced ones are chosen.

    Returns:
        A row for each ``method``, ``layer`` of neurons, ``neuron`` (its index in the layer) and ``step`` (from 1 on)
        with ``spike``, 0 or 1. The same for all rows of a layer are ``layer_neurons``, the number of its neurons, and
        ``rate``, the spikes per neuron and time step of all of them. The same for all rows of a method are ``index``
        and ``label`` of the input, and the class ``predicted``.

    Raises:
        InputError: data are missing, or there is no such input.
    """
    import pandas as pd

    check_positive("neurons", neurons, integer=True)
    tables = []
    for method in runs.folders:
        network, dataset, _ = _shown(runs, method)
        if not 0 <= index < len(dataset.images):
            raise InputError(f"index: expected 0 to {len(dataset.images) - 1}, a test input; got {index}")
        layers, outputs = next(_spikes(network, dataset.images[index : index + 1]))
        for layer, of in layers.items():
            spikes = of[:, 0].int()  # [T, neurons]
            steps, total = spikes.shape
            chosen = torch.linspace(0, total - 1, min(neurons, total)).round().long()
            columns = {
                "method": method,
                "layer": layer,
                "neuron": chosen.repeat_interleave(steps),
                "step": torch.arange(1, steps + 1).repeat(len(chosen)),
                "spike": spikes[:, chosen].T.flatten(),
                "layer_neurons": total,
                "rate": spikes.double().mean().item(),
                "index": index,
                "label": int(dataset.labels[index]),
                "predicted": int(logits(outputs).argmax()),
            }
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def shown_inputs(runs: Runs, method: str, inputs: int) -> tuple[nn.Module, Tensor, Settings]:
    """The network of a run, its first test inputs, and the run's settings.

    Raises:
        InputError: data are missing, or `inputs` is not a positive whole number.
    """
    check_positive("inputs", inputs, integer=True)
    network, dataset, config = _shown(runs, method)
    return network, dataset.images[:inputs], config


def _shown(runs: Runs, method: str) -> tuple[nn.Module, Dataset, Settings]:
    """The network of a run, its test inputs, and the run's settings."""
    config = Settings.load(runs.folders[method] / "config.toml")
    network = runs.network(method)
    seed_network(network, runs.seed, "activity")
    return network, load_test(config, config.data.name, runs.data_dir), config


@torch.no_grad()
def _potentials(network: nn.Module, images: Tensor) -> Iterator[dict[str, Tensor]]:
    """For each block of inputs, distances from the threshold [T, n, neurons] by layer."""
    for block in images.split(_BLOCK):
        seen: list[Tensor] = []
        with watch_potentials(network, seen.append):
            network(block.to(device_of(network)))
        yield _named(seen)


@torch.no_grad()
def _spikes(network: nn.Module, images: Tensor) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """For each block of inputs, spikes [T, n, neurons] by layer, and outputs.

    Raises:
        InputError: a network without neurons of this package, snnTorch or SpikingJelly.
    """
    neurons = [module for module in network.modules() if isinstance(module, WatchedNeuron) or is_library_neuron(module)]
    if not neurons:
        raise InputError("model: expected neurons of tsnn_uq, snnTorch or SpikingJelly, to count spikes; found none")
    seen: dict[nn.Module, list[Tensor]] = {}

    def record(module: Any, _: Any, output: Any) -> None:
        """Take the spikes of all steps, or of one step of several calls."""
        spikes = output[0] if isinstance(output, tuple) else output
        whole = isinstance(module, WatchedNeuron) or getattr(module, "step_mode", "s") == "m"
        seen.setdefault(module, []).extend(spikes if whole else [spikes])

    with ExitStack() as stack:
        for module in neurons:
            stack.callback(module.register_forward_hook(record).remove)
        for block in images.split(_BLOCK):
            rest(network)
            outputs = network(block.to(device_of(network)))
            yield _named([torch.stack(steps) for steps in seen.values()]), outputs.cpu()
            seen.clear()


def _named(layers: Sequence[Tensor]) -> dict[str, Tensor]:
    """Values [T, n, neurons] by place and size of the layer: ``"layer 1: 500"``, or ``"layer 1: 128x28x28"``."""
    sizes = ["x".join(map(str, values.shape[2:])) for values in layers]
    names = [f"layer {place}: {size}" for place, size in enumerate(sizes, start=1)]
    return {name: values.flatten(2).cpu() for name, values in zip(names, layers, strict=True)}


def _firing(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Number of spikes and number of possible spikes, by layer."""
    return _summed(
        {
            layer: torch.tensor([int(spikes.count_nonzero()), spikes.numel()], dtype=torch.float64)
            for layer, spikes in of.items()
        }
        for of, _ in _spikes(network, images)
    )


def _summed(blocks: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Sums of the counts of blocks of inputs, by layer."""
    sums: dict[str, Tensor] = {}
    for counts in blocks:
        sums = {layer: count + sums.get(layer, 0) for layer, count in counts.items()}
    return sums


def _binned(distance: Tensor) -> Tensor:
    """Numbers of potentials in bins from the farthest below the threshold to the farthest above it [2 * _FARTHEST]."""
    places = (distance * _PER_THRESHOLD).floor_().clamp_(-_FARTHEST, _FARTHEST - 1).long() + _FARTHEST
    return torch.bincount(places.flatten(), minlength=2 * _FARTHEST)
