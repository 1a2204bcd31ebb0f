"""Infer the posterior of a trained run's weights, draw networks from it, and keep them in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from tsnn_uq import __version__, bayes, data, training
from tsnn_uq.bayes.output_noise import NOISES
from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.devices import check_device, find_device, use_threads
from tsnn_uq.experiments.evaluation import predict_each
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.experiments.settings import Context, Progress, Settings
from tsnn_uq.experiments.storage import load_network, require_same, require_same_version
from tsnn_uq.files import read_json, write_json
from tsnn_uq.quantization import select_layers
from tsnn_uq.results.measure_predictions import evaluate
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty.stochastic_mode import stochastic_layers

__all__ = [
    "KINDS",
    "LEARNING_RATES",
    "PosteriorSettings",
    "draw_networks",
    "load_draws_of",
    "posterior_of_run",
    "sparsity_of",
    "without_masks",
]

LEARNING_RATES = {"ternary": 0.02, "gaussian": 0.02, "laplace": 0.02, "swag": 0.002}
"""Learning rates by kind: variational inference optimizes logits, SWAG the weights, and Laplace nothing."""
KINDS = tuple(LEARNING_RATES)


@dataclass(frozen=True)
class PosteriorSettings:
    """Settings that determine the draws of a run's posterior.

    Args:
        kind: ``"ternary"`` and ``"gaussian"`` are variational, with a distribution of every weight over -1, 0 and 1 or
            over float values; ``"laplace"`` is the Laplace approximation of the last layer; ``"swag"`` collects weights
            in further training.
        temperature: temperature of the variational posterior, see `tsnn_uq.bayes.Variational`; below 1 the posterior is
            cold.
        epochs: passes over the training set; not used by ``"laplace"``.
        learning_rate: peak of the learning rate; 0 is replaced by that of `LEARNING_RATES`.
        samples: number of draws S.
        seed: seed of the inference and of the draws.
        device: device of the networks; empty for that of the run.
        noise: how a variational posterior is trained, see `tsnn_uq.bayes.output_noise`.

    Raises:
        InputError: an unknown kind or noise, or a value that is not positive.
    """

    kind: str = "ternary"
    temperature: float = 0.01
    epochs: int = 5
    learning_rate: float = 0.0
    samples: int = 32
    seed: int = 0
    device: str = ""
    noise: str = "auto"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_choice("noise", self.noise, NOISES)
        if self.device:
            object.__setattr__(self, "device", check_device(self.device))
        if self.learning_rate == 0:
            object.__setattr__(self, "learning_rate", LEARNING_RATES[self.kind])
        for name in ("temperature", "learning_rate"):
            check_positive(name, getattr(self, name))
        for name in ("epochs", "samples"):
            check_positive(name, getattr(self, name), integer=True)


def posterior_of_run(
    run: Path,
    settings: PosteriorSettings,
    out: Path,
    context: Context = Context(),
) -> dict[str, Any]:
    """Infer a posterior from a run's network and training data, draw S networks, and evaluate their mean prediction.

    The networks have no random masks: only the drawn weights are random. The folder `out` gets ``settings.json``,
    ``draws.safetensors`` (ternary weights at two bits), for a variational posterior ``posterior.safetensors``, and at
    the end ``result.json``. An interrupted call resumes when it is repeated.

    Args:
        run: folder of a finished run, which must be a float run for ``"ternary"`` and ``"gaussian"``.
        settings: settings of the posterior.
        out: folder of the posterior.
        context: where and how it is done.

    Returns:
        The results of `tsnn_uq.experiments.evaluation` on the test set, the mean ``sparsity`` of the draws, and
        ``validation_nll`` in nats, by which a temperature may be chosen.

    Raises:
        InputError: there is no such run, or `out` has another posterior.
    """
    config = Settings.load(run / "config.toml")
    if settings.kind in ("ternary", "gaussian") and config.method.name != "float":
        raise InputError(
            f"run: expected a float run to infer a {settings.kind} posterior from; got {config.method.name}"
        )
    settings = replace(settings, device=settings.device or config.device)
    find_device(settings.device)
    wanted = {"run": str(run.resolve()), **asdict(settings)}
    path = out / "settings.json"
    if path.exists():
        found = {"noise": "auto", "version": "", **read_json(path)}  # older files have neither
        version = found.pop("version")
        require_same(out, wanted, found)
        if not (out / "result.json").exists():
            require_same_version(out, version)
    if not (out / "result.json").exists():
        write_json(path, {"version": __version__, **wanted})
        splits = load_splits(config, context.data_dir)
        with use_threads(config.threads):
            if not (out / "draws.safetensors").exists():
                networks = draw_networks(run, settings, out, splits, context)
                bayes.save_draws(out / "draws.safetensors", networks)
            networks = load_draws_of(run, out, settings.device)
            write_json(out / "result.json", _measured(networks, splits, config, context.of(out.name)))
    return read_json(out / "result.json")


def draw_networks(
    run: Path,
    settings: PosteriorSettings,
    out: Path,
    splits: data.Splits,
    context: Context,
) -> list[nn.Module]:
    """Draw S networks without further randomness; see `posterior_of_run`."""
    config, network = Settings.load(run / "config.toml"), load_network(run, settings.device)
    train = splits.train.subset(config.train_limit) if config.train_limit else splits.train
    progress = context.of(out.name)
    common: dict[str, Any] = {
        "seed": settings.seed,
        "checkpoint": out / "checkpoint.safetensors",
        "checkpoint_seconds": context.checkpoint_seconds,
        "progress": lambda done, total: progress("train", done, total),
    }
    fit = {"epochs": settings.epochs, "batch_size": config.batch_size, "learning_rate": settings.learning_rate}
    posterior: bayes.Posterior
    if settings.kind == "swag":
        collect = bayes.CollectSwag(training.Float(), start=0.0)
        decay = training.FitSettings(weight_decay=config.weight_decay, **fit)  # type: ignore[arg-type]
        training.fit(network, train, method=collect, settings=decay, **common)
        posterior = collect.swag
    elif settings.kind == "laplace":
        posterior = bayes.LastLayerLaplace(without_masks(network), train)
    else:
        make = bayes.ternary_posterior if settings.kind == "ternary" else bayes.gaussian_posterior
        variational = make(without_masks(network), noise=settings.noise)
        plain = training.FitSettings(weight_decay=0.0, **fit)  # type: ignore[arg-type]
        bayes.infer(variational, train, temperature=settings.temperature, settings=plain, **common)
        bayes.save_posterior(out / "posterior.safetensors", variational)
        posterior = variational
    drawn = posterior.samples(settings.samples, generator_for(settings.seed, "draws", device=settings.device))
    (out / "checkpoint.safetensors").unlink(missing_ok=True)
    return [without_masks(one) for one in drawn]


def load_draws_of(run: Path, out: Path, device: str = "cpu") -> list[nn.Module]:
    """Load the draws in a posterior's folder to a device; raises as `tsnn_uq.bayes.load_draws`."""
    return bayes.load_draws(out / "draws.safetensors", without_masks(load_network(run, device)))[0]


def _measured(
    networks: Sequence[nn.Module], splits: data.Splits, config: Settings, progress: Progress
) -> dict[str, Any]:
    values: dict[str, Any] = evaluate(predict_each(networks, splits.test, progress), splits.test.labels, config.bins)
    held_out = evaluate(predict_each(networks, splits.validation), splits.validation.labels, config.bins)
    values["sparsity"] = sparsity_of(networks)
    return values | {f"validation_{name}": held_out[name] for name in ("accuracy", "nll", "ece")}


def sparsity_of(networks: Sequence[nn.Module]) -> float:
    """Share of zeros among the weights of all linear layers and convolutions."""
    layers: list[Any] = [layer for network in networks for layer in select_layers(network).values()]
    return sum(int((layer.weight == 0).sum()) for layer in layers) / sum(layer.weight.numel() for layer in layers)


def without_masks(network: nn.Module) -> nn.Module:
    """Set the dropout and dropconnect probabilities of a network to 0, and return it."""
    module: Any
    for module in stochastic_layers(network).values():
        module.p = 0.0
    return network
