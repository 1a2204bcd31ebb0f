from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.experiments import tiny
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import PRESETS, RunConfig, make_run, preset
from tsnn_uq.training import DEFAULT_REGULARIZER, regularizer_terms

counts = st.integers(1, 10**6)
fractions = st.sampled_from([0.0, 1.0, 0.1]) | st.floats(0, 1)
positive = st.sampled_from([5e-324, 1e300]) | st.floats(0, exclude_min=True, allow_infinity=False)
RANGES = {
    "seed": st.integers(0, 2**63 - 1),
    "hidden": st.lists(counts, min_size=1, max_size=3).map(tuple),
    "p": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "threshold": positive,
    "sharpness": positive,
    "learning_rate": positive,
    "temperature": positive,
    "regularizer_warm_up": fractions,
    "decay": fractions,
    "distill_weight": fractions,
    "weight_decay": fractions,
    "train_limit": st.integers(0, 10**6),
    "folds": st.just(0) | st.integers(3, 9),
    "float_epochs": st.integers(0, 10**6),
    "start_from": st.sampled_from(["", "own", "float", "some/folder"]),
    "float_learning_rate": st.just(0.0) | positive,
    "wanted_counts": st.tuples(counts, counts),
    **dict.fromkeys(("tau_s", "tau_r", "tau_rho", "bin_ms"), positive),
    **dict.fromkeys(("steps", "epochs", "batch_size", "samples", "bins", "threads"), counts),
}
CHOICES = {item.name: item.metadata["choices"] for item in fields(RunConfig) if "choices" in item.metadata}


@st.composite
def configs(draw):
    """Settings from all over their ranges; what has to go together does."""
    independent = [name for name in CHOICES if name not in ("method", "quantized_part", "rule")]
    values = {name: draw(st.sampled_from(CHOICES[name])) for name in independent}
    values |= {name: draw(values) for name, values in RANGES.items()}
    values["start"], values["end"] = sorted(draw(st.tuples(fractions, fractions)))
    values["method"] = draw(st.sampled_from(CHOICES["method"]))
    if values["method"] != "float":
        values["quantized_part"] = draw(st.sampled_from(["all", "conv", "fc"]))
        values["factor"] = draw(st.sampled_from([0.0, 0.7]))
    if values["loss"] == "spike-count":
        values["readout"] = "spikes"
    if draw(st.booleans()):
        values |= {"regularizer": "variance", "regularizer_weight": draw(positive)}
    elif draw(st.booleans()):
        values["regularizer"] = f"entropy:{draw(positive)}+membrane:{draw(positive)}"
    return RunConfig(**values)


