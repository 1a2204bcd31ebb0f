"""One call that compares networks, and one that makes ternary versions of a network and compares them with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Data, Source
from tsnn_uq.checks import check_choice, check_positive
from tsnn_uq.compare.comparison import Comparison, prediction_files
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
    """Are these networks as sure, and as rightly sure, as the first of them?

    Each network predicts the same inputs, with Monte Carlo samples if something in it is random; it is measured and
    priced, and compared with the reference input by input. Networks may be of any library and trained by anybody. They
    are left as they were.

    Args:
        networks: by any name, a network that gives outputs [T, N, C] or [N, C]; a list of networks, which is an
            ensemble; or a posterior of `tsnn_uq.bayes`.
        test: inputs and labels: a pair of tensors, a Dataset or a DataLoader that keeps its order.
        validation: inputs and labels that nothing was trained on; temperatures are set on them.
        foreign: by name, inputs of other data sets, which a network should be unsure of; labels are not used.
        train: training inputs and labels, which detectors of foreign inputs are fitted to; by default the validation
            part's.
        samples: S, rounded up to a multiple of an ensemble's networks. Networks in which nothing is random give one
            sample each.
        generator: where the samples come from; needed where something is random.
        mask: of dropout over the time steps, as in `tsnn_uq.uncertainty.mc_predict`, as are `batch_dim`, `batch_size`,
            `output` and `reset`.
        batch_dim: the axis that counts inputs: 0, or 1 with time first.
        batch_size: inputs in a block.
        output: from what the networks return to outputs [T, N, C] or [N, C], where they return something else.
        reset: puts a network's hidden state to rest.
        reference: the network that the others are compared with; the first unless another is given.
        data: what the data set is called, for headings.
        seed: of bootstrap resamples and random orders.
        out: a folder where all of it is written (`Comparison.save`); None for none.
        progress: called with (name, networks done, networks in all) before each network predicts.

    Returns:
        Tables and figures, which a notebook shows by itself.

    Raises:
        InputError: a network that cannot be sampled, inputs whose order changes from pass to pass, or an unknown
            reference; before any prediction if `out` cannot be written.

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
    if out is not None:  # found out before hours of prediction
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
    """What would ternary weights do to this trained network?

    Makes a ternary version by each method (`tsnn_uq.training.quantize_trained`) and compares them with the network
    (`compare_networks`). The network itself stays as it is; the ternary ones are in `Comparison.networks`.

    Args:
        network: a trained network of any library.
        train: inputs and labels to fine-tune on, and to take BatchNorm's statistics from.
        test: inputs and labels to compare on.
        methods: ``"post-training"`` (no training), ``"direct"``, ``"indirect"`` and ``"distill"`` (fine-tuning), and
            ``"float"``, the network after as many epochs of fine-tuning without quantization. Its name is
            ``"fine-tuned float"``; without it, ternary networks have been trained for longer than the float one.
        epochs: of the fine-tuning.
        settings: of the fine-tuning, in place of `epochs`.
        layers: which layers become ternary, as in `tsnn_uq.quantization.ternarize`, as are `rule` and `scale`.
        rule: the threshold rule.
        scale: one scale per ``"layer"``, ``"channel"`` or ``"none"``.
        seed: of the trainings, and of bootstrap resamples.
        batch_dim: the axis that counts inputs: 0, or 1 with time first.
        output: from what the network returns to outputs [T, N, C] or [N, C], where it returns something else.
        name: what the network itself is called.
        progress: called with (method, steps done, steps in all) after each step of a fine-tuning, and then as by
            `compare_networks`.
        options: others of `compare_networks`: ``validation``, ``foreign``, ``samples``, ``generator``, ``out``, ...

    Returns:
        The comparison, the network itself being the reference.

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
