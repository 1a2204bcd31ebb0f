"""Where first weights come from, which loss is taken, and what is refused before any work is lost."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.experiments import tiny
from tests.helpers.training import same
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import load_network, run
from tsnn_uq.experiments.run import _take_first_weights, make_method, make_regularizer
from tsnn_uq.experiments.storage import build_network
from tsnn_uq.training import OutlierExposure, QuantizationGapRegularizer, Regularizer, VarianceRegularizer, WeightedSum
from tsnn_uq.training.losses import spike_count


@pytest.fixture(scope="module")
def float_runs(tmp_path_factory):
    runs = tmp_path_factory.mktemp("float")
    run(tiny(), runs)
    return runs


def begun(config, runs):
    network = build_network(config, (1, 8, 8), 10)
    _take_first_weights(network, config, runs)
    return network.eval()


def test_weights_are_a_runs_own_unless_it_is_told_where_to_start(float_runs, tmp_path):
    folder = float_runs / tiny().name
    trained = load_network(folder)
    own = build_network(tiny(), (1, 8, 8), 10)
    assert same(begun(tiny(method="direct"), float_runs), own)
    assert same(begun(tiny(method="distill", start_from="own"), float_runs), own)
    for config, runs in (
        (tiny(method="direct", start_from="float"), float_runs),
        (tiny(method="direct", start_from=str(folder)), tmp_path),
        (tiny(method="indirect", start_from=str(float_runs)), tmp_path),
        (tiny(method="distill"), float_runs),
    ):
        assert same(begun(config, runs), trained)
    assert not same(trained, own)


def test_the_float_run_is_trained_if_it_is_missing(tmp_path):
    config = tiny(method="direct", start_from="float", float_epochs=1, float_learning_rate=1e-3)
    row = run(config, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [config.name, config.teacher().name]
    assert row["method"] == "direct"
    assert run(config.teacher(), tmp_path)["epochs"] == 1


def test_training_goes_on_from_a_runs_weights(float_runs, tmp_path):
    """A direct network that hardly learns keeps the codes of the float network it starts from."""
    config = tiny(method="direct", start_from=str(float_runs), learning_rate=1e-9, epochs=1)
    run(config, tmp_path)
    layers = [(load_network(folder)) for folder in (float_runs / tiny().name, tmp_path / config.name)]
    for weight, ternary in zip(*(network.parameters() for network in layers), strict=True):
        codes = torch.where(weight.abs() > 0.8 * weight.abs().mean(), weight.sign(), 0)
        assert (ternary.sign() == codes).double().mean() > 0.999


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (dict(hidden=(9,)), r"from: expected a run with network\.hidden = \[9\]"),
        (dict(family="dropconnect"), "from: expected a run with network = 'dropconnect'"),
    ],
)
def test_a_run_of_another_network_is_refused_before_anything_is_done(float_runs, tmp_path, settings, match):
    folder = float_runs / tiny().name
    with pytest.raises(InputError, match=match):
        run(tiny(method="direct", start_from=str(folder), **settings), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there_is_refused(float_runs, tmp_path):
    for place, seed in ((tmp_path / "nowhere", 0), (float_runs, 7)):
        with pytest.raises(
            InputError, match=r"from: expected own, float, the folder of a finished training or one that"
        ):
            run(tiny(method="direct", start_from=str(place), seed=seed), tmp_path)


def test_a_run_does_not_start_from_itself(float_runs):
    config = tiny(start_from=str(float_runs), seed=0)
    with pytest.raises(InputError, match="from: expected another folder than"):
        run(config, float_runs)


def test_float_and_ternary_may_start_from_the_same_run_for_the_same_budget(float_runs, tmp_path):
    first = load_network(float_runs / tiny().name)
    for method in ("float", "direct"):
        config = tiny(method=method, start_from=str(float_runs))
        assert same(begun(config, tmp_path), first)
    student = tiny(method="distill", start_from=str(float_runs))
    assert student.teacher() == tiny(start_from=str(float_runs))


def test_a_student_learns_from_the_teacher_it_is_given(float_runs, tmp_path):
    """Its own settings may differ from the teacher's, and no other float run is trained."""
    config = tiny(method="distill", teacher_from=str(float_runs), regularizer="variance", regularizer_weight=1.0)
    assert same(begun(config, tmp_path), load_network(float_runs / tiny().name))
    run(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [config.name]
    with_its_own = tmp_path / "own"
    run(tiny(method="distill"), with_its_own)
    run(tiny(method="distill", teacher_from=str(float_runs / tiny().name)), tmp_path / "given")
    ours, theirs = (load_network(place / config.name) for place in (with_its_own, tmp_path / "given"))
    assert same(ours, theirs)


def test_a_teacher_that_is_not_there_or_is_not_alike_is_refused(float_runs, tmp_path):
    with pytest.raises(InputError, match="teacher: expected the folder of a finished"):
        run(tiny(method="distill", teacher_from=str(tmp_path)), tmp_path / "runs")
    with pytest.raises(InputError, match=r"teacher: expected a run with network\.hidden = \[9\]"):
        run(tiny(method="distill", teacher_from=str(float_runs), start_from="own", hidden=(9,)), tmp_path / "runs")
    with pytest.raises(InputError, match="teacher: expected none for method direct"):
        tiny(method="direct", teacher_from="x")


def test_a_method_that_needs_a_teacher_says_so():
    with pytest.raises(InputError, match="teacher: expected the network of a float run for method distill"):
        make_method(tiny(method="distill"))


def test_a_run_of_another_shape_of_data_is_refused(float_runs):
    config = tiny(method="direct", start_from=str(float_runs))
    network = build_network(config, (1, 9, 9), 10)
    with pytest.raises(InputError, match="from: expected a run with a network"):
        _take_first_weights(network, config, float_runs)


def test_the_loss_is_the_chosen_one(tmp_path):
    counts, target = torch.rand(1, 6, 10) * 30, torch.arange(6)
    config = tiny(family="slayer", loss="spike-count", wanted_counts=(20, 3))
    value = make_method(config).loss(counts, target, target)
    torch.testing.assert_close(value, spike_count(counts[0], target, (20.0, 3.0)))
    row = run(config, tmp_path)
    assert 0 <= row["accuracy"] <= 1


def test_the_uncertainty_term_and_its_weight():
    one = tiny(regularizer="variance", regularizer_weight=3.0)
    assert make_regularizer(one) == (VarianceRegularizer(), 3.0)
    both = tiny(method="direct", regularizer="outliers:0.5+quantization-gap:2")
    assert make_regularizer(both) == (WeightedSum([(0.5, OutlierExposure()), (2.0, QuantizationGapRegularizer())]), 1.0)
    of_float = both.teacher()
    assert make_regularizer(of_float) == (WeightedSum([(0.5, OutlierExposure())]), 1.0)
    term, weight = make_regularizer(tiny(regularizer="quantization-gap", regularizer_weight=2.0))
    assert (type(term), weight) == (Regularizer, 0.0)
    term, weight = make_regularizer(tiny())
    assert (type(term), weight) == (Regularizer, 0.0)


def test_a_sum_of_terms_with_a_warm_up_trains(tmp_path):
    steep = {"method": "direct", "learning_rate": 0.05}
    config = tiny(**steep, regularizer="variance:5+outliers:0.5", regularizer_warm_up=0.5)
    row = run(config, tmp_path)
    assert row["regularizer"] == "variance:5+outliers:0.5"
    plain = run(tiny(**steep), tmp_path / "plain")
    assert row["predictive_variance"] != plain["predictive_variance"]
