"""What networks predicted: the arrays that tables, figures and pages are computed from, wherever the networks ran.

`Part` holds the predictions of one network for one set of inputs, `Predictions` all parts of one network, and
`NamedPredictions` several networks by name. A folder of runs, files of arrays (`tsnn_uq.results.prediction_files`) and
networks in memory all give `NamedPredictions`; studies, figures and the page read nothing else of a network unless they
have to run it.
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
        probs: class probabilities of S Monte Carlo samples [S, N, C]; of one prediction [N, C], which becomes
            [1, N, C]; or after each of T time steps [S, T, N, C]. The last step is kept as `probs`, all as `over_time`.
        labels: class numbers [N].
        logits: of the same inputs, [N, C], [S, N, C] or [S, T, N, C]; the mean over samples after the last step is
            kept, [N, C].
        features: of the last hidden layer [N, ...], for scores that need them.
        over_time: set from `probs`; not to be given.

    Raises:
        InputError: wrong shapes, numbers that are no probabilities (rows have to sum to 1 within 1e-3) or no labels.

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
        """A part of which logits [N, C], [S, N, C] or [S, T, N, C] are known; their softmax are the probabilities."""
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
    """A tensor or numpy array as a tensor on the CPU, outside any graph."""
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "biuf":
            raise InputError(f"{argument}: expected numbers; got an array of dtype {array.dtype}")
        wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
        array = torch.from_numpy(np.array(array, np.float64 if wide else array.dtype.newbyteorder("=")))
    if not isinstance(array, Tensor):
        raise InputError(f"{argument}: expected a tensor or a numpy array; got {describe(array)}")
    return array.detach().cpu()


def _floats(argument: str, array: Any) -> Tensor:
    """Finite numbers in float32, or float64 where they are."""
    tensor = _tensor(argument, array)
    if not tensor.is_floating_point():
        raise InputError(f"{argument}: expected floating-point numbers; got {describe(tensor)}")
    tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    if not tensor.isfinite().all():
        problem = "NaN" if tensor.isnan().any() else "infinity"
        raise InputError(f"{argument}: expected finite numbers; got {problem} among {tensor.numel():,} of them")
    return tensor


def _predicted(argument: str, array: Any) -> Tensor:
    """Numbers of one of the three shapes of predictions, none of its axes empty."""
    tensor = _floats(argument, array)
    if tensor.dim() not in _SHAPES:
        raise InputError(f"{argument}: expected {', '.join(_SHAPES.values())}; got shape {list(tensor.shape)}")
    if not tensor.numel() or tensor.shape[-1] < 2:
        wanted = "at least one sample, time step and input, and two classes"
        raise InputError(f"{argument}: expected {wanted}; got shape {list(tensor.shape)}")
    return tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one network predicted, and what is known of it besides.

    Args:
        test: the test inputs, with labels; all that is asked for in any case.
        validation: inputs that nothing was trained on, with labels; sets temperatures and stopping rules.
        foreign: by name, inputs of other data sets, which the network should be unsure of.
        train: training inputs with labels and features, which detectors of foreign inputs are fitted to; without them,
            the validation part's are used.
        inputs: the test inputs themselves [N, ...], to be shown.
        answers: how often people chose each class for each test input [N, C].
        costs: of `tsnn_uq.results.measures.COSTS`, such as ``"storage_bytes"`` or ``"energy_pj"``.

    Raises:
        InputError: a part without labels that has to have them, parts of different numbers of classes, or lengths that
            disagree.
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
                    f"{name}_probs: expected {classes} classes, as of the test inputs; got {part.probs.shape[-1]}"
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
        """A part by the name that it has in files.

        Raises:
            InputError: there is none.
        """
        parts = self.parts()
        if name not in parts:
            raise InputError(f"{name}: expected predictions for this part; got none (arrays {name}_probs give them)")
        return parts[name]

    def parts(self) -> dict[str, Part]:
        """All parts by the names that they have in files: test, validation, train, foreign_NAME."""
        named = {"test": self.test, "validation": self.validation, "train": self.train}
        foreign = {f"foreign_{name}": part for name, part in self.foreign.items()}
        return {name: part for name, part in (named | foreign).items() if part is not None}


@dataclass(frozen=True, eq=False)
class NamedPredictions:
    """Networks by name, all with predictions for the same test inputs.

    Args:
        members: by name, the predictions of a network, or of several that differ in nothing but their seed. The order
            is that of every table and figure.
        reference: the name that the others are compared with; the first unless another is given.
        title: what is compared, for headings.
        file_name: what tells figures of these from those of others; by default the names.
        data: what the data set is called.
        noise: what differs between the samples, for axes, such as ``"MC dropout"``.
        seed: of resamples and random orders.

    Raises:
        InputError: no network, networks with other test inputs (their labels differ), or an unknown reference.

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
            for part, ours, theirs in _in_both(first[1], one):
                if len(ours) != len(theirs):
                    raise InputError(
                        f"{name}: expected the {len(ours):,} {part} inputs of {first[0]}; got {len(theirs):,}"
                    )
                if part == "test" and not torch.equal(ours, theirs):
                    problem = f"{int((ours != theirs).sum()):,} of {len(ours):,} labels differ"
                    raise InputError(f"{name}: expected the test inputs of {first[0]} in the same order; {problem}")
            classes = [of.test.probs.shape[-1] for of in (first[1], one)]
            if classes[0] != classes[1]:
                raise InputError(f"{name}: expected {classes[0]} classes, as of {first[0]}; got {classes[1]}")

    @property
    def names(self) -> tuple[str, ...]:
        """The networks' names."""
        return tuple(self.members)

    @property
    def others(self) -> tuple[str, ...]:
        """Those that are compared with the reference.

        Raises:
            InputError: there are none.
        """
        others = tuple(name for name in self.names if name != self.reference)
        if not others:
            raise InputError(f"networks: expected at least two to compare; got {self.reference} alone")
        return others

    @property
    def labels(self) -> Tensor:
        """Labels [N] of the test inputs."""
        return next(iter(self.first().values())).test.pair[1]

    @property
    def facts(self) -> dict[str, Any]:
        """What figures say of these predictions: columns of `tsnn_uq.results.figures.describe`."""
        return {"dataset": self.data, "reference": self.reference}

    @property
    def samples(self) -> int:
        """S, of the first network."""
        return len(next(iter(self.first().values())).test.probs)

    def first(self) -> dict[str, Predictions]:
        """The first seed of each network, which figures of single inputs show."""
        return {name: of[0] for name, of in self.members.items()}

    def select(self, names: Sequence[str] = (), seed: int = 0) -> NamedPredictions:
        """One seed of each network, or of those that are named, in the order of all.

        Args:
            names: which; empty for all.
            seed: its place among those of each network, from 0.

        Raises:
            InputError: an unknown name, or a network has no such seed.
        """
        for name in names:
            check_choice("methods", name, self.members)
        chosen = {name: of for name, of in self.members.items() if not names or name in names}
        for name, of in chosen.items():
            if not 0 <= seed < len(of):
                raise InputError(f"seed: expected one of the {len(of)} of {name}, from 0 on; got {seed}")
        reference = self.reference if self.reference in chosen else ""
        return replace(
            self, members={name: (of[seed],) for name, of in chosen.items()}, reference=reference, file_name=""
        )

    def predictions(self) -> NamedPredictions:
        """These predictions, as a folder of runs gives its own."""
        return self

    def pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By name, Monte Carlo probabilities [S, N, C] of the first seed and labels [N]."""
        return {name: of.test.pair for name, of in self.first().items()}

    def mean_pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By name, mean probabilities [N, C] over the samples of the first seed and labels [N]."""
        return {name: of.test.mean_pair for name, of in self.first().items()}

    @property
    def foreign_names(self) -> tuple[str, ...]:
        """The foreign sets that at least one network was shown."""
        return tuple(dict.fromkeys(name for of in self.first().values() for name in of.foreign))

    def foreign(self, name: str) -> dict[str, Part]:
        """By name of the network, its predictions for a foreign set, of those that were shown it.

        Raises:
            InputError: no network was.
        """
        if name not in self.foreign_names:
            known = f"got {', '.join(self.foreign_names) or 'none'}"
            raise InputError(
                f"foreign: expected predictions for {name}; {known} (arrays foreign_{name}_probs give them)"
            )
        return {one: of.foreign[name] for one, of in self.first().items() if name in of.foreign}


def _in_both(first: Predictions, second: Predictions) -> list[tuple[str, Tensor, Tensor]]:
    """Of the test inputs the labels, of foreign sets that both were shown the inputs' numbers, in pairs."""
    pairs = [("test", first.test.pair[1], second.test.pair[1])]
    shared = [name for name in first.foreign if name in second.foreign]
    return pairs + [(name, first.foreign[name].probs[0], second.foreign[name].probs[0]) for name in shared]