@given(configs())
def test_it_comes_back_from_toml(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    config.save(path)
    assert RunConfig.load(path) == config
    assert make_run(path, {}) == config


def test_it_cannot_be_changed_and_says_what_each_setting_is():
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'epochs'"):
        RunConfig().epochs = 3
    for item in fields(RunConfig):
        assert len(item.metadata["about"]) > 5
        assert ("choices" in item.metadata) != ("check" in item.metadata)


def test_a_part_of_a_file_is_filled_up_with_what_suits_the_data_set(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('data = "mnist"\nepochs = 1\nlearning_rate = 1\n')
    config = RunConfig.load(path)
    assert config == RunConfig(data="mnist", hidden=(500, 500, 500), batch_size=128, epochs=1, learning_rate=1.0)
    assert isinstance(config.learning_rate, float)
    path.write_text("")
    assert RunConfig.load(path) == RunConfig(**preset("digits"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("epoch = 3", r"toml: key: expected one of data, .*; got 'epoch' \(did you mean 'epochs'\?\)$"),
        ("run = 3", r"toml: key: expected one of data, .*; got 'run'"),
        ('epochs = "3"', "toml: epochs: expected a whole number; got '3'"),
        ("epochs = 3.0", "toml: epochs: expected a whole number; got 3.0"),
        ("epochs = true", "toml: epochs: expected a whole number; got True"),
        ('p = "0.2"', "toml: p: expected a number; got '0.2'"),
        ("p = false", "toml: p: expected a number; got False"),
        ("p = nan", "toml: p: expected 0 <= value < 1; got nan"),
        ("hidden = 128", "toml: hidden: expected a list; got 128"),
        ('hidden = ["128"]', "toml: hidden: expected a positive whole number; got '128'"),
        ("hidden = []", r"toml: hidden: expected a tuple of at least one whole number; got \(\)"),
        ("family = 1", "toml: family: expected one of .*; got 1"),
        ('data = "minst"', r"toml: data: expected one of .*; got 'minst' \(did you mean 'mnist'\?\)"),
        ("data = [1]", r"toml: data: expected one of .*; got \[1\]"),
        ("epochs = 0", "toml: epochs: expected a positive whole number; got 0"),
        ("epochs 3", r"toml: expected a TOML file; it is damaged or foreign"),
    ],
)
def test_a_bad_file_is_one_line_with_its_name(tmp_path, text, match):
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(InputError, match=match) as error:
        RunConfig.load(tmp_path / "my.toml")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"none\.toml: expected a readable TOML file; No such file"):
        RunConfig.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (
            dict(family="dropot"),
            r"family: expected one of dropconnect, .*; got 'dropot' \(did you mean 'dropout'",
        ),
        (dict(method="indirekt"), r"method: expected one of .*; got 'indirekt' \(did you mean 'indirect'\?\)"),
        (dict(method="direct"), "quantized_part: expected one of all, conv, fc; got 'none'"),
        (dict(quantized_part="all"), "quantized_part: expected one of none; got 'all'"),
        (dict(seed=-1), "seed: expected a whole number of at least 0; got -1"),
        (dict(seed=1.0), r"seed: expected a whole number of at least 0; got 1\.0"),
        (dict(train_limit=True), "train_limit: expected a whole number of at least 0; got True"),
        (dict(hidden=[8]), r"hidden: expected a tuple of at least one whole number; got \[8\]"),
        (dict(hidden=(8, 0)), "hidden: expected a positive whole number; got 0"),
        (dict(p=1.0), "p: expected 0 <= value < 1; got 1.0"),
        (dict(p=0.0), "p: expected above 0, since otherwise nothing would be random; got 0"),
        (dict(factor=-0.1), r"factor: expected a number of at least 0; got -0\.1"),
        (dict(factor=math.inf), "factor: expected a number of at least 0; got inf"),
        (dict(folds=2), "folds: expected 0, or at least 3: to test, to validate and to train; got 2"),
        (dict(start=0.5, end=0.4), "start: expected at most end, 0.4; got 0.5"),
        (
            dict(regularizer="variance"),
            "regularizer_weight: expected above 0 with a regularizer .* got 0.0 with 'varia",
        ),
        (
            dict(regularizer_weight=1.0),
            "regularizer_weight: expected above 0 with a regularizer .* got 1.0 with 'none'",
        ),
        (
            dict(regularizer="variance:5+entropy:1", regularizer_weight=1.0),
            r"regularizer_weight: .*, or with weights in its text; got 1.0 with 'variance:5\+entropy:1'",
        ),
        (dict(regularizer="varaince:5"), r"regularizer: expected one of none, .*; got 'varaince' \(did you mean 'var"),
        (dict(regularizer="variance+entropy"), "regularizer: expected name:weight.name:weight with weights above 0"),
        (dict(regularizer=5), "regularizer: expected text; got 5"),
        (dict(regularizer_warm_up=1.5), "regularizer_warm_up: expected 0 <= value <= 1; got 1.5"),
        (
            dict(method="indirect", regularizer="quantization-gap:1"),
            "regularizer: expected no quantization-gap with indirect .only direct keeps the float copy",
        ),
        (dict(coding="events", regularizer="outliers:0.5"), "regularizer: expected no outliers of events; they are"),
        (dict(method="indirect", rule="learned"), "rule: expected one that is not learned for method indirect; choose"),
        (dict(method="distill", rule="learned"), "rule: expected one that is not learned for method distill; choose"),
        (dict(method="direct", rule="mean-rounding", factor=0.5), "factor: expected 0, since the rule mean-rounding"),
        (dict(loss="spike-count"), "loss: expected readout spikes and two wanted_counts for spike-count; got current"),
        (dict(start_from=3), "from: expected text; got 3"),
        (dict(method="direct", rule="quantile", factor=1.0), "sparsity: expected 0 <= value < 1; got 1.0"),
    ],
)
def test_what_cannot_be_is_refused_when_made(settings, match):
    if "method" in settings and len(settings) > 1:
        settings = {"quantized_part": "all", **settings}
    with pytest.raises(InputError, match=match):
        RunConfig(**settings)


