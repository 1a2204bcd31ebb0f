"""The data of each network in a comparison: predictions for each set of inputs, features and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tsnn_uq.batches import Batch, Data, Repeated, Source, device_of, open_data
from tsnn_uq.bayes import Posterior
from tsnn_uq.checks import InputError, describe
from tsnn_uq.cost import cost, count_layers
from tsnn_uq.detection import hidden_features
from tsnn_uq.results.predictions import Part, Predictions
from tsnn_uq.state import evaluation_mode, rest
from tsnn_uq.uncertainty import mc_predict
from tsnn_uq.uncertainty.ensemble_members import as_networks
from tsnn_uq.uncertainty.find_randomness import find_randomness
from tsnn_uq.uncertainty.sampling_options import Output, Sampling
from tsnn_uq.uncertainty.stochastic_mode import uncompiled

__all__ = ["Inputs", "Network", "Reading", "predict_parts"]

Network = nn.Module | Sequence[nn.Module] | Posterior
"""A network, several that are an ensemble, or a posterior."""
OVER_TIME_BYTES = 2**28  # predictions after each time step are kept up to this size


@dataclass(frozen=True)
class Reading:
    """How networks are run; the arguments of `tsnn_uq.uncertainty.mc_predict`.

    Args:
        samples: S; a network without randomness has a single sample.
        generator: source of randomness.
        mask: ``"fixed"``, ``"per-step"``, or None for each layer's own.
        batch_dim: the batch axis of the inputs.
        batch_size: number of inputs per batch.
        output: converts what a network returns to outputs [T, N, C] or [N, C].
        reset: resets hidden state.
    """

    samples: int = 32
    generator: torch.Generator | None = None
    mask: str | None = None
    batch_dim: int = 0
    batch_size: int = 256
    output: Output | None = None
    reset: Callable[[nn.Module], object] = rest

    @property
    def options(self) -> dict[str, Any]:
        """The arguments that `hidden_features` also takes."""
        names = ("batch_dim", "batch_size", "output", "reset")
        return {name: getattr(self, name) for name in names}


class Inputs(NamedTuple):
    """The sets of inputs of a comparison; each is iterated several times, always in the same order."""

    test: Source
    validation: Source | None
    train: Source | None
    foreign: dict[str, Source]

    @classmethod
    def open(
        cls,
        test: Data | Source,
        validation: Data | Source | None,
        train: Data | Source | None,
        foreign: Mapping[str, Data | Source] | None,
        reading: Reading,
    ) -> Inputs:
        """Open each set; all but the foreign ones must have labels.

        Raises:
            InputError: a set is not data, or its labels are missing.
        """

        def opened(name: str, data: Data | Source, labelled: bool) -> Source:
            source = open_data(name, data, batch_dim=reading.batch_dim, labelled=labelled, finite=True)
            return source if source.tensors is not None else _FixedBatches(name, source, reading.batch_size)

        def maybe(name: str, data: Data | Source | None) -> Source | None:
            return None if data is None else opened(name, data, True)

        others = {name: opened(f"foreign[{name!r}]", data, False) for name, data in dict(foreign or {}).items()}
        return cls(opened("test", test, True), maybe("validation", validation), maybe("train", train), others)


class _FixedBatches(Repeated):
    """Data that are always iterated in the same batches, so that a change of their order is detected."""

    def __init__(self, argument: str, source: Source, batch_size: int) -> None:
        super().__init__(argument, source)
        self.batch_size = batch_size

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """All inputs once, in batches of the fixed size."""
        return super().blocks(self.batch_size)

    def blocks(self, batch_size: int) -> Iterator[Batch]:
        """The same."""
        return self.in_order(batch_size)


def predict_parts(network: Network, inputs: Inputs, reading: Reading) -> tuple[Predictions, dict[str, str]]:
    """Predictions of a network for each set of inputs, and its costs.

    Args:
        network: a network of any library; a list of networks is an ensemble.
        inputs: the sets of inputs.
        reading: how the network is run.

    Returns:
        The predictions; and the reason for each thing that could not be computed, such as ``"costs"``, by its name.

    Raises:
        InputError: as `tsnn_uq.uncertainty.mc_predict`.
    """
    predictor = _Predictor.of(network, inputs.test, reading)
    left_out: dict[str, str] = {}
    parts: dict[str, Part] = {}
    sets = {"test": inputs.test, "validation": inputs.validation} | {
        f"foreign_{name}": source for name, source in inputs.foreign.items()
    }
    known = {name: source for name, source in sets.items() if source is not None}
    features: dict[str, Part] = {}
    if inputs.foreign:
        try:
            features = predictor.features(known if inputs.train is None else {**known, "train": inputs.train})
        except InputError as error:
            left_out["features"] = str(error)
    for name, source in known.items():
        probs, labels = predictor(source)
        seen = features.get(name)
        parts[name] = Part(
            probs,
            None if name.startswith("foreign_") else labels,  # foreign labels number other classes
            None if seen is None else seen.logits,
            None if seen is None else seen.features,
        )
    costs: dict[str, float] = {}
    try:
        costs = predictor.costs(inputs.test)
    except InputError as error:
        left_out["costs"] = str(error)
    foreign = {name: parts[f"foreign_{name}"] for name in inputs.foreign}
    found = Predictions(
        parts["test"],
        parts.get("validation"),
        foreign,
        features.get("train"),
        inputs=_inputs_to_show(inputs.test, reading.batch_dim),
        costs=costs,
    )
    return found, left_out


@dataclass(frozen=True)
class _Predictor:
    """A network ready to predict.

    Attributes:
        network: a list of networks, or a posterior.
        first: one network of it.
        samples: S; None if nothing is random.
        steps: number of time steps T of the outputs.
        classes: number of classes C.
        reading: how the network is run.
    """

    network: list[nn.Module] | Posterior
    first: nn.Module
    samples: int | None
    steps: int
    classes: int
    reading: Reading

    @classmethod
    def of(cls, network: Network, test: Source, reading: Reading) -> _Predictor:
        """Find out whether a network is random, and how many steps and classes its outputs have."""
        example = test.first(3)
        members: list[nn.Module] | Posterior
        samples: int | None = reading.samples
        if isinstance(network, Posterior):
            first, members = network.sample(torch.Generator().manual_seed(0)), network
        else:
            members = as_networks(network)
            first, count = members[0], len(members)
            sampling = Sampling(**vars(reading), memory_limit=2**25, progress=None)
            found = [find_randomness(uncompiled(one), example.to(device_of(one)), sampling) for one in members]
            samples = -(-reading.samples // count) * count if any(map(bool, found)) else None
        with evaluation_mode(first):
            outputs = first(example.to(device_of(first)))
            outputs = outputs if reading.output is None else reading.output(outputs)
        if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 3):
            raise InputError(
                f"output: expected a function that returns outputs [T, N, C] or [N, C]; got {describe(outputs)} "
                f"(if the network returns several values, try output=lambda returned: returned[0])"
            )
        steps = len(outputs) if outputs.dim() == 3 else 1
        return cls(members, first, samples, steps, outputs.shape[-1], reading)

    def __call__(self, source: Source) -> tuple[Tensor, Tensor | None]:
        """Probabilities [S, N, C], or [S, T, N, C] if there are time steps and enough memory; and labels."""
        size = 4 * (self.samples or 1) * self.steps * source.count * self.classes
        reading = self.reading
        options = reading.options | {"mask": reading.mask, "per_step": self.steps > 1 and size <= OVER_TIME_BYTES}
        if isinstance(self.network, Posterior):
            assert self.samples is not None
            if reading.generator is None:
                raise InputError("generator: expected torch.Generator().manual_seed(...) for a posterior; got None")
            return self.network.predict(source, samples=self.samples, generator=reading.generator, **options)
        return mc_predict(self.network, source, samples=self.samples, generator=reading.generator, **options)

    def features(self, sources: Mapping[str, Source]) -> dict[str, Part]:
        """Parts with features, logits and labels; the probabilities are those of one pass of the first network."""
        found = {name: hidden_features(self.first, source, **self.reading.options) for name, source in sources.items()}
        return {
            name: Part.from_logits(of.logits, None if name.startswith("foreign_") else of.labels, of.hidden)
            for name, of in found.items()
        }

    def costs(self, test: Source) -> dict[str, float]:
        """The costs of one pass: all networks of an ensemble together, or one network of a posterior."""
        example = test.first(2)
        networks = [self.first] if isinstance(self.network, Posterior) else self.network
        layers = [layer for one in networks for layer in count_layers(one, example.to(device_of(one)))]
        total = cost(layers, steps=self.steps)
        return {name: float(getattr(total, name)) for name in ("sparsity", "storage_bytes", "flops", "energy_pj")}


def _inputs_to_show(source: Source, batch_dim: int) -> Tensor | None:
    """The inputs to show in figures, if they are images."""
    first = source.first(1)
    if batch_dim or first.dim() not in (3, 4) or first.nbytes * source.count > OVER_TIME_BYTES:
        return None
    return source.first(source.count)
