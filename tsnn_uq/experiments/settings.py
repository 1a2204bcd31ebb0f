"""The settings of one run: typed, nested, checked when made, read from and written to TOML.

Made with pydantic, which turns a component's signature into a checked model and says what is wrong with a value.
jsonargparse 4.53 was tried on ``compare`` in its place. It reads signatures and docstrings too, and its help is good,
so about 60 lines of ours would go. But it imports the module of a class path in a configuration file before it
refuses the class, and a stranger's file must not run code here. It has no `parse_known_args`, so the components have
to be found among the words before there is a parser of their options. It wants ``--network.hidden=[500,500]`` and
refuses ``500,500``. Presets, short names, lists of networks and settings whose code is not there would all stay ours.
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

from tsnn_uq import training
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
    "loss_times",
    "make_settings",
    "naming",
    "preset",
    "read_flat",
    "read_run",
    "refuse_option",
    "run_name",
    "silent",
    "suits_alike",
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
"""Short names of options that several of the package's components have, and the options that they set."""

Whole = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _component(kind: str, value: Any) -> Options | None:
    """The options of a chosen component, from its name, or from a table with its name and options."""
    if isinstance(value, Options) or (kind == "neuron" and value is None):
        return value
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise InputError(f"{kind}: expected a name, or a table with a name and options; got {value!r}")
    if kind == "regularizer" and table["name"] == "default":  # which may be another one in another version
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
    """The component of a name; of a sum of regularizers one without options."""
    if kind == "regularizer":
        terms = list(training.regularizer_terms(name))
        return find(kind, terms[0]) if len(terms) == 1 else Component(kind, name, _no_options)
    return find(kind, name)


def _no_options() -> None:
    """Of a sum."""


def _loss_times(text: str | None) -> str | None:
    """A text that `loss_times` can read."""
    check_loss_times(loss_times(text))
    return text


def loss_times(text: str | None) -> str | tuple[int, ...]:
    """When the loss is taken, for `tsnn_uq.training.FitSettings`."""
    if text is None or text == EVERY:
        return text or ()
    try:
        return tuple(map(int, text.split(",")))
    except ValueError:
        return text  # which is then refused by name


_Counts = Annotated[tuple[Count, Count], BeforeValidator(lambda value: tuple(value) if type(value) is list else value)]