def test_rate_coding_is_random_enough():
    assert RunConfig(p=0.0, coding="rate").p == 0


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (dict(method="direct"), {"factor": 0.8}),
        (dict(method="indirect"), {"factor": 1.1}),
        (dict(method="distill"), {"factor": 1.17}),
        (dict(method="direct", factor=0.6), {"factor": 0.6}),
        (dict(method="direct", rule="learned"), {"factor": 0.8}),
        (dict(method="indirect", rule="quantile"), {"sparsity": 0.5}),
        (dict(method="indirect", rule="quantile", factor=0.8), {"sparsity": 0.8}),
        (dict(method="direct", rule="mean-rounding"), {}),
    ],
)
def test_the_rule_gets_its_options(settings, options):
    assert tiny(**settings).rule_options() == options


def test_a_teacher_is_the_float_run_with_the_same_budget():
    student = tiny(method="distill", family="dropconnect", seed=3)
    teacher = student.teacher()
    assert (teacher.name, student.name) == ("dropconnect-none-float-3", "dropconnect-all-distill-3")
    differing = {key for key, value in asdict(student).items() if asdict(teacher)[key] != value}
    assert differing == {"method", "quantized_part"}
    assert teacher.teacher() == teacher


def test_a_float_run_to_start_from_may_have_its_own_budget():
    config = tiny(method="direct", start_from="float", float_epochs=9, float_learning_rate=0.5)
    float_run = config.teacher()
    assert (float_run.epochs, float_run.learning_rate, float_run.first_weights) == (9, 0.5, "own")
    assert float_run.teacher() == float_run
    both = tiny(method="direct", start_from="some/runs")
    assert both.teacher().first_weights == "some/runs"
    assert (config.needs_float, float_run.needs_float, tiny(method="direct").needs_float) == (True, False, False)


def test_a_student_starts_from_its_teacher_unless_told_otherwise():
    student = tiny(method="distill")
    assert (student.first_weights, student.needs_float) == ("float", True)
    own = tiny(method="distill", start_from="own")
    assert (own.first_weights, own.needs_float) == ("own", True)


def test_what_is_given_goes_before_the_file_and_that_before_the_preset(tmp_path):
    assert make_run(None, {}) == RunConfig(**PRESETS["digits"])
    assert make_run(None, {"family": "plif"}) == RunConfig(**preset("digits", "plif"))
    assert make_run(None, {"family": "plif", "data": "mnist", "p": 0.1}).hidden == (128, 128, 2048)
    assert make_run(None, {"data": "mnist"}) == RunConfig(**preset("mnist"))
    assert make_run(None, {"method": "direct"}).quantized_part == "all"
    assert make_run(None, {"method": "direct", "quantized_part": "fc"}).quantized_part == "fc"
    path = tmp_path / "config.toml"
    tiny(method="direct", quantized_part="fc", epochs=7).save(path)
    assert make_run(path, {"epochs": 5}) == tiny(method="direct", quantized_part="fc", epochs=5)
    assert make_run(path, {"method": "indirect"}).quantized_part == "fc"
    assert make_run(path, {"method": "float"}).quantized_part == "none"
    other = make_run(path, {"data": "mnist"})
    assert (other.hidden, other.epochs, other.steps) == ((500, 500, 500), 18, 2)
    alike, unlike = (make_run(path, {"method": "float", "family": family}) for family in ("dropconnect", "plif"))
    assert (alike.hidden, alike.epochs, alike.reset) == ((8,), 7, "soft")
    assert (unlike.hidden, unlike.epochs, unlike.reset) == ((16, 16, 128), 20, "hard")
    with pytest.raises(InputError, match=r"data: expected one of digits, .*; got 'digit'"):
        make_run(None, {"data": "digit"})


def test_the_default_term_is_named_in_what_is_kept():
    config = RunConfig(regularizer="default")
    assert config.regularizer == DEFAULT_REGULARIZER
    assert config == RunConfig(regularizer=DEFAULT_REGULARIZER)
    assert regularizer_terms("default") == regularizer_terms(DEFAULT_REGULARIZER)
