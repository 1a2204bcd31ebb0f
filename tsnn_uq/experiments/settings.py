"""The settings of one run: typed, nested, validated on construction, read from and written to TOML.

The models are pydantic's, which turn the signature of a component into a validated model with clear errors.
jsonargparse 4.53 was tried for ``compare`` instead. It also reads signatures and docstrings, and its help is good, so
about 60 lines of ours would go. But it imports the module of a class path in a configuration file before it rejects the
class, and a file from a stranger must not run code here. It has no `parse_known_args`, so components would have to be
found among the arguments before there is a parser for their options. It requires ``--network.hidden=[500,500]`` and
rejects ``500,500``. Presets, short names, lists of networks and settings without their code would still need code of
our own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tsnn_uq import __version__, training
from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.components.option_models import Checked, Options, Unknown, explain
from tsnn_uq.components.registry import KINDS, Component, find, is_known, names_in
from tsnn_uq.data.verified_files import Progress, silent
from tsnn_uq.devices import check_device
from tsnn_uq.files import read_toml, write_toml
from tsnn_uq.training import DEFAULT_REGULARIZER
from tsnn_uq.training.losses import EVERY, check_loss_times

__all__ = [
    "ALIASES",
    "Context",
    "Progress",
    "RunProgress",
    "Settings",
    "chosen",
    "flat",
    "have_same_defaults",
    "loss_times",
    "make_settings",
    "naming",
    "preset",
    "read_flat",
    "read_run",
    "refuse_option",
    "run_name",
    "silent",
]

ALIASES: dict[str, tuple[str, ...]] = {
    "family": ("network",),
    "quantized_part": ("method.layers",),
    **{name: (f"network.{name}",) for name in ("hidden", "p", "mask", "coding", "readout")},
    "steps": ("network.steps", "data.steps"),
    "bin_ms": ("neuron.step_ms", "data.bin_ms"),
    "skip_bad": ("data.skip_bad",),
    **{name: (f"neuron.{name}",) for name in ("decay", "threshold", "reset", "surrogate", "sharpness", "tau_rho")},
    "tau_s": ("neuron.tau_s_ms",),
    "tau_r": ("neuron.tau_r_ms",),
    **{name: (f"method.{name}",) for name in ("rule", "factor", "scale", "start", "end", "temperature")},
    "distill_weight": ("method.weight",),
}
"""Short names of options, and for each the options of this package's components that it sets."""

Whole = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _component(kind: str, value: Any) -> Options | None:
    """The options of a component, from its name, or from a table with its name and options."""
    if isinstance(value, Options) or (kind == "neuron" and value is None):
        return value
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise InputError(f"{kind}: expected a name, or a table with a name and options; got {value!r}")
    if kind == "regularizer" and table["name"] == "default":  # the default may change between versions
        table = {**table, "name": DEFAULT_REGULARIZER}
    if not is_known(kind, table["name"]):
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
        return Unknown.model_validate(plain)
    model = chosen(kind, table["name"]).options
    try:
        return model(**table)
    except ValidationError as error:
        raise explain(error, kind, list(model.model_fields)) from error


def chosen(kind: str, name: str) -> Component:
    """The component of a name; for a sum of regularizers one without options."""
    if kind == "regularizer":
        terms = list(training.regularizer_terms(name))
        return find(kind, terms[0]) if len(terms) == 1 else Component(kind, name, _no_options)
    return find(kind, name)


def _no_options() -> None:
    """A component without options, for a sum of regularizers."""


def _loss_times(text: str | None) -> str | None:
    """Validate a text for `loss_times`."""
    check_loss_times(loss_times(text))
    return text


def loss_times(text: str | None) -> str | tuple[int, ...]:
    """Parse the time steps of the loss, for `tsnn_uq.training.FitSettings`."""
    if text is None or text == EVERY:
        return text or ()
    try:
        return tuple(map(int, text.split(",")))
    except ValueError:
        return text  # the validation of settings rejects it


_Counts = Annotated[tuple[Count, Count], BeforeValidator(lambda value: tuple(value) if type(value) is list else value)]


