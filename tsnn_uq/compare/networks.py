"""Compare networks in one call; quantize a network and compare its ternary versions in another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Data, Source
from tsnn_uq.checks import check_choice, check_positive
from tsnn_uq.compare.comparison_result import Comparison, prediction_files
from tsnn_uq.compare.network_predictions import Inputs, Network, Reading, predict_parts
from tsnn_uq.files import as_path, require_writable
from tsnn_uq.quantization.layer_selection import Where
from tsnn_uq.results.predictions import NamedPredictions, Predictions
from tsnn_uq.state import rest
from tsnn_uq.training import FitSettings, quantize_trained
from tsnn_uq.training.quantized import BATCHNORM_INPUTS

__all__ = ["compare_networks", "quantize_and_compare"]


def compare_networks(
    networks: Mapping[str, Network],
    *,
    test: Data | Source,
    validation: Data | Source | None = None,
    foreign: Mapping[str, Data | Source] | None = None,
    train: Data | Source | None = None,
    samples: int = 32,
    generator: torch.Generator | None = None,
    mask: str | None = None,
    batch_dim: int = 0,
    batch_size: int = 256,
    output: Callable[[Any], Tensor] | None = None,
    reset: Callable[[nn.Module], object] = rest,
    reference: str = "",
    data: str = "",
    seed: int = 0,
    out: str | Path | None = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> Comparison:
    """Compare the accuracy, uncertainty and costs of networks.

    Each network predicts the same inputs, with Monte Carlo samples if it is random. Its predictions are measured and
    compared with those of the reference, input by input. Networks may come from any library. They are not changed.

    Args:
        networks: by name, a network that returns outputs [T, N, C] or [N, C]; a list of networks, which is an
            ensemble; or a posterior of `tsnn_uq.bayes`.
        test: inputs and labels: a pair of tensors, a Dataset, or a DataLoader that does not shuffle.
        validation: inputs and labels that were not used for training; temperatures are fitted to them.
        foreign: by name, inputs of other data sets, for which a network should be uncertain; labels are not used.
        train: training inputs and labels, to which detectors of foreign inputs are fitted; by default the validation
            part.
        samples: S, rounded up to a multiple of the number of networks of an ensemble. A network without randomness has
            a single sample.
        generator: source of the samples; required if a network is random.
        mask: masks of dropout over time steps, as in `tsnn_uq.uncertainty.mc_predict`.
        batch_dim: the batch axis of the inputs: 0, or 1 with time first.
        batch_size: number of inputs per batch.
        output: converts what the networks return to outputs [T, N, C] or [N, C], if they return something else.
        reset: resets the hidden state of a network.
        reference: name of the network that the others are compared with; by default the first.
        data: name of the data set, for headings.
        seed: seed of bootstrap resamples and random orders.
        out: a folder to write everything to (`Comparison.save`); None to write nothing.
        progress: called with (name, networks done, networks in total) before each network predicts.

    Returns:
        Tables and figures, which are displayed in a notebook.

    Raises:
        InputError: a network cannot be sampled, the order of inputs changes between passes, or the reference is
            unknown; before any prediction if `out` is not writable.

    Example:
        >>> from tsnn_uq.compare import compare_networks
        >>> inputs, labels = torch.rand(40, 4), torch.arange(40) % 2
        >>> nets = {name: nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.1)) for name in ("mine", "yours")}
        >>> generator = torch.Generator().manual_seed(0)
        >>> comparison = compare_networks(nets, test=(inputs, labels), samples=8, generator=generator)
        >>> comparison.tables["results"]["method"].tolist()
        ['mine', 'yours']
    """
    check_positive("samples", samples, integer=True)
    check_positive("batch_size", batch_size, integer=True)
    if reference:
        check_choice("reference", reference, networks)
    if out is not None:  # fail before hours of prediction
        require_writable(out)
        prediction_files(as_path(out), tuple(networks))
    reading = Reading(samples, generator, mask, batch_dim, batch_size, output, reset)
    inputs = Inputs.open(test, validation, train, foreign, reading)
    found: dict[str, Sequence[Predictions]] = {}
    left_out: dict[str, str] = {}
    for done, (name, network) in enumerate(dict(networks).items()):
        if progress is not None:
            progress(name, done, len(networks))
        predictions, missing = predict_parts(network, inputs, reading)
        found[name] = [predictions]
        left_out |= {f"{what} of {name}": why for what, why in missing.items()}
    named = NamedPredictions(found, reference, data=data, noise="Monte Carlo", seed=seed)
    comparison = Comparison(named, dict(networks), left_out)
    if out is not None:
        comparison.save(out)
    return comparison


def quantize_and_compare(
    network: nn.Module,
    *,
    train: Data | Source,
    test: Data | Source,
    methods: Iterable[str] = ("float", "post-training", "direct", "indirect"),
    epochs: int = 5,
    settings: FitSettings | None = None,
    layers: Where = "all",
    rule: str = "mean-fraction",
    scale: str = "layer",
    seed: int = 0,
    batch_dim: int = 0,
    output: Callable[[Any], Tensor] | None = None,
    name: str = "float",
    progress: Callable[[str, int, int], object] | None = None,
    **options: Any,
) -> Comparison:
    """Quantize a trained network by several methods and compare the results with it.

    Each method makes a ternary version (`tsnn_uq.training.quantize_trained`), which is compared with the network
    (`compare_networks`). The network itself is not changed; the ternary ones are in `Comparison.networks`.

    Args:
        network: a trained network of any library.
        train: inputs and labels for fine-tuning and for BatchNorm's statistics.
        test: inputs and labels to compare on.
        methods: ``"post-training"`` (no training), ``"direct"``, ``"indirect"`` and ``"distill"`` (fine-tuning), and
            ``"float"``, the network after as many epochs of fine-tuning without quantization. Its name is
            ``"fine-tuned float"``; without it, ternary networks have been trained for longer than the float one.
        epochs: number of epochs of fine-tuning.
        settings: settings of fine-tuning, instead of `epochs`.
        layers: the layers to quantize, as in `tsnn_uq.quantization.ternarize`.
        rule: the threshold rule, as in `tsnn_uq.quantization.ternarize`.
        scale: one scale per ``"layer"``, ``"channel"`` or ``"none"``.
        seed: seed of training and of bootstrap resamples.
        batch_dim: the batch axis of the inputs: 0, or 1 with time first.
        output: converts what the network returns to outputs [T, N, C] or [N, C], if it returns something else.
        name: name of the network itself.
        progress: called with (method, steps done, steps in total) after each step of fine-tuning, and then by
            `compare_networks`.
        options: further arguments of `compare_networks`: ``validation``, ``foreign``, ``samples``, ``generator``,
            ``out``, ...

    Returns:
        The comparison, with the network itself as the reference.

    Raises:
        InputError: as `quantize_trained` and `compare_networks`.
    """
    if options.get("out") is not None:
        require_writable(options["out"])
    quantized = quantize_trained(
        network,
        train,
        methods=methods,
        seed=seed,
        layers=layers,
        rule=rule,
        scale=scale,
        settings=settings or FitSettings(epochs=epochs, batchnorm_inputs=BATCHNORM_INPUTS),
        batch_dim=batch_dim,
        output=output,
        progress=progress,
    )
    shared: dict[str, Any] = {"batch_dim": batch_dim, "output": output, "seed": seed, "progress": progress}
    versions = {f"fine-tuned {name}" if method == "float" else method: made for method, made in quantized.items()}
    return compare_networks({name: network, **versions}, test=test, train=train, **shared, **options)
