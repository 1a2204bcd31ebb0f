"""Predictions of networks: the arrays from which tables, figures and pages are computed.

`Part` has the predictions of one network for one set of inputs, `Predictions` all parts of one network, and
`NamedPredictions` several networks by name. `NamedPredictions` can be made from a folder of runs, from files of arrays
(`tsnn_uq.results.prediction_files`) or from networks in memory. Studies, figures and the page read nothing else, unless
they have to run a network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_labels, check_probabilities, describe
from tsnn_uq.files import file_name
from tsnn_uq.results.measures import COSTS

__all__ = ["NamedPredictions", "Part", "Predictions"]

Array = Tensor | np.ndarray[Any, Any]
_SHAPES = {2: "[N, C]", 3: "[S, N, C]", 4: "[S, T, N, C]"}


@dataclass(frozen=True, eq=False)
class Part:
    """The predictions of one network for one set of inputs. Arrays may be tensors or numpy arrays.

    Args:
        probs: class probabilities of S Monte Carlo samples [S, N, C]; of a single prediction [N, C], which becomes
            [1, N, C]; or after each of T time steps [S, T, N, C], of which `probs` keeps the last step and `over_time`
            all.
        labels: class numbers [N].
        logits: logits of the same inputs, [N, C], [S, N, C] or [S, T, N, C]; the mean over samples after the last step
            is kept, [N, C].
        features: features of the last hidden layer [N, ...], for scores that need them.
        over_time: set from `probs`; not an argument.

    Raises:
        InputError: shapes do not fit, or arrays are not probabilities (rows must sum to 1 within 1e-3) or labels.

    Example:
        >>> part = Part(torch.full((32, 7, 100, 10), 0.1), torch.zeros(100, dtype=torch.long))
        >>> part.probs.shape, part.over_time.shape
        (torch.Size([32, 100, 10]), torch.Size([32, 7, 100, 10]))
    """

    probs: Tensor
    labels: Tensor | None = None
    logits: Tensor | None = None
    features: Tensor | None = None
    over_time: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        probs = _predicted("probs", self.probs)
        check_probabilities("probs", probs, _SHAPES[probs.dim()])
        over_time = probs if probs.dim() == 4 else None
        probs = probs[None] if probs.dim() == 2 else probs if over_time is None else over_time[:, -1]
        self._set("probs", probs)
        self._set("over_time", over_time)
        inputs, classes = probs.shape[1:]
        if self.labels is not None:
            self._set("labels", check_labels("labels", _tensor("labels", self.labels), classes, inputs))
        if self.logits is not None:
            logits = _predicted("logits", self.logits)
            logits = logits if logits.dim() == 2 else (logits if logits.dim() == 3 else logits[:, -1]).mean(0)
            if logits.shape != (inputs, classes):
                raise InputError(
                    f"logits: expected those of {inputs} inputs and {classes} classes; got {list(logits.shape)}"
                )
            self._set("logits", logits)
        if self.features is not None:
            features = _floats("features", self.features)
            if features.dim() < 2 or len(features) != inputs:
                raise InputError(
                    f"features: expected [{inputs}, ...], a row for each input; got {list(features.shape)}"
                )
            self._set("features", features)

    def _set(self, name: str, value: Tensor | None) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def from_logits(cls, logits: Array, labels: Array | None = None, features: Array | None = None) -> Part:
        """Make a part from logits [N, C], [S, N, C] or [S, T, N, C]; probabilities are their softmax."""
        return cls(_predicted("logits", logits).softmax(-1), labels, logits, features)  # type: ignore[arg-type]

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """Probabilities [S, N, C] and labels [N].

        Raises:
            InputError: there are no labels.
        """
        if self.labels is None:
            raise InputError("labels: expected one for each input; got none")
        return self.probs, self.labels

    @property
    def mean_pair(self) -> tuple[Tensor, Tensor]:
        """Mean probabilities over samples [N, C] and labels [N]; errors as `pair`."""
        probs, labels = self.pair
        return probs.mean(0), labels


def _tensor(argument: str, array: Any) -> Tensor:
    """Convert a tensor or numpy array to a tensor on the CPU, detached from the graph."""
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "biuf":
            raise InputError(f"{argument}: expected numbers; got an array of dtype {array.dtype}")
        wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
        array = torch.from_numpy(np.array(array, np.float64 if wide else array.dtype.newbyteorder("=")))
    if not isinstance(array, Tensor):
        raise InputError(f"{argument}: expected a tensor or a numpy array; got {describe(array)}")
    return array.detach().cpu()


def _floats(argument: str, array: Any) -> Tensor:
    """Check that numbers are finite and convert them to float32, unless they are float64."""
    tensor = _tensor(argument, array)
    if not tensor.is_floating_point():
        raise InputError(f"{argument}: expected floating-point numbers; got {describe(tensor)}")
    tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    if not tensor.isfinite().all():
        problem = "NaN" if tensor.isnan().any() else "infinity"
        raise InputError(f"{argument}: expected finite numbers; got {problem} among {tensor.numel():,} of them")
    return tensor


def _predicted(argument: str, array: Any) -> Tensor:
    """Check that numbers have one of the three shapes of predictions, without empty axes."""
    tensor = _floats(argument, array)
    if tensor.dim() not in _SHAPES:
        raise InputError(f"{argument}: expected {', '.join(_SHAPES.values())}; got shape {list(tensor.shape)}")
    if not tensor.numel() or tensor.shape[-1] < 2:
        wanted = "at least one sample, time step and input, and two classes"
        raise InputError(f"{argument}: expected {wanted}; got shape {list(tensor.shape)}")
    return tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one network for all parts of the data, and its costs.

    Args:
        test: the test inputs, with labels; the only required part.
        validation: inputs that were not used for training, with labels; for temperatures and stopping rules.
        foreign: by name, inputs of other data sets, for which the network should be uncertain.
        train: training inputs with labels and features, to which detectors of foreign inputs are fitted; by default
            the validation part is used.
        inputs: the test inputs themselves [N, ...], for figures.
        answers: number of people who chose each class for each test input [N, C].
        costs: values of `tsnn_uq.results.measures.COSTS`, such as ``"storage_bytes"`` or ``"energy_pj"``.

    Raises:
        InputError: labels of a part are missing, or numbers of classes or lengths do not match.
    """

    test: Part
    validation: Part | None = None
    foreign: Mapping[str, Part] = field(default_factory=dict)
    train: Part | None = None
    inputs: Tensor | None = None
    answers: Tensor | None = None
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        classes = self.test.probs.shape[-1]
        for name, part in self.parts().items():
            if part.labels is None and not name.startswith("foreign_"):
                prefix = "" if name == "test" else f"{name}_"
                raise InputError(f"{prefix}labels: expected class numbers [N] beside the probabilities; got none")
            if part.probs.shape[-1] != classes:
                raise InputError(
                    f"{name}_probs: expected {classes} classes, as for the test inputs; got {part.probs.shape[-1]}"
                )
        count = self.test.probs.shape[1]
        if self.inputs is not None:
            object.__setattr__(self, "inputs", _tensor("inputs", self.inputs))
            if self.inputs.dim() < 2 or len(self.inputs) != count:
                raise InputError(f"inputs: expected [{count}, ...], one for each label; got {list(self.inputs.shape)}")
        if self.answers is not None:
            object.__setattr__(self, "answers", _tensor("answers", self.answers))
            if self.answers.shape != (count, classes):
                raise InputError(f"answers: expected counts [{count}, {classes}]; got {list(self.answers.shape)}")
        for name in self.costs:
            check_choice("costs", name, COSTS)

    def part(self, name: str) -> Part:
        """A part by its name in files.

        Raises:
            InputError: there is no such part.
        """
        parts = self.parts()
        if name not in parts:
            raise InputError(f"{name}: expected predictions for this part; got none (add arrays {name}_probs)")
        return parts[name]

    def parts(self) -> dict[str, Part]:
        """All parts by their names in files: test, validation, train, foreign_NAME."""
        named = {"test": self.test, "validation": self.validation, "train": self.train}
        foreign = {f"foreign_{name}": part for name, part in self.foreign.items()}
        return {name: part for name, part in (named | foreign).items() if part is not None}


