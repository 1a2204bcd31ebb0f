"""What settings there are, what suits what, and what is refused, by one line that names it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.helpers.experiments import tiny
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Settings, make_settings
from tsnn_uq.experiments.settings import ALIASES, loss_times
from tsnn_uq.training import DEFAULT_REGULARIZER, regularizer_terms

counts = st.integers(1, 10**6)
positive = st.sampled_from([5e-324, 1e300]) | st.floats(0, exclude_min=True, allow_infinity=False)
RANGES = {
    "network": st.sampled_from(["dropout", "dropconnect", "plif", "slayer"]),
    "method": st.sampled_from(["float", "direct", "indirect", "distill"]),
    "seed": st.integers(0, 2**63 - 1),
    "hidden": st.lists(counts, min_size=2, max_size=3).map(tuple),
    "p": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "threshold": positive,
    "learning_rate": positive,
    "weight_decay": st.sampled_from([0.0, 1.0, 0.1]) | st.floats(0, 1),
    "train_limit": st.integers(0, 10**6),
    "folds": st.just(0) | st.integers(3, 9),
    "start_from": st.sampled_from(["", "own", "float", "some/folder"]),
    "float_learning_rate": st.just(0.0) | positive,
    "wanted_counts": st.tuples(counts, counts),
    "regularizer": st.sampled_from(["none", "entropy:0.5+membrane:1e-3", "variance:5"]),
    **dict.fromkeys(("steps", "epochs", "batch_size", "samples", "bins", "threads"), counts),
}


@given(st.fixed_dictionaries(RANGES))
def test_they_come_back_from_toml_and_from_plain_values(tmp_path_factory, given):
    settings = make_settings(given)
    path = tmp_path_factory.mktemp("settings") / "config.toml"
    settings.save(path)
    assert Settings.load(path) == settings == make_settings({}, path) == Settings.of(settings.flat())
    assert hash(Settings.load(path)) == hash(settings)


def test_they_cannot_be_changed_and_say_what_each_is():
    with pytest.raises(ValidationError, match="frozen"):
        make_settings({}).epochs = 3
    assert all(len(field.description) > 5 for field in Settings.model_fields.values())


def test_a_part_of_a_file_is_filled_up_with_what_suits_the_data_set(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('epochs = 1\nlearning_rate = 1\ndata = "mnist"\n[network]\nname = "plif"\np = 0.25\n')
    settings = make_settings({}, path)
    assert settings == make_settings(
        {"data": "mnist", "network": "plif", "network.p": 0.25, "epochs": 1, "learning_rate": 1.0}
    )
    assert (settings.network.hidden, settings.neuron.reset, settings.batch_size) == ((128, 128, 2048), "hard", 64)
    assert isinstance(settings.learning_rate, float)
    with pytest.raises(InputError, match=r"config\.toml: expected all settings of a run"):
        Settings.load(path)


def test_when_the_loss_is_taken_is_a_word_or_steps_and_older_runs_say_nothing_of_it(tmp_path):
    for text, times in ((None, ()), ("every", "every"), ("1,4", (1, 4))):
        settings = make_settings({"loss_over_time": text})
        assert loss_times(settings.loss_over_time) == times
        settings.save(tmp_path / "config.toml")
        assert Settings.load(tmp_path / "config.toml") == settings
        assert ("loss_over_time" in (tmp_path / "config.toml").read_text()) == (text is not None)
    for text in ("each", "0", "2,2"):
        with pytest.raises(InputError, match="loss_over_time: expected"):
            make_settings({"loss_over_time": text})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("epoch = 3", "toml: key: expected one of"),
        ('epochs = "3"', "toml: epochs: expected a valid integer"),
        ("epochs = 3.0", "toml: epochs: expected a valid integer"),
        ("epochs = true", "toml: epochs: expected a valid integer"),
        ("epochs = 0", "toml: epochs: expected greater than or equal to 1"),
        ('p = "0.2"', r"toml: network\.p: expected a valid number"),
        ("hidden = 128", r"toml: network\.hidden: expected a valid tuple"),
        ('[network]\nname = "dropout"\nhidden = ["128"]', r"toml: network\.hidden: expected a valid integer"),
        ("[network]\nhiden = [8]", r"toml: network\.hiden: option of network dropout: .*did you mean 'hidden'"),
        ("network = 1", "toml: network: expected the name of a component"),
        ('methods = [["float"]]', "toml: key: expected one of"),
        ('data = "minst"', "toml: data: expected one of"),
        ("epochs 3", "toml: expected a TOML file; it is damaged"),
    ],
)
def test_a_bad_file_is_one_line_with_its_name(tmp_path, text, match):
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(InputError, match=match) as error:
        make_settings({}, tmp_path / "my.toml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (dict(family="dropot"), "network: expected one of"),
        (dict(method="indirekt"), "method: expected one of"),
        (dict(method="direct", quantized_part="none"), "quantized_part: expected one of"),
        (dict(quantized_part="all"), "quantized_part: expected no option of method float"),
        (dict(tau_s=3.0), "tau_s: option of neuron lif: expected one of"),
        (dict(start=0.1), "start: expected no option of method float"),
        (dict(method="direct", start=0.1), "start: option of method direct: expected one of"),
        (dict(skip_bad=True), "skip_bad: expected no option of data digits"),
        ({"network.neuron": "x"}, r"network\.neuron: option of network dropout: expected one of"),
        ({"neuron": "srm"}, "neuron: expected LIFParameters.* for network dropout"),
        (dict(seed=-1), "seed: expected greater than or equal to 0"),
        (dict(seed=1.0), "seed: expected a valid integer"),
        (dict(hidden=(10**20,)), r"network\.hidden: expected less than"),
        (dict(learning_rate=math.nan), "learning_rate: expected"),
        (dict(method="direct", factor=-0.1), "factor: expected a number of at least 0"),
        (dict(folds=2), "folds: expected 0, or at least 3: to test, to validate and to train"),
        (dict(method="indirect", start=0.5, end=0.4), "start: expected at most end, 0.4"),
        (dict(regularizer="variance"), "regularizer_weight: expected above 0 with a regularizer"),
        (dict(regularizer_weight=1.0), "regularizer_weight: expected above 0 with a regularizer .* 1.0 with 'none'"),
        (dict(regularizer="varaince:5"), "regularizer: expected one of"),
        (dict(regularizer="variance+entropy"), "regularizer: expected name:weight.name:weight with weights above 0"),
        (dict(regularizer=5), "regularizer: expected the name of a component"),
        ({"regularizer": "variance:5", "regularizer.passes": 1}, "passes: expected at least 2"),
        ({"regularizer": "variance:5+entropy:1", "regularizer.passes": 3}, "passes: expected no option of regul"),
        (dict(method="indirect", regularizer="quantization-gap:1"), "regularizer: expected no quantization-gap"),
        (dict(coding="events", regularizer="outliers:0.5"), "regularizer: expected no outliers with events"),
        (dict(method="indirect", rule="learned"), "rule: expected one that is not learned"),
        (dict(method="direct", rule="mean-rounding", factor=0.5), "factor: expected 0, since the rule mean-rounding"),
        (dict(method="direct", rule="quantile", factor=1.0), "sparsity: expected 0 <= value < 1"),
        (dict(loss="spike-count"), "loss: expected readout spikes for spike-count"),
        (dict(teacher_from="x"), "teacher: expected none for method float"),
    ],
)
def test_what_cannot_be_is_refused_when_made(given, match):
    with pytest.raises(InputError, match=match) as error:
        make_settings(given)
    assert "\n" not in str(error.value)


def test_every_short_name_sets_an_option_that_is_there():
    for name, targets in ALIASES.items():
        kinds = {target.partition(".")[0] for target in targets}
        assert kinds <= set(Settings.model_fields), name


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (dict(method="direct"), {"factor": 0.8}),
        (dict(method="direct", factor=0.6), {"factor": 0.6}),
        (dict(method="direct", rule="learned"), {"factor": 0.8}),
        (dict(method="direct", rule="quantile"), {"sparsity": 0.5}),
        (dict(method="direct", rule="quantile", factor=0.8), {"sparsity": 0.8}),
        (dict(method="direct", rule="mean-rounding"), {}),
    ],
)
def test_the_rule_gets_its_options(given, options):
    assert tiny(**given).make("method").options == options


def test_a_term_takes_its_options():
    assert tiny(**{"regularizer": "variance:5", "regularizer.passes": 3}).make("regularizer").passes == 3


def test_a_teacher_is_the_float_run_with_the_same_budget():
    student = tiny(method="distill", family="dropconnect", seed=3)
    teacher = student.teacher()
    assert (teacher.name, student.name) == ("dropconnect-none-float-3", "dropconnect-all-distill-3")
    ours, theirs = student.flat(), teacher.flat()
    assert {name for name in ours if ours[name] != theirs.get(name) and not name.startswith("method")} == set()
    assert teacher.teacher() == teacher


def test_a_float_run_to_start_from_may_have_its_own_budget():
    settings = tiny(method="direct", start_from="float", float_epochs=9, float_learning_rate=0.5)
    float_run = settings.teacher()
    assert (float_run.epochs, float_run.learning_rate, float_run.first_weights) == (9, 0.5, "own")
    assert float_run.teacher() == float_run
    both = tiny(method="direct", start_from="some/runs")
    assert both.teacher().first_weights == "some/runs"
    assert (settings.needs_float, float_run.needs_float, tiny(method="direct").needs_float) == (True, False, False)


def test_a_student_starts_from_its_teacher_unless_told_otherwise():
    student = tiny(method="distill")
    assert (student.first_weights, student.needs_float) == ("float", True)
    own = tiny(method="distill", start_from="own")
    assert (own.first_weights, own.needs_float) == ("own", True)


def test_what_is_given_goes_before_the_file_and_that_before_the_preset(tmp_path):
    plif = make_settings({"family": "plif"})
    assert (plif.network.hidden, plif.epochs, plif.neuron.reset) == ((16, 16, 128), 20, "hard")
    assert make_settings({"family": "plif", "data": "mnist", "p": 0.1}).network.p == 0.1
    assert make_settings({"method": "direct"}).quantized_part == "all"
    path = tmp_path / "config.toml"
    tiny(method="direct", quantized_part="fc", epochs=7).save(path)
    assert make_settings({"epochs": 5}, path) == tiny(method="direct", quantized_part="fc", epochs=5)
    assert make_settings({"method": "indirect"}, path).quantized_part == "fc"
    assert make_settings({"method": "float"}, path).quantized_part == "none"
    other = make_settings({"data": "mnist"}, path)
    assert (other.network.hidden, other.epochs, other.samples) == ((500, 500, 500), 18, 2)
    alike, unlike = (make_settings({"method": "float", "family": family}, path) for family in ("dropconnect", "plif"))
    assert (alike.network.hidden, alike.epochs, alike.neuron.reset) == ((8,), 7, "soft")
    assert (unlike.network.hidden, unlike.epochs, unlike.neuron.reset) == ((16, 16, 128), 20, "hard")


def test_the_default_term_is_named_in_what_is_kept():
    settings = make_settings({"regularizer": "default"})
    assert settings.regularizer.name == DEFAULT_REGULARIZER
    assert settings == make_settings({"regularizer": DEFAULT_REGULARIZER})
    assert regularizer_terms("default") == regularizer_terms(DEFAULT_REGULARIZER)
