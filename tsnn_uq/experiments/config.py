"""The settings of one run and of a grid of runs: frozen, checked when made, and read from and written to TOML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive
from tsnn_uq.coding import CODINGS
from tsnn_uq.files import read_toml, write_toml
from tsnn_uq.networks import FAMILIES, READOUTS
from tsnn_uq.neurons import SURROGATES
from tsnn_uq.quantization import PARTS, RULES, SCALES
from tsnn_uq.training import METHODS, REGULARIZERS
from tsnn_uq.uncertainty import MASK_MODES

__all__ = ["PRESETS", "Grid", "RunConfig", "preset"]

# What suits a data set where the user does not say otherwise.
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"hidden": (128, 128), "epochs": 60, "batch_size": 32},
    "mnist": {"hidden": (500, 500, 500), "epochs": 18, "batch_size": 128},
    "fashion-mnist": {"hidden": (500, 500, 500), "epochs": 18, "batch_size": 128},
}


# Thresholds chosen on validation splits for accuracy at half of the weights zero or more. Weights that train on
# while others are fixed grow past a threshold more often, so the indirect methods need a higher one.
FACTORS = {"direct": 0.9, "indirect": 1.1, "distill": 1.1}
SPARSITY = 0.5  # of the rule "quantile"


def _choice(default: str, about: str, choices: Iterable[str]) -> Any:
    return field(default=default, metadata={"about": about, "choices": tuple(choices)})


def _number(default: float | tuple[int, ...], about: str, check: Callable[[str, Any], None]) -> Any:
    return field(default=default, metadata={"about": about, "check": check})


def _count(argument: str, value: int) -> None:
    check_positive(argument, value, integer=True)


def _counts(argument: str, values: Sequence[int]) -> None:
    for value in values:
        _count(argument, value)


def _not_negative(argument: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise InputError(f"{argument}: expected a number of at least 0; got {value!r}")


def _probability(argument: str, value: float) -> None:
    check_fraction(argument, value, below_one=True)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of one run; each field's `about` says what it is.

    Raises:
        InputError: a value that is no choice or out of range.
    """

    data: str = _choice("digits", "data set", PRESETS)
    family: str = _choice("dropout", "network family", FAMILIES)
    method: str = _choice("float", "training method", METHODS)
    quantized_part: str = _choice("none", "which layers are ternary", ("none", *PARTS))
    seed: int = _number(0, "seed of validation split, initial weights, data order and masks", _not_negative)
    hidden: tuple[int, ...] = _number((128, 128), "widths of the hidden layers", _counts)
    steps: int = _number(4, "time steps T", _count)
    p: float = _number(0.2, "probability of dropping a unit (dropout) or a weight (dropconnect)", _probability)
    mask: str = _choice("fixed", "masks fixed over the time steps of a sample, or redrawn each step", MASK_MODES)
    coding: str = _choice("constant", "input coding", CODINGS)
    readout: str = _choice("current", "mean output current, or output spikes", READOUTS)
    decay: float = _number(0.5, "share of the membrane potential left after a step", check_fraction)
    threshold: float = _number(1.0, "membrane potential of a spike", check_positive)
    reset: str = _choice("soft", "reset by subtracting the threshold, or to zero", ("soft", "hard"))
    surrogate: str = _choice("arctan", "surrogate gradient", SURROGATES)
    sharpness: float = _number(2.0, "sharpness alpha of the surrogate gradient", check_positive)
    rule: str = _choice("mean-fraction", "threshold rule of the ternary weights", [*RULES, "learned"])
    factor: float = _number(
        0.0, "threshold / mean magnitude, or the sparsity of the rule quantile; 0 for the method's own", _not_negative
    )
    scale: str = _choice("layer", "one scale a layer, one an output channel, or none", SCALES)
    start: float = _number(0.3, "share of the training before the first quantization (indirect)", check_fraction)
    end: float = _number(0.92, "share of the training at the last quantization (indirect)", check_fraction)
    temperature: float = _number(2.0, "temperature of the distillation", check_positive)
    distill_weight: float = _number(0.5, "share of the distillation in the loss", check_fraction)
    epochs: int = _number(60, "passes over the training set", _count)
    batch_size: int = _number(32, "inputs in a training step", _count)
    learning_rate: float = _number(2e-3, "peak of the one-cycle learning rate", check_positive)
    weight_decay: float = _number(0.01, "decoupled weight decay (AdamW)", check_fraction)
    regularizer: str = _choice("none", "uncertainty term in the loss", REGULARIZERS)
    regularizer_weight: float = _number(0.0, "its weight", _not_negative)
    train_limit: int = _number(0, "use only so many training images; 0 for all", _not_negative)
    samples: int = _number(32, "Monte Carlo samples S of the evaluation", _count)
    bins: int = _number(15, "bins of the calibration error", _count)
    threads: int = _number(1, "threads of one run; a result's last digits depend on it", _count)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if "choices" in item.metadata:
                check_choice(item.name, value, item.metadata["choices"])
            else:
                item.metadata["check"](item.name, value)
        check_choice("quantized_part", self.quantized_part, ("none",) if self.method == "float" else PARTS)
        if (self.regularizer == "none") != (self.regularizer_weight == 0):
            raise InputError(
                "regularizer_weight: expected above 0 with a regularizer and 0 without; "
                f"got {self.regularizer_weight} with {self.regularizer!r}"
            )

    @property
    def name(self) -> str:
        """Short name of the run, for its folder."""
        return f"{self.family}-{self.quantized_part}-{self.method}-{self.seed}"

    def rule_options(self) -> dict[str, float]:
        """What the threshold rule takes."""
        if self.rule == "mean-rounding":
            return {}
        if self.rule == "quantile":
            return {"sparsity": self.factor or SPARSITY}
        return {"factor": self.factor or FACTORS[self.method]}

    def teacher(self) -> RunConfig:
        """The float run with the same budget, seed and network: a distilled run's teacher."""
        return replace(self, method="float", quantized_part="none")

    def save(self, path: Path) -> None:
        """Write as TOML, atomically."""
        write_toml(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> RunConfig:
        """Read what `save` wrote.

        Raises:
            InputError: missing or damaged file, an unknown key (the nearest is suggested), a value out of range.
        """
        return _from_mapping(cls, read_toml(path), path)


@dataclass(frozen=True)
class Grid:
    """A grid of runs: families x quantized parts x methods x seeds, all else as in `run`."""

    families: tuple[str, ...] = ("dropout",)
    parts: tuple[str, ...] = ("all",)
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 3
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive("seeds", self.seeds, integer=True)
        for argument, names, choices in (
            ("families", self.families, FAMILIES),
            ("parts", self.parts, PARTS),
            ("methods", self.methods, METHODS),
        ):
            if not names or len(set(names)) < len(names):
                raise InputError(f"{argument}: expected at least one name, each once; got {list(names)}")
            for name in names:
                check_choice(argument, name, choices)

    def runs(self) -> list[RunConfig]:
        """The runs of the grid; a float network has no quantized part and stands once for all of them."""
        kinds = [(method, part) for method in self.methods for part in (("none",) if method == "float" else self.parts)]
        return [
            replace(self.run, family=family, method=method, quantized_part=part, seed=seed)
            for family in self.families
            for method, part in kinds
            for seed in range(self.seeds)
        ]

    def save(self, path: Path) -> None:
        """Write as TOML, atomically."""
        run = {k: v for k, v in asdict(self.run).items() if k not in ("family", "method", "quantized_part", "seed")}
        write_toml(path, {**asdict(self), "run": run})

    @classmethod
    def load(cls, path: Path) -> Grid:
        """Read what `save` wrote; errors as in `RunConfig.load`."""
        table = dict(read_toml(path))
        run = table.pop("run", {})
        if not isinstance(run, dict):
            raise InputError(f"{path}: expected a table [run]; got {run!r}")
        data = check_choice("data", str(run.get("data", "digits")), PRESETS)
        table["run"] = _from_mapping(RunConfig, preset(data) | run, path)
        return _from_mapping(cls, table, path)


def preset(data: str) -> dict[str, Any]:
    """The settings that suit a data set: widths, epochs and batch size."""
    return {"data": data, **PRESETS[check_choice("data", data, PRESETS)]}


Config = TypeVar("Config", RunConfig, Grid)


def _from_mapping(kind: type[Config], table: Mapping[str, Any], source: Path) -> Config:
    """Make a config from a table, refusing unknown keys and values of the wrong type."""
    known = {item.name: item for item in fields(kind)}
    values = {}
    for key, value in table.items():
        check_choice(f"{source}: key", key, known)
        default = getattr(kind(), key)
        if isinstance(default, tuple) and isinstance(value, list | tuple):
            value = tuple(value)
        elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default):
            raise InputError(f"{source}: {key}: expected {type(default).__name__}; got {value!r}")
        values[key] = value
    return kind(**values)
