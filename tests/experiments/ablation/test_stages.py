"""A stage does each run once, goes on where it was, and its rows do not depend on how many it does at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tsnn_uq.checks import InputError
from tsnn_uq.data import load_test
from tsnn_uq.experiments import Context, make_settings
from tsnn_uq.experiments.ablation import (
    CANDIDATES,
    FINALS,
    SCREENING,
    Stage,
    chosen_terms,
    finals,
    finals_runs,
    screening,
    stages,
    suited,
)
from tsnn_uq.experiments.ablation.measured_runs import foreign_set, is_measured, measure_run
from tsnn_uq.training import REGULARIZERS
from tsnn_uq.training.regularizers import regularizer_terms

QUICK = {
    "hidden": (8,),
    "steps": 2,
    "epochs": 1,
    "batch_size": 32,
    "train_limit": 64,
    "samples": 2,
}


TERMS = {"variance": ("variance:1", "variance:5"), "quantization-gap": ("quantization-gap:1",)}


def quick(out, seeds=1, **settings):
    return Stage(out, seeds, QUICK | settings, TERMS, {"rotated": "digits:rotate=90"}, "digits")


def without_time(rows):
    return rows.drop(columns="train_seconds")


def test_every_term_of_uncertainty_is_a_candidate_at_four_weights():
    terms = {name for texts in CANDIDATES.values() for text in texts for name in regularizer_terms(text)}
    assert terms == set(REGULARIZERS) - {"none", "rate"}
    assert {len(set(texts)) for texts in CANDIDATES.values()} == {4}


def test_by_default_the_data_are_mnist(tmp_path):
    stage = Stage(tmp_path, settings=suited(SCREENING, "mnist"))
    wanted = {"data": "mnist", "network": "dropout", "method": "direct", "regularizer": "variance:5", "seed": 1}
    wanted |= {"train_limit": 10_000, "epochs": 12, "samples": 16}
    assert stage.run(stage.network, "direct", "variance:5", 1) == make_settings(wanted)
    assert stage.families == ("dropout", "dropconnect")
    others = {"fashion": "fashion-mnist", "rotated": "mnist:rotate=90", "noise": "noise", "emnist": "emnist-letters"}
    assert dict(stage.foreign) == others


def test_each_data_set_has_its_own_network_and_number_of_epochs(tmp_path):
    stage = Stage(tmp_path, settings=suited(FINALS, "cifar10"), data="cifar10")
    found = stage.run(stage.network, "direct")
    assert found == make_settings({"data": "cifar10", "network": "vgg", "method": "direct"})
    assert found.epochs == 20
    assert suited(FINALS, "fashion-mnist") == FINALS
    assert "fashion-mnist" not in Stage(tmp_path, data="fashion-mnist").foreign.values()
    with pytest.raises(InputError, match="data: expected"):
        Stage(tmp_path, data="nmnist")


def test_foreign_inputs_have_the_shape_of_the_networks():
    assert foreign_set("noise", (3, 32, 32), None).shape == (3, 32, 32)
    assert foreign_set("noise", (1, 28, 28), None).images.equal(load_test("noise").subset(2000).images)


def test_terms_are_chosen_by_name_or_with_weights():
    assert chosen_terms([]) == CANDIDATES
    assert chosen_terms(["information", "consistency:1+information:2", "consistency:1+information:5", "default"]) == {
        "information": CANDIDATES["information"],
        "consistency+information": ("consistency:1+information:2", "consistency:1+information:5", "default"),
    }
    with pytest.raises(InputError, match="terms: expected a weight, such as rate:1"):
        chosen_terms(["rate"])
    with pytest.raises(InputError, match="regularizer: expected"):
        chosen_terms(["varianz:1"])


def test_a_folder_with_other_runs_is_refused(tmp_path):
    def measure(stage):
        stages.do_and_measure(stage, [stage.run("dropout", "direct")], Context())

    measure(quick(tmp_path))
    with pytest.raises(InputError, match=r"expected a folder made with epochs = 2.*choose another folder"):
        measure(quick(tmp_path, epochs=2))
    with pytest.raises(InputError, match="expected a folder made with data = 'mnist'"):
        measure(replace(quick(tmp_path), data="mnist"))


def test_screening_goes_on_where_it_was(tmp_path):
    rows = screening(quick(tmp_path / "one", seeds=2))
    assert len(rows) == 2 * (2 + 2 + 2 + 3 + 2 + 2 + 1)  # float, none, weights of direct and distill, then seed 1
    assert set(rows["calibration"]) == {"none", "temperature"}
    assert "quantization-gap" not in set(rows.loc[rows["method"] == "distill", "term"])
    of_chosen = rows[rows["chosen"] & (rows["term"] == "variance")]
    assert of_chosen.groupby("method")["regularizer"].nunique().tolist() == [1, 1]
    assert set(of_chosen["seed"]) == {0, 1}
    written = pd.read_csv(tmp_path / "one" / "screening.csv", keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(written, rows)

    told = []
    (tmp_path / "one" / "screening.csv").unlink()
    gone = tmp_path / "one" / "runs" / "variance-5" / "dropout-all-direct-0" / "uncertainty.json"
    gone.unlink()
    again = screening(quick(tmp_path / "one", seeds=2), context=Context(progress=lambda *message: told.append(message)))
    pd.testing.assert_frame_equal(again, rows)  # times too: nothing was trained anew
    assert told == [("variance-5/dropout-all-direct-0", "measure", 1, 1)]


def test_a_missing_foreign_set_is_told_before_anything_is_trained(tmp_path):
    stage = replace(quick(tmp_path / "out"), foreign={"emnist": "emnist-letters"})
    with pytest.raises(InputError, match="emnist-letters: expected"):
        screening(stage, context=Context(tmp_path))
    assert not (tmp_path / "out" / "runs").exists()


def test_a_student_of_a_screening_has_the_teacher_without_a_term(tmp_path, monkeypatch):
    config = quick(tmp_path).run("dropout", "distill", "variance:1", 1)
    assert Path(config.teacher_from) == tmp_path / "runs" / "none"
    assert not config.needs_float
    monkeypatch.chdir(tmp_path.parent)  # called by another name, the stage goes on
    assert quick(Path(tmp_path.name)).run("dropout", "distill", "variance:1", 1) == config


def test_finals_have_both_methods_with_and_without(tmp_path):
    rows = finals(quick(tmp_path), ["variance:5", "variance:1+outliers:0.5"], families=("dropout",))
    kinds = rows[["method", "term"]].drop_duplicates().values.tolist()
    assert kinds == [
        ["direct", "none"],
        ["direct", "variance"],
        ["direct", "variance+outliers"],
        ["float", "none"],
        ["float", "variance"],
    ]
    assert (tmp_path / "finals.csv").exists()


def test_finals_of_chosen_methods_train_the_teachers_that_they_need(tmp_path):
    stage, chosen = quick(tmp_path), {"families": ("dropout",), "methods": ("distill",)}
    places = [stage.place(task.settings) for task in finals_runs(stage, ["variance:5"], **chosen)]
    assert [place.name for place in places] == ["dropout-none-float-0", *2 * ["dropout-all-distill-0"]]
    rows = finals(stage, ["variance:5"], **chosen)
    assert set(rows["method"]) == {"distill"}
    assert all(is_measured(place) for place in places)


@pytest.mark.slow
def test_rows_do_not_depend_on_how_many_are_done_at_a_time(tmp_path):
    one, two = (
        finals(quick(tmp_path / str(jobs)), ["variance:5"], families=("dropout",), context=Context(jobs=jobs))
        for jobs in (1, 2)
    )
    pd.testing.assert_frame_equal(without_time(one), without_time(two))


def test_what_one_run_raises_is_told_when_the_others_are_done(tmp_path, monkeypatch):
    def measure(config, *arguments, **options):
        if config.regularizer.name == "variance:1":
            raise InputError("a reason")
        return measure_run(config, *arguments, **options)

    monkeypatch.setattr(stages, "measure_run", measure)
    with pytest.raises(InputError, match="a reason"):
        finals(quick(tmp_path), ["variance:1", "variance:5"], families=("dropout",))
    assert is_measured(tmp_path / "runs" / "variance-5" / "dropout-all-direct-0")
    monkeypatch.undo()
    assert len(finals(quick(tmp_path), ["variance:1", "variance:5"], families=("dropout",))) == 2 * 5


def test_no_jobs_are_refused(tmp_path):
    with pytest.raises(InputError, match="jobs: expected"):
        finals(quick(tmp_path), ["variance:5"], context=Context(jobs=0))
