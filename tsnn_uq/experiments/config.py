"""The settings of one run: frozen, checked when made, and read from and written to TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive
from tsnn_uq.coding import CODINGS
from tsnn_uq.experiments.fields import choice, count, counts, not_negative, number, probability, switch, text, whole
from tsnn_uq.experiments.presets import PRESETS, preset, suits_alike
from tsnn_uq.files import read_toml, write_toml
from tsnn_uq.networks import FAMILIES, READOUTS
from tsnn_uq.neurons import SURROGATES
from tsnn_uq.quantization import PARTS, RULES, SCALES, make_rule
from tsnn_uq.training import DEFAULT_REGULARIZER, METHODS, REGULARIZERS, check_regularizer
from tsnn_uq.uncertainty import MASK_MODES

__all__ = ["RunConfig", "from_table", "make_run", "run_name"]

# Thresholds chosen on validation splits for accuracy at half of the weights zero or more. Weights that train on
# while others are fixed grow past a threshold more often, so the indirect methods need a higher one.
FACTORS = {"direct": 0.8, "indirect": 1.1, "distill": 1.17}
SPARSITY = 0.5  # of the rule "quantile"

LOSSES = ("cross-entropy", "spike-count")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of one run; each field's `about` says what it is.

    Raises:
        InputError: a value that is no choice or out of range, or values that do not go together.
    """

    data: str = choice("digits", "data set", PRESETS)
    family: str = choice("dropout", "network family", FAMILIES)
    method: str = choice("float", "training method", METHODS)
    quantized_part: str = choice("none", "which layers are ternary; all, for a ternary method", ("none", *PARTS))
    seed: int = number(0, "seed of validation split, initial weights, data order and masks", whole)
    skip_bad: bool = switch("leave damaged recordings out, and count them, in place of an error")
    folds: int = number(0, "K of a K-fold cross-validation, whose fold is the seed modulo K; 0 for none", whole)
    hidden: tuple[int, ...] = number((128, 128), "widths of the hidden layers", counts)
    steps: int = number(4, "time steps T", count)
    p: float = number(0.2, "probability of dropping a unit (dropout) or a weight (dropconnect)", probability)
    mask: str = choice("fixed", "masks fixed over the time steps of a sample, or redrawn each step", MASK_MODES)
    coding: str = choice("constant", "input coding", CODINGS)
    readout: str = choice("current", "mean output current, or output spikes", READOUTS)
    decay: float = number(0.5, "share of the membrane potential left after a step", check_fraction)
    threshold: float = number(1.0, "membrane potential of a spike", check_positive)
    tau_s: float = number(10.0, "time constant of the synapse's response (SLAYER), in ms", check_positive)
    tau_r: float = number(1.0, "time constant of the refractory response (SLAYER), in ms", check_positive)
    tau_rho: float = number(1.0, "width of the escape-rate gradient (SLAYER), in thresholds", check_positive)
    bin_ms: float = number(1.0, "length of a time step (SLAYER), and of a bin of events, in ms", check_positive)
    reset: str = choice("soft", "reset by subtracting the threshold, or to zero", ("soft", "hard"))
    surrogate: str = choice("arctan", "surrogate gradient", SURROGATES)
    sharpness: float = number(2.0, "sharpness alpha of the surrogate gradient", check_positive)
    rule: str = choice("mean-fraction", "threshold rule of the ternary weights", [*RULES, "learned"])
    factor: float = number(
        0.0, "threshold / mean magnitude, or the sparsity of the rule quantile; 0 for the method's own", not_negative
    )
    scale: str = choice("layer", "one scale a layer, one an output channel, or none", SCALES)
    start: float = number(0.5, "share of the training before the first quantization (indirect)", check_fraction)
    end: float = number(0.9, "share of the training at the last quantization (indirect)", check_fraction)
    temperature: float = number(4.0, "temperature of the distillation", check_positive)
    distill_weight: float = number(0.5, "share of the distillation in the loss", check_fraction)
    start_from: str = text(
        "",
        "first weights: own random ones, those of the float run, or of a run's folder; the method's choice",
        "--from",
    )
    teacher_from: str = text(
        "",
        "float run that teaches (distill): the one with the same settings, or a run's folder or one of runs",
        "--teacher",
    )
    loss: str = choice("cross-entropy", "loss of the logits, or of the numbers of output spikes", LOSSES)
    wanted_counts: tuple[int, ...] = number((60, 10), "output spikes of the right class, and of the others", counts)
    epochs: int = number(60, "passes over the training set", count)
    float_epochs: int = number(0, "epochs of the float run that another starts from; 0 for the same", whole)
    batch_size: int = number(32, "inputs in a training step", count)
    learning_rate: float = number(2e-3, "peak of the one-cycle learning rate", check_positive)
    float_learning_rate: float = number(0.0, "the same of the float run; 0 for the same", not_negative)
    weight_decay: float = number(0.01, "decoupled weight decay (AdamW)", check_fraction)
    regularizer: str = text(
        "none",
        f"uncertainty term in the loss ({', '.join(REGULARIZERS)}), a sum such as variance:5+outliers:0.5, or default",
        "--regularizer",
    )
    regularizer_weight: float = number(0.0, "weight of an uncertainty term whose text has none", not_negative)
    regularizer_warm_up: float = number(0.0, "share of the training over which it grows from nothing", check_fraction)
    train_limit: int = number(0, "use only so many training images; 0 for all", whole)
    samples: int = number(32, "Monte Carlo samples S of the evaluation", count)
    bins: int = number(15, "bins of the calibration error", count)
    threads: int = number(1, "threads of one run; a result's last digits depend on it", count)

    def __post_init__(self) -> None:
        if self.regularizer == "default":  # which may be another one in another version
            object.__setattr__(self, "regularizer", DEFAULT_REGULARIZER)
        for item in fields(self):
            value = getattr(self, item.name)
            if "choices" in item.metadata:
                check_choice(item.name, value, item.metadata["choices"])
            else:
                item.metadata["check"](item.metadata.get("option", item.name).lstrip("-"), value)
        check_choice("quantized_part", self.quantized_part, ("none",) if self.method == "float" else PARTS)
        if self.p == 0 and self.coding != "rate":
            raise InputError("p: expected above 0, since otherwise nothing would be random; got 0")
        if self.folds in (1, 2):
            raise InputError(f"folds: expected 0, or at least 3: to test, to validate and to train; got {self.folds}")
        if self.teacher_from and self.method != "distill":
            raise InputError(f"teacher: expected none for method {self.method}; got {self.teacher_from!r}")
        if self.start > self.end:
            raise InputError(f"start: expected at most end, {self.end}; got {self.start}")
        if self.method != "float":
            self._check_rule()
        if self.loss == "spike-count" and (self.readout != "spikes" or len(self.wanted_counts) != 2):
            wanted = "readout spikes and two wanted_counts for spike-count"
            raise InputError(f"loss: expected {wanted}; got {self.readout} and {list(self.wanted_counts)}")
        events = self.coding == "events"
        check_regularizer(self.regularizer, self.regularizer_weight, method=self.method, events=events)

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

    @property
    def first_weights(self) -> str:
        """Where they come from: ``"own"``, ``"float"``, or the path of a run's folder or of a folder of runs.

        A distilled network starts from its teacher's unless it is told not to: all it has to learn is to be ternary.
        """
        return self.start_from or self.teacher_from or ("float" if self.method == "distill" else "own")

    @property
    def needs_float(self) -> bool:
        """Whether `teacher` has to be there first."""
        return not self.teacher_from and (self.method == "distill" or self.first_weights == "float")

    def teacher(self) -> RunConfig:
        """The float run with the same seed and network: a distilled run's teacher, and where others may start.

        Where all start from a run's folder, it does so too, for the same budget.
        """
        return replace(
            self,
            method="float",
            quantized_part="none",
            start_from="" if self.start_from in ("own", "float") else self.start_from,
            teacher_from="",
            epochs=self.float_epochs or self.epochs,
            learning_rate=self.float_learning_rate or self.learning_rate,
            float_epochs=0,
            float_learning_rate=0.0,
        )

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
        suits = preset(
            check_choice(f"{source}: data", table.get("data", "digits"), PRESETS),
            check_choice(f"{source}: family", table.get("family", "dropout"), FAMILIES),
        )
        return from_table(cls, suits | dict(table), source)


def run_name(family: str, part: str, method: str, seed: int) -> str:
    """Name of a run's folder."""
    return f"{family}-{part}-{method}-{seed}"


def make_run(config: Path | None, settings: dict[str, Any]) -> RunConfig:
    """A run from a file, or the preset of its data set, with the given `settings` put over it.

    A ternary method without a quantized part gets all layers; a float one none.
    """
    base: dict[str, Any] = dict(vars(RunConfig.load(config))) if config else {}
    data = settings.get("data", base.get("data", "digits"))
    family = settings.get("family", base.get("family", "dropout"))
    if data != base.get("data") or not suits_alike(base["family"], family, data):
        base |= preset(data, family)
    merged = base | settings
    if "quantized_part" not in settings:
        part = merged.get("quantized_part", "none")
        merged["quantized_part"] = "none" if merged.get("method", "float") == "float" else part.replace("none", "all")
    return RunConfig(**merged)


Config = TypeVar("Config")
KINDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", tuple: "a list"}


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