class Settings(Checked):
    """Everything that decides the numbers of one run.

    Code that a file names and that is not known here keeps its name and options; making something with it is an error.
    Components are given by name, or by a table with ``name`` and options: ``network={"name": "dropout", "p": 0.1}``.

    Raises:
        InputError: an unknown name or option, a value of the wrong type or out of range, or values that do not go
            together.
    """

    model_config = ConfigDict(validate_default=True)

    data: Annotated[Any, BeforeValidator(partial(_component, "data"))] = Field("digits", description="data set")
    network: Annotated[Any, BeforeValidator(partial(_component, "network"))] = Field("dropout", description="network")
    neuron: Annotated[Any, BeforeValidator(partial(_component, "neuron"))] = Field(
        None, description="neuron of a network that takes one"
    )
    method: Annotated[Any, BeforeValidator(partial(_component, "method"))] = Field(
        "float", description="training method"
    )
    regularizer: Annotated[Any, BeforeValidator(partial(_component, "regularizer"))] = Field(
        "none", description="uncertainty term in the loss, a sum such as variance:5+outliers:0.5, or default"
    )
    seed: Whole = Field(0, description="seed of validation split, initial weights, data order and masks")
    folds: Whole = Field(0, description="K of a K-fold cross-validation, whose fold is the seed modulo K; 0 for none")
    train_limit: Whole = Field(0, description="use only so many training inputs; 0 for all")
    epochs: Count = Field(60, description="passes over the training set")
    batch_size: Count = Field(32, description="inputs in a training step")
    learning_rate: Positive = Field(2e-3, description="peak of the one-cycle learning rate")
    weight_decay: Fraction = Field(0.01, description="decoupled weight decay (AdamW)")
    loss: Literal["cross-entropy", "spike-count"] = Field(
        "cross-entropy", description="loss of the logits, or of the numbers of output spikes"
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
        "cpu", description="where its networks run: cpu, cuda, cuda:1, mps, or auto, the first that is here"
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
        for kind in ("neuron", "method", "regularizer"):  # each refuses what it cannot be made with
            if not isinstance(getattr(self, kind), Unknown):
                made = self.make(kind)
                if kind == "neuron" and made is not None and not isinstance(self.network, Unknown):
                    chosen("network", self.family).require("neuron", made)
        return self

    def make(self, kind: str, **handed: Any) -> Any:
        """What the chosen component of a kind makes, with those of the `handed` values that it takes; None for none."""
        options = getattr(self, kind)
        return None if options is None else chosen(kind, options.name)(options, **handed)

    def require(self, kind: str) -> None:
        """Raise if the component of a kind is code that a file names and this process does not know."""
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
        """Where they come from: ``"own"``, ``"float"``, or the path of a run's folder or of a folder of runs.

        A taught network starts from its teacher's unless settings say otherwise: all it has to learn is to be ternary.
        """
        return self.start_from or self.teacher_from or ("float" if self.taught else "own")

    @property
    def needs_float(self) -> bool:
        """Whether `teacher` has to be there first."""
        return not self.teacher_from and (self.taught or self.first_weights == "float")

    def teacher(self) -> Settings:
        """The float run with the same seed and network: a taught run's teacher, and where others may start.

        Where all start from a run's folder, it does so too, for the same budget.
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
        """The same settings but for some; options may have their short names, see `ALIASES`.

        Options of another component than before are the same where it has them.
        """
        return _resolved(changes, self.flat())

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """From what `flat` gives, as it is: nothing that suits data or network comes in between."""
        return _resolved(config)

    def flat(self) -> dict[str, Any]:
        """All settings by dotted names: ``network`` is its name, ``network.hidden`` an option."""
        return flat(self.model_dump())

    def save(self, path: str | Path) -> None:
        """Write as TOML, atomically."""
        write_toml(path, self.model_dump(exclude_none=True))

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
    """Name of a folder, such as ``dropout-all-direct-0``; of the code ``mine.py:build`` it has ``mine-build``."""
    return "-".join(re.sub(r"\W+", "-", str(part).replace(".py:", ":")) for part in parts)


def flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """A nested table of settings by dotted names."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key in KINDS and isinstance(value, Mapping):
            found |= {key if name == "name" else f"{key}.{name}": option for name, option in value.items()}
        else:
            found[key] = value
    return found


def read_flat(path: str | Path) -> dict[str, Any]:
    """The settings in a TOML file by dotted names."""
    return flat(read_toml(path))


def read_run(path: str | Path) -> dict[str, Any]:
    """All settings of a run by dotted names; one from before there were devices ran on the processor."""
    return {"device": "cpu", **read_flat(path)}


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Put the name of a file before what is wrong in it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def preset(data: str, network: str) -> dict[str, Any]:
    """The settings that suit a data set and a network, by dotted names."""
    ours, theirs = (
        find(kind, name).suits if is_known(kind, name) else {} for kind, name in (("data", data), ("network", network))
    )
    return {**ours.get("", {}), **theirs.get("", {}), **ours.get(network, {}), **theirs.get(data, {})}


def suits_alike(one: str, other: str, data: str) -> bool:
    """Whether two networks take the same options on a data set, and the same settings suit both."""
    names = [_option_names("network", name) for name in (one, other)]
    return one == other or (None not in names and names[0] == names[1] and preset(data, one) == preset(data, other))


def make_settings(given: Mapping[str, Any], config: str | Path | Mapping[str, Any] | None = None) -> Settings:
    """Settings from what suits data set and network, over it those of a file, over them the `given`.

    Args:
        given: by dotted or short names; see `ALIASES`.
        config: a TOML file, which may hold a part of the settings, or what is in it. Where data set or network are not
            those of the file, what suits the new ones goes before the file.

    Raises:
        InputError: an option that no chosen component has, or what making the settings raises.
    """
    given, base = flat(given), flat(config) if isinstance(config, Mapping) else {}
    if isinstance(config, str | Path):
        base = read_flat(config)
        with naming(config):
            make_settings(base)
    data, network = (_name(kind, given, base) for kind in ("data", "network"))
    suits = preset(data, network)
    if base and (data != _name("data", base) or not suits_alike(_name("network", base), network, data)):
        base |= suits
    return _resolved(given, base, suits)


def _name(kind: str, *tables: Mapping[str, Any]) -> Any:
    """Name of a component in the first of some tables that says one."""
    keys = (kind, *(alias for alias, targets in ALIASES.items() if targets == (kind,)))
    found = next((table[key] for table in tables for key in keys if table.get(key) is not None), None)
    name = Settings.model_fields[kind].default if found is None else found
    if name is not None and not isinstance(name, str):
        raise InputError(f"{kind}: expected the name of a component; got {name!r}")
    return name


def _resolved(
    given: Mapping[str, Any], base: Mapping[str, Any] | None = None, suits: Mapping[str, Any] | None = None
) -> Settings:
    """Settings from `suits`, over it `base`, over it `given`, of which nothing may be left over."""
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
            _refuse(name, settings, getattr(given[name], "option", name))
    return settings


def _refuse(name: str, settings: Settings, typed: str) -> NoReturn:
    """Say why something given is no setting, and no option of the chosen components."""
    kind, _, option = ALIASES.get(name, (name,))[0].partition(".")
    if kind not in KINDS:
        check_choice("key", name, Settings.model_fields)
    component: Options | None = getattr(settings, kind)
    if component is None:
        raise InputError(f"{typed}: expected no {kind}, since {settings.family} takes none; got one")
    refuse_option(typed, option, f"{kind} {component.name}", dict(component.values()))


def refuse_option(typed: str, option: str, components: str, options: Collection[str]) -> NoReturn:
    """Say why something given is none of the options of components, such as ``"method float, direct"``."""
    if options:
        check_choice(f"{typed}: option of {components}", option, sorted(options))
    raise InputError(f"{typed}: expected no option of {components}, since there are none; got one")


def _option_names(kind: str, name: str | None) -> Collection[str] | None:
    """Options of a component; None for code that is not known, which may have any."""
    if name is None:
        return ()
    return chosen(kind, name).options.model_fields.keys() - {"name"} if is_known(kind, name) else None


RunProgress = Callable[[str, str, int, int], object]
"""A `Progress` with the name of a run before it: what is done, such as "train" or "predict", units done, and in all."""


@dataclass(frozen=True)
class Context:
    """Where and how runs are done, which does not change their numbers.

    Args:
        data_dir: where the data are; see `tsnn_uq.data.data_folder`.
        jobs: runs side by side, each in a process of its own.
        checkpoint_seconds: least time between two checkpoints of a run.
        progress: called, in this process, with what each run does.
        device: where trained networks run; empty for the device that each was trained on.
        logs: what else each training writes into its folder; see `tsnn_uq.experiments.run.LOGS`.
    """

    data_dir: str | Path | None = None
    jobs: int = 1
    checkpoint_seconds: float = 20.0
    progress: RunProgress = silent
    device: str = ""
    logs: tuple[str, ...] = ()

    def of(self, run: str) -> Progress:
        """The progress of one run."""
        return partial(self.progress, run)
