"""Ternary versions of a trained network: by post-training quantization, and by fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from tsnn_uq.batches import Data, Source, device_of, open_data
from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.quantization.layer_selection import Where
from tsnn_uq.state import copy_at_rest, rest
from tsnn_uq.training.batchnorm import batch_norms, refresh_from_epochs
from tsnn_uq.training.epochs import Epochs
from tsnn_uq.training.fit_settings import FitSettings
from tsnn_uq.training.indirect import Distill
from tsnn_uq.training.loop import fit
from tsnn_uq.training.methods import Float
from tsnn_uq.training.registry import METHODS

__all__ = ["BATCHNORM_INPUTS", "POST_TRAINING", "quantize_trained", "ternarize_trained"]

Network = TypeVar("Network", bound=nn.Module)
POST_TRAINING = "post-training"
BATCHNORM_INPUTS = 2048


def ternarize_trained(
    model: nn.Module,
    train: Data | Source | None = None,
    layers: Where = "all",
    *,
    rule: str = "mean-fraction",
    scale: str = "layer",
    batchnorm_inputs: int = BATCHNORM_INPUTS,
    batch_size: int = 128,
    batch_dim: int = 0,
    seed: int = 0,
    **options: float,
) -> list[str]:
    """Make the weights of a trained network ternary without training it further, in place.

    Ternary weights change the means and variances of the layers' outputs, so the running statistics of BatchNorm are
    recomputed from training inputs, with dropout on as in training. Labels are not used. Afterwards the network is
    reset and in evaluation mode.

    Args:
        model: a network of any library.
        train: training inputs, with labels or without, as in `fit`; not needed without BatchNorm.
        layers: the layers to quantize, as in `tsnn_uq.quantization.ternarize`.
        rule: the threshold rule.
        scale: one scale per ``"layer"``, ``"channel"`` or ``"none"``.
        batchnorm_inputs: approximate number of inputs from which statistics are computed.
        batch_size: inputs per batch; a DataLoader has its own.
        batch_dim: the batch axis of the inputs: 0, or 1 with time first.
        seed: seed of the order of the inputs and of dropout.
        options: options of the rule, e.g. ``factor``.

    Returns:
        Names of the layers that are now ternary.

    Raises:
        InputError: as for `ternarize`, or the network has BatchNorm and there are no inputs. The network is not changed
            then.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        >>> ternarize_trained(network, torch.rand(64, 4))
        ['0', '3']
        >>> network[0].weight.unique().numel() <= 3
        True
    """
    check_positive("batchnorm_inputs", batchnorm_inputs, integer=True)
    check_positive("batch_size", batch_size, integer=True)
    data = None
    if batch_norms(model):
        if train is None:
            raise InputError("train: expected inputs for BatchNorm's statistics; got none")
        source = open_data("train", train, batch_dim=batch_dim, finite=True)
        data = Epochs(source, batch_size, seed, device_of(model))
        data.joined = data.ends_alone
    names = ternarize(model, layers, rule=rule, scale=scale, **options)
    freeze(model)
    if data is not None:
        refresh_from_epochs(model, data, inputs=batchnorm_inputs, epochs=1, seed=seed)
    rest(model)
    model.eval()
    return names


def quantize_trained(
    model: Network,
    train: Data | Source,
    *,
    methods: Iterable[str] = (POST_TRAINING, "direct", "indirect"),
    seed: int = 0,
    layers: Where = "all",
    rule: str = "mean-fraction",
    scale: str = "layer",
    settings: FitSettings | None = None,
    batch_dim: int = 0,
    output: Callable[[Any], Tensor] | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    **options: float,
) -> dict[str, Network]:
    """Make ternary versions of a trained network, one for each method; the network itself is not changed.

    Args:
        model: a trained network of any library that returns outputs [T, N, C] or [N, C].
        train: inputs and labels, as in `fit`.
        methods: ``"post-training"`` (`ternarize_trained`), or ``"direct"``, ``"indirect"`` or ``"distill"``, which
            fine-tune from the weights of `model`; the teacher of ``"distill"`` is `model`. ``"float"`` fine-tunes
            without quantization, for a comparison with the same number of epochs.
        seed: seed of fine-tuning.
        layers: the layers to quantize, as in `tsnn_uq.quantization.ternarize`.
        rule: the threshold rule.
        scale: one scale per ``"layer"``, ``"channel"`` or ``"none"``.
        settings: settings of fine-tuning; by default 5 epochs, with BatchNorm's statistics recomputed from 2048 inputs.
        batch_dim: the batch axis of the inputs: 0, or 1 with time first.
        output: converts what the model returns to outputs [T, N, C] or [N, C], for models that return something else.
        progress: called with (method, steps done, total steps) after each step of fine-tuning.
        options: options of the rule, e.g. ``factor``.

    Returns:
        The networks by method, in evaluation mode, with frozen ternary weights.

    Raises:
        InputError: a method is unknown, or as for `ternarize_trained` and `fit`.
    """
    methods = list(methods)
    for name in methods:
        check_choice("methods", name, [POST_TRAINING, *METHODS])
    settings = settings or FitSettings(epochs=5, batchnorm_inputs=BATCHNORM_INPUTS)
    quantizer: dict[str, Any] = {"layers": layers, "rule": rule, "scale": scale, **options}
    networks = {}
    for name in methods:
        network = networks[name] = copy_at_rest(model)
        if name == POST_TRAINING:
            ternarize_trained(
                network, train, batch_size=settings.batch_size, batch_dim=batch_dim, seed=seed, **quantizer
            )
            continue
        method = METHODS[name]
        chosen = {} if method is Float else quantizer
        teacher = {"teacher": model, "output": output} if method is Distill else {}
        fit(
            network,
            train,
            seed=seed,
            method=method(**chosen, **teacher),
            settings=settings,
            batch_dim=batch_dim,
            output=output,
            progress=None if progress is None else partial(progress, name),
        )
    return networks