class Settings(Checked):
    """Everything that determines the results of one run.

    A component whose code is not imported keeps its name and options, but making it raises an error. Components are
    given by name, or by a table with ``name`` and options: ``network={"name": "dropout", "p": 0.1}``.

    Raises:
        InputError: a name or option is unknown, a value has the wrong type or is out of range, or values are
            incompatible.
    """

    model_config = ConfigDict(validate_default=True)

    data: Annotated[Any, BeforeValidator(partial(_component, "data"))] = Field("digits", description="data set")
    network: Annotated[Any, BeforeValidator(partial(_component, "network"))] = Field("dropout", description="network")
    neuron: Annotated[Any, BeforeValidator(partial(_component, "neuron"))] = Field(
        None, description="neuron, for networks that take one"
    )
    method: Annotated[Any, BeforeValidator(partial(_component, "method"))] = Field(
        "float", description="training method"
    )
    regularizer: Annotated[Any, BeforeValidator(partial(_component, "regularizer"))] = Field(
        "none", description="uncertainty term in the loss, a sum such as variance:5+outliers:0.5, or default"
    )
    seed: Whole = Field(0, description="seed of validation split, initial weights, data order and masks")
    folds: Whole = Field(0, description="K of K-fold cross-validation, with the fold seed modulo K; 0 for none")
    train_limit: Whole = Field(0, description="number of training inputs; 0 for all")
    epochs: Count = Field(60, description="passes over the training set")
    batch_size: Count = Field(32, description="inputs per training step")
    learning_rate: Positive = Field(2e-3, description="peak of the one-cycle learning rate schedule")
    weight_decay: Fraction = Field(0.01, description="decoupled weight decay (AdamW)")
    loss: Literal["cross-entropy", "spike-count"] = Field(
        "cross-entropy", description="loss, of the logits or of the numbers of output spikes"
    )
    loss_over_time: Annotated[str | None, AfterValidator(_loss_times)] = Field(
        None, description="when the loss is taken: every (of each step's own outputs), or after steps such as 1,2,4"
    )
    batchnorm_inputs: Count | None = Field(
        None, description="training inputs for BatchNorm's statistics once more when the weights are final"
    )
    wanted_counts: _Counts = Field((60, 10), description="output spikes of the right class, and of the others")
    start_from: str = Field(
        "", description="first weights: own random ones, those of the float run, or of a run; else the method's choice"
    )
    teacher_from: str = Field(
        "", description="float run that teaches: the one with the same settings, or a run's folder or one of runs"
    )
    float_epochs: Whole = Field(0, description="epochs of the float run that another starts from; 0 for the same")
    float_learning_rate: NotNegative = Field(0.0, description="the same of the float run; 0 for the same")
    regularizer_weight: NotNegative = Field(0.0, description="weight of an uncertainty term whose text has none")
    regularizer_warm_up: Fraction = Field(0.0, description="share of the training over which it grows from nothing")
    samples: Count = Field(32, description="Monte Carlo samples S of the evaluation")
    bins: Count = Field(15, description="bins of the calibration error")
    threads: Count = Field(1, description="threads of one run; a result's last digits depend on it")
    device: Annotated[str, AfterValidator(check_device)] = Field(
        "cpu", description="where its networks run: cpu, cuda, cuda:1, mps, or auto, the first available"
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise explain(error, "", list(type(self).model_fields)) from error

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.folds in (1, 2):
            raise InputError(f"folds: expected 0, or at least 3: to test, to validate and to train; got {self.folds}")
        if self.teacher_from and not isinstance(self.method, Unknown) and not self.taught:
            raise InputError(f"teacher: expected none for method {self.method.name}; got {self.teacher_from!r}")
        if self.loss == "spike-count" and getattr(self.network, "readout", "spikes") != "spikes":
            raise InputError(f"loss: expected readout spikes for spike-count; got {self.network.readout}")
        events = getattr(self.network, "coding", None) == "events"
        text, weight = self.regularizer.name, self.regularizer_weight
        if not isinstance(self.regularizer, Unknown):
            training.check_regularizer(text, weight, method=self.method.name, events=events)
        for kind in ("neuron", "method", "regularizer"):  # each raises if it cannot be made with its options
            if not isinstance(getattr(self, kind), Unknown):
                made = self.make(kind)
                if kind == "neuron" and made is not None and not isinstance(self.network, Unknown):
                    chosen("network", self.family).require("neuron", made)
        return self

    def make(self, kind: str, **handed: Any) -> Any:
        """Make the component of a kind with those of the `handed` values that it takes; None if none is chosen."""
        options = getattr(self, kind)
        return None if options is None else chosen(kind, options.name)(options, **handed)

    def require(self, kind: str) -> None:
        """Raise if the code of the component of a kind is not imported in this process."""
        if isinstance(options := getattr(self, kind), Unknown):
            for name in names_in(kind, options.name):
                find(kind, name)

    @property
    def family(self) -> str:
        """Name of the network."""
        return self.network.name

    @property
    def quantized_part(self) -> str:
        """Which layers are ternary."""
        return getattr(self.method, "layers", "none")

    @property
    def name(self) -> str:
        """Short name of the run, for its folder."""
        return run_name(self.family, self.quantized_part, self.method.name, self.seed)

    @property
    def taught(self) -> bool:
        """Whether the method takes a teacher."""
        return chosen("method", self.method.name).takes("teacher")

    @property
    def first_weights(self) -> str:
        """The initial weights: ``"own"``, ``"float"``, or the path of a run's folder or of a folder of runs.

        By default, a network with a teacher starts from the teacher's weights.
        """
        return self.start_from or self.teacher_from or ("float" if self.taught else "own")

    @property
    def needs_float(self) -> bool:
        """Whether the float run `teacher` must be done first."""
        return not self.teacher_from and (self.taught or self.first_weights == "float")

    def teacher(self) -> Settings:
        """The float run with the same seed and network, which teaches others or provides their initial weights.

        If runs start from a given folder, so does the float run, for the same total budget.
        """
        return self.replace(
            method="float",
            start_from="" if self.start_from in ("own", "float") else self.start_from,
            teacher_from="",
            epochs=self.float_epochs or self.epochs,
            learning_rate=self.float_learning_rate or self.learning_rate,
            float_epochs=0,
            float_learning_rate=0.0,
        )

    def replace(self, **changes: Any) -> Settings:
        """The same settings with some changes; options may have their short names, see `ALIASES`.

        If another component is chosen, it keeps the options that it shares with the previous one.
        """
        return _resolved(changes, self.flat())

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """Settings from the dictionary of `flat`, without any defaults for data or network."""
        return _resolved(config)

    def flat(self) -> dict[str, Any]:
        """All settings by dotted names: ``network`` is its name, ``network.hidden`` one of its options."""
        return flat(self.model_dump())

    def save(self, path: str | Path) -> None:
        """Write as TOML, atomically, below the version of this package."""
        write_toml(path, {"version": __version__, **self.model_dump(exclude_none=True)})

    @classmethod
    def load(cls, path: str | Path) -> Settings:
        """Read what `save` wrote.

        Raises:
            InputError: missing or damaged file, one that lacks a setting, or what making the settings raises.
        """
        given = read_run(path)
        with naming(path):
            settings = cls.of(given)
            for name, value in settings.flat().items():
                if value is not None and name not in given:
                    raise InputError(f"expected all settings of a run; it lacks {name}")
        return settings


def run_name(*parts: object) -> str:
    """Name of a run's folder, such as ``dropout-all-direct-0``; ``mine.py:build`` becomes ``mine-build`` in it."""
    return "-".join(re.sub(r"\W+", "-", str(part).replace(".py:", ":")) for part in parts)


def flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a nested table of settings to dotted names."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key in KINDS and isinstance(value, Mapping):
            found |= {key if name == "name" else f"{key}.{name}": option for name, option in value.items()}
        else:
            found[key] = value
    return found


def read_flat(path: str | Path) -> dict[str, Any]:
    """Read the settings in a TOML file by dotted names, without the version that wrote them."""
    return {name: value for name, value in flat(read_toml(path)).items() if name != "version"}


def read_run(path: str | Path) -> dict[str, Any]:
    """Read all settings of a run by dotted names; older files without a device mean the CPU."""
    return {"device": "cpu", **read_flat(path)}


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Context that adds the name of a file to error messages."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def preset(data: str, network: str) -> dict[str, Any]:
    """The default settings for a data set and a network, by dotted names."""
    ours, theirs = (
        find(kind, name).suits if is_known(kind, name) else {} for kind, name in (("data", data), ("network", network))
    )
    return {**ours.get("", {}), **theirs.get("", {}), **ours.get(network, {}), **theirs.get(data, {})}


def have_same_defaults(one: str, other: str, data: str) -> bool:
    """Whether two networks have the same options and the same default settings on a data set."""
    names = [_option_names("network", name) for name in (one, other)]
    return one == other or (None not in names and names[0] == names[1] and preset(data, one) == preset(data, other))


def make_settings(given: Mapping[str, Any], config: str | Path | Mapping[str, Any] | None = None) -> Settings:
    """Make settings from the defaults for data set and network, a file, and `given` settings, in increasing priority.

    Args:
        given: settings by dotted or short names; see `ALIASES`.
        config: a TOML file with some or all settings, or its contents. If data set or network differ from those in the
            file, the defaults for the new ones are used below the file.

    Raises:
        InputError: no chosen component has an option, or the settings are invalid.
    """
    given, base = flat(given), flat(config) if isinstance(config, Mapping) else {}
    if isinstance(config, str | Path):
        base = read_flat(config)
        with naming(config):
            make_settings(base)
    data, network = (_name(kind, given, base) for kind in ("data", "network"))
    suits = preset(data, network)
    if base and (data != _name("data", base) or not have_same_defaults(_name("network", base), network, data)):
        base |= suits
    return _resolved(given, base, suits)


def _name(kind: str, *tables: Mapping[str, Any]) -> Any:
    """Name of a component in the first table that has one."""
    keys = (kind, *(alias for alias, targets in ALIASES.items() if targets == (kind,)))
    found = next((table[key] for table in tables for key in keys if table.get(key) is not None), None)
    name = Settings.model_fields[kind].default if found is None else found
    if name is not None and not isinstance(name, str):
        raise InputError(f"{kind}: expected the name of a component; got {name!r}")
    return name


def _resolved(
    given: Mapping[str, Any], base: Mapping[str, Any] | None = None, suits: Mapping[str, Any] | None = None
) -> Settings:
    """Combine default settings, `base` and `given`; every given setting must be used."""
    base, suits = base or {}, suits or {}
    names = {kind: _name(kind, given, base, suits) for kind in KINDS}
    if is_known("network", names["network"]):
        takes_neuron = find("network", names["network"]).takes("neuron")
        names["neuron"] = (names["neuron"] or "lif") if takes_neuron else None
    tables: dict[str, Any] = {kind: name and {"name": name} for kind, name in names.items()}
    options = {kind: _option_names(kind, name) for kind, name in names.items()}
    used = set()
    for key, value in (item for source in (suits, base, given) for item in source.items()):
        for target in ALIASES.get(key, (key,)):
            kind, _, option = target.partition(".")
            if kind not in KINDS:
                if kind not in Settings.model_fields:
                    continue
                tables[kind] = value
            elif option and ((own := options[kind]) is None or option in own):
                tables[kind][option] = value
            elif option or (names[kind] is None and value is not None):
                continue
            used.add(key)
    settings = Settings(**tables)
    for name in given:
        if name not in used:
            _raise_unknown_setting(name, settings, getattr(given[name], "option", name))
    return settings


def _raise_unknown_setting(name: str, settings: Settings, typed: str) -> NoReturn:
    """Raise an error that says why something given is not a setting, nor an option of the chosen components."""
    kind, _, option = ALIASES.get(name, (name,))[0].partition(".")
    if kind not in KINDS:
        check_choice("key", name, Settings.model_fields)
    component: Options | None = getattr(settings, kind)
    if component is None:
        raise InputError(f"{typed}: expected no {kind}, since {settings.family} takes none; got one")
    refuse_option(typed, option, f"{kind} {component.name}", dict(component.values()))


def refuse_option(typed: str, option: str, components: str, options: Collection[str]) -> NoReturn:
    """Raise an error for an option that components, such as ``"method float, direct"``, do not have."""
    if options:
        check_choice(f"{typed}: option of {components}", option, sorted(options))
    raise InputError(f"{typed}: expected no option of {components}, since there are none; got one")


def _option_names(kind: str, name: str | None) -> Collection[str] | None:
    """Options of a component; None if its code is not imported, so that it may have any."""
    if name is None:
        return ()
    return chosen(kind, name).options.model_fields.keys() - {"name"} if is_known(kind, name) else None


RunProgress = Callable[[str, str, int, int], object]
"""Progress callback of several runs: name of the run, stage (such as "train" or "predict"), units done, and total."""


@dataclass(frozen=True)
class Context:
    """Where and how runs are done, without effect on their results.

    Args:
        data_dir: folder of the data sets; see `tsnn_uq.data.data_folder`.
        jobs: number of parallel runs, each in its own process.
        checkpoint_seconds: minimum time between two checkpoints of a run.
        progress: called in this process with the progress of each run.
        device: device of trained networks; empty for the device that each was trained on.
        logs: additional logs of each training; see `tsnn_uq.experiments.run.LOGS`.
    """

    data_dir: str | Path | None = None
    jobs: int = 1
    checkpoint_seconds: float = 20.0
    progress: RunProgress = silent
    device: str = ""
    logs: tuple[str, ...] = ()

    def of(self, run: str) -> Progress:
        """The progress callback of one run."""
        return partial(self.progress, run)
