"""The settings of one run: frozen, checked when made, and read from and written to TOML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive
from tsnn_uq.coding import CODINGS
from tsnn_uq.files import read_toml, write_toml
from tsnn_uq.networks import FAMILIES, READOUTS
from tsnn_uq.neurons import SURROGATES
from tsnn_uq.quantization import PARTS, RULES, SCALES, make_rule
from tsnn_uq.training import METHODS, REGULARIZERS
from tsnn_uq.uncertainty import MASK_MODES

__all__ = ["PRESETS", "RunConfig", "from_table", "make_run", "preset", "run_name"]

# What suits a data set where the user does not say otherwise.
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"hidden": (128, 128), "epochs": 60, "batch_size": 32},
    "mnist": {"hidden": (500, 500, 500), "epochs": 18, "batch_size": 128},
    "fashion-mnist": {"hidden": (500, 500, 500), "epochs": 18, "batch_size": 128},
}

# Thresholds chosen on validation splits for accuracy at half of the weights zero or more. Weights that train on
# while others are fixed grow past a threshold more often, so the indirect methods need a higher one.
FACTORS = {"direct": 0.8, "indirect": 1.1, "distill": 1.17}
SPARSITY = 0.5  # of the rule "quantile"


def _choice(default: str, about: str, choices: Iterable[str]) -> Any:
    return field(default=default, metadata={"about": about, "choices": tuple(choices)})


def _number(default: float | tuple[int, ...], about: str, check: Callable[[str, Any], None]) -> Any:
    return field(default=default, metadata={"about": about, "check": check})


def _count(argument: str, value: int) -> None:
    check_positive(argument, value, integer=True)


def _counts(argument: str, values: tuple[int, ...]) -> None:
    if not isinstance(values, tuple) or not values:
        raise InputError(f"{argument}: expected a tuple of at least one whole number; got {values!r}")
    for value in values:
        _count(argument, value)


def _not_negative(argument: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InputError(f"{argument}: expected a number of at least 0; got {value!r}")


def _whole(argument: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{argument}: expected a whole number of at least 0; got {value!r}")


def _probability(argument: str, value: float) -> None:
    check_fraction(argument, value, below_one=True)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of one run; each field's `about` says what it is.

    Raises:
        InputError: a value that is no choice or out of range, or values that do not go together.
    """

    data: str = _choice("digits", "data set", PRESETS)
    family: str = _choice("dropout", "network family", FAMILIES)
    method: str = _choice("float", "training method", METHODS)
    quantized_part: str = _choice("none", "which layers are ternary; all, for a ternary method", ("none", *PARTS))
    seed: int = _number(0, "seed of validation split, initial weights, data order and masks", _whole)
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
    start: float = _number(0.5, "share of the training before the first quantization (indirect)", check_fraction)
    end: float = _number(0.9, "share of the training at the last quantization (indirect)", check_fraction)
    temperature: float = _number(4.0, "temperature of the distillation", check_positive)
    distill_weight: float = _number(0.5, "share of the distillation in the loss", check_fraction)
    student: str = _choice("teacher", "first weights of a distilled network", ("teacher", "own"))
    epochs: int = _number(60, "passes over the training set", _count)
    batch_size: int = _number(32, "inputs in a training step", _count)
    learning_rate: float = _number(2e-3, "peak of the one-cycle learning rate", check_positive)
    weight_decay: float = _number(0.01, "decoupled weight decay (AdamW)", check_fraction)
    regularizer: str = _choice("none", "uncertainty term in the loss", REGULARIZERS)
    regularizer_weight: float = _number(0.0, "weight of the uncertainty term", _not_negative)
    train_limit: int = _number(0, "use only so many training images; 0 for all", _whole)
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
        if self.p == 0 and self.coding != "rate":
            raise InputError("p: expected above 0, since otherwise nothing would be random; got 0")
        if self.start > self.end:
            raise InputError(f"start: expected at most end, {self.end}; got {self.start}")
        if self.method != "float":
            self._check_rule()
        if (self.regularizer == "none") != (self.regularizer_weight == 0):
            raise InputError(
                "regularizer_weight: expected above 0 with a regularizer and 0 without; "
                f"got {self.regularizer_weight} with {self.regularizer!r}"
            )

    def _check_rule(self) -> None:
        if self.rule == "learned":
            if self.method != "direct":
                remedy = "choose another rule, or the methods float and direct"
                raise InputError(f"rule: expected one that is not learned for method {self.method}; {remedy}")
        elif self.rule == "mean-rounding" and self.factor:
            raise InputError(f"factor: expected 0, since the rule mean-rounding takes none; got {self.factor}")
        else:
            make_rule(self.rule, self.rule_options())

    @property
    def name(self) -> str:
        """Short name of the run, for its folder."""
        return run_name(self.family, self.quantized_part, self.method, self.seed)

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
        """Read what `save` wrote, or a part of it; what is not there suits the data set or is the default.

        Raises:
            InputError: missing or damaged file, an unknown key (the nearest is suggested), a value out of range.
        """
        return cls.from_toml(read_toml(path), path)

    @classmethod
    def from_toml(cls, table: Mapping[str, Any], source: Path) -> RunConfig:
        """Make a run from what stands in the file `source`; errors as in `load`."""
        suits = preset(check_choice(f"{source}: data", table.get("data", "digits"), PRESETS))
        return from_table(cls, suits | dict(table), source)


def run_name(family: str, part: str, method: str, seed: int) -> str:
    """Name of a run's folder."""
    return f"{family}-{part}-{method}-{seed}"


def preset(data: str) -> dict[str, Any]:
    """The settings that suit a data set: widths, epochs and batch size."""
    return {"data": data, **PRESETS[check_choice("data", data, PRESETS)]}


def make_run(config: Path | None, settings: dict[str, Any]) -> RunConfig:
    """A run from a file, or the preset of its data set, with the given `settings` put over it.

    A ternary method without a quantized part gets all layers; a float one none.
    """
    base: dict[str, Any] = dict(vars(RunConfig.load(config))) if config else {}
    data = settings.get("data", base.get("data", "digits"))
    if data != base.get("data"):
        base |= preset(data)
    merged = base | settings
    if "quantized_part" not in settings:
        part = merged.get("quantized_part", "none")
        merged["quantized_part"] = "none" if merged.get("method", "float") == "float" else part.replace("none", "all")
    return RunConfig(**merged)


Config = TypeVar("Config")
KINDS = {str: "text", int: "a whole number", float: "a number", tuple: "a list"}


def from_table(kind: type[Config], table: Mapping[str, Any], source: Path) -> Config:
    """Make a config of a `kind` from a table, refusing unknown keys and values of the wrong type.

    Raises:
        InputError: names the file `source`, the key, and for an unknown key the nearest one.
    """
    known = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    values = {}
    for key, value in table.items():
        check_choice(f"{source}: key", key, known)
        default = getattr(kind(), key)
        if isinstance(default, tuple) and isinstance(value, list | tuple):
            value = tuple(value)
        elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default):
            raise InputError(f"{source}: {key}: expected {KINDS.get(type(default), 'a table')}; got {value!r}")
        values[key] = value
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