@dataclass(frozen=True, eq=False)
class NamedPredictions:
    """Networks by name, all with predictions for the same test inputs.

    Args:
        members: by name, the predictions of a network, or of several that differ only in the seed. Tables and figures
            have the same order.
        reference: the name that the others are compared with; by default the first.
        title: a title for headings.
        file_name: identifies these networks in names of figures; by default made from their names.
        data: name of the data set.
        noise: the source of randomness in the samples, for axes, such as ``"MC dropout"``.
        seed: seed of resamples and random orders.

    Raises:
        InputError: there are no networks, their test inputs differ (by their labels), or the reference is unknown.

    Example:
        >>> probs, labels = torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])
        >>> both = NamedPredictions({name: Predictions(Part(probs, labels)) for name in ("mine", "yours")})
        >>> both.names, both.reference, both.others
        (('mine', 'yours'), 'mine', ('yours',))
    """

    members: Mapping[str, Sequence[Predictions]]
    reference: str = ""
    title: str = ""
    file_name: str = ""
    data: str = ""
    noise: str = "Monte Carlo"
    seed: int = 0

    def __post_init__(self) -> None:
        members = {name: (of,) if isinstance(of, Predictions) else tuple(of) for name, of in dict(self.members).items()}
        object.__setattr__(self, "members", members)
        if not members or not all(members.values()):
            raise InputError("networks: expected the predictions of at least one network; got none")
        for name in members:
            if not name.strip() or not name.isprintable():
                raise InputError(f"networks: expected names of printable letters; got {name!r}")
        object.__setattr__(self, "reference", check_choice("reference", self.reference or self.names[0], members))
        default = "-".join(map(file_name, self.names))
        object.__setattr__(self, "file_name", self.file_name or default)
        self._require_same_inputs()

    def _require_same_inputs(self) -> None:
        first, *others = [(name, one) for name, of in self.members.items() for one in of]
        for name, one in others:
            for part, ours, theirs in _shared_parts(first[1], one):
                if len(ours) != len(theirs):
                    raise InputError(
                        f"{name}: expected the {len(ours):,} {part} inputs of {first[0]}; got {len(theirs):,}"
                    )
                if part == "test" and not torch.equal(ours, theirs):
                    problem = f"{int((ours != theirs).sum()):,} of {len(ours):,} labels differ"
                    raise InputError(f"{name}: expected the test inputs of {first[0]} in the same order; {problem}")
            classes = [of.test.probs.shape[-1] for of in (first[1], one)]
            if classes[0] != classes[1]:
                raise InputError(f"{name}: expected {classes[0]} classes, as for {first[0]}; got {classes[1]}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the networks."""
        return tuple(self.members)

    @property
    def others(self) -> tuple[str, ...]:
        """Names of the networks other than the reference.

        Raises:
            InputError: there are none.
        """
        others = tuple(name for name in self.names if name != self.reference)
        if not others:
            raise InputError(f"networks: expected at least two to compare; got only {self.reference}")
        return others

    @property
    def labels(self) -> Tensor:
        """Labels [N] of the test inputs."""
        return next(iter(self.first().values())).test.pair[1]

    @property
    def facts(self) -> dict[str, Any]:
        """Facts to display in figures: columns for `tsnn_uq.results.figures.describe`."""
        return {"dataset": self.data, "reference": self.reference}

    @property
    def samples(self) -> int:
        """Number of samples S of the first network."""
        return len(next(iter(self.first().values())).test.probs)

    def first(self) -> dict[str, Predictions]:
        """The first seed of each network, which figures of single inputs show."""
        return {name: of[0] for name, of in self.members.items()}

    def select(self, names: Sequence[str] = (), seed: int = 0) -> NamedPredictions:
        """Select one seed of each network, or of some networks, in the same order.

        Args:
            names: names of the networks; empty for all.
            seed: index of the seed among those of each network, from 0.

        Raises:
            InputError: a name is unknown, or a network has no such seed.
        """
        for name in names:
            check_choice("methods", name, self.members)
        chosen = {name: of for name, of in self.members.items() if not names or name in names}
        for name, of in chosen.items():
            if not 0 <= seed < len(of):
                raise InputError(f"seed: expected 0 to {len(of) - 1} for {name}; got {seed}")
        reference = self.reference if self.reference in chosen else ""
        return replace(
            self, members={name: (of[seed],) for name, of in chosen.items()}, reference=reference, file_name=""
        )

    def predictions(self) -> NamedPredictions:
        """These predictions; runs have a method of the same name."""
        return self

    def pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By name, Monte Carlo probabilities [S, N, C] of the first seed and labels [N]."""
        return {name: of.test.pair for name, of in self.first().items()}

    def mean_pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By name, mean probabilities [N, C] over the samples of the first seed and labels [N]."""
        return {name: of.test.mean_pair for name, of in self.first().items()}

    @property
    def foreign_names(self) -> tuple[str, ...]:
        """Names of the foreign sets for which at least one network has predictions."""
        return tuple(dict.fromkeys(name for of in self.first().values() for name in of.foreign))

    def foreign(self, name: str) -> dict[str, Part]:
        """Predictions for a foreign set by name of the network, for those that have them.

        Raises:
            InputError: no network has predictions for this set.
        """
        if name not in self.foreign_names:
            known = f"got {', '.join(self.foreign_names) or 'none'}"
            raise InputError(f"foreign: expected predictions for {name}; {known} (add arrays foreign_{name}_probs)")
        return {one: of.foreign[name] for one, of in self.first().items() if name in of.foreign}


def _shared_parts(first: Predictions, second: Predictions) -> list[tuple[str, Tensor, Tensor]]:
    """Pairs of tensors that must match: labels of the test inputs, and first samples of shared foreign sets."""
    pairs = [("test", first.test.pair[1], second.test.pair[1])]
    shared = [name for name in first.foreign if name in second.foreign]
    return pairs + [(name, first.foreign[name].probs[0], second.foreign[name].probs[0]) for name in shared]
